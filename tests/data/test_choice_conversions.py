from __future__ import annotations

import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from llmkit.data.conversions import converted
from llmkit.data.conversions.questions import choices
from llmkit.data.conversions.questions.choice_columns import find_choice_columns, find_distractors
from llmkit.data.conversions.questions.choice_lists import Choices, choices_in
from llmkit.errors import DataError

THREE = ["red", "blue", "green"]
NAMED = {"text": ["red", "blue"], "label": ["A", "B"]}


def rows_of(**columns: list[object]) -> Dataset:
    count = len(next(iter(columns.values())))
    return Dataset.from_dict({"question": [f"Which {number}?" for number in range(count)], **columns})


def result(rows: Dataset, answers_from: str | None = None, **columns: str) -> tuple[list[object], list[object]] | None:
    conversion = choices.find(rows, {"question": "question", **columns}, answers_from)
    if conversion is None:
        return None
    rows = converted(rows, [conversion])
    assert choices.find(rows, {"question": "question", "choices": "choices", "answer": "answer"}, "0") is None
    return rows["choices"][:], rows["answer"][:]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("question A B C D answer", "A B C D"),
        ("a b c target", "a b c"),
        ("question D C B A", "A B C D"),
        ("question opa opb opc opd cop exp", "opa opb opc opd"),
        ("option_a option_b option_c", "option_a option_b option_c"),
        ("OptionA OptionB", "OptionA OptionB"),
        ("choice1 choice2 label", "choice1 choice2"),
        ("ending0 ending1 ending2 ending3 label", "ending0 ending1 ending2 ending3"),
        ("sol1 sol2", "sol1 sol2"),
        ("answerA answerB answerC label", "answerA answerB answerC"),
        ("answer_1 answer_2 answer", "answer_1 answer_2"),
        ("选项A 选项B 选项C 答案", "选项A 选项B 选项C"),
        ("choice1 choice2 A B C", "A B C"),
        ("option1 option2 option10", "option1 option2"),
        ("a b label", ""),  # two letters can be anything
        ("B C D", ""),
        ("choice2 choice3", ""),
        ("0 1 2 3", ""),
        ("sentence1 sentence2 label", ""),
        ("text1 text2", ""),
        ("", ""),
    ],
)
def test_columns_of_a_choice_each_are_found_by_their_names(names, expected):
    features = dict.fromkeys(names.split(), Value("string"))
    assert find_choice_columns(names.split(), features) == tuple(expected.split())


def test_columns_of_choices_can_hold_numbers_and_no_lists():
    features = {"A": Value("int64"), "B": Value("double"), "C": Value("string"), "D": List(Value("string"))}
    assert find_choice_columns(list(features), features) == ("A", "B", "C")


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (THREE, Choices(tuple(THREE))),
        ([1, 2.0, 2.5], Choices(("1", "2", "2.5"))),
        ('["red", "blue"]', Choices(("red", "blue"))),
        ("['red', 'blue']", Choices(("red", "blue"))),
        ("['red' 'blue']", Choices(("red", "blue"))),
        ({"A": "red", "B": "blue", "C": None}, Choices(("red", "blue"), ("A", "B"))),
        ("{'B': 'blue', 'A': 'red'}", Choices(("red", "blue"), ("A", "B"))),
        ({"10": "k", "9": "j", "2": "b"}, Choices(("b", "j", "k"), ("2", "9", "10"))),
        (NAMED, Choices(("red", "blue"), ("A", "B"))),
        (str(NAMED), Choices(("red", "blue"), ("A", "B"))),
        ([{"label": "A", "text": "red"}, {"label": "B", "text": "blue"}], Choices(("red", "blue"), ("A", "B"))),
        ([{"key": "A", "value": 1}, {"key": "B", "value": 2}], Choices(("1", "2"), ("A", "B"))),
        ([{"text": "red"}, {"text": "blue"}], Choices(("red", "blue"))),
        ("a ) 38 , b ) 27.5 , c ) none of these", Choices(("38", "27.5", "none of these"), ("a", "b", "c"))),
        ("A. red\nB. blue\nC. green", Choices(tuple(THREE), ("A", "B", "C"))),
        ("(A) red (B) blue", Choices(("red", "blue"), ("A", "B"))),
        ("A、红 B、蓝", Choices(("红", "蓝"), ("A", "B"))),
        ("1. red 2. blue", Choices(("red", "blue"), ("1", "2"))),
        ("1.5 and 2.5", None),
        ("a) red a) blue b) green", None),
        ("red b) blue", None),
        ("a) red c) blue", None),
        ("a) b)", None),
        ("red", None),
        ([["red"]], None),
        ([{"x": "red"}, {"x": "blue"}], None),
        ({"A": ["red"]}, None),
        (7, None),
    ],
)
def test_each_shape_of_a_cell_of_choices(cell, expected):
    assert choices_in(cell) == expected


@pytest.mark.parametrize(
    ("answers", "numbers"),
    [
        (["(A)", "b.", "C"], [0, 1, 2]),
        (["A)", "\uff22", "option c"], [0, 1, 2]),
        (["选项A", "[b]", "C:"], [0, 1, 2]),
        (["A. red", "B) blue", "(C) green"], [0, 1, 2]),
        ([1, 2, 3], [0, 1, 2]),
        (["1", "2", "3"], [0, 1, 2]),
        ([1.0, 3.0, None], [0, 2, None]),
        (["choice1", "choice 2", "Choice_3"], [0, 1, 2]),
        ([0.0, 1.0, None], [0, 1, None]),
        (["Red", "blue", "GREEN"], [0, 1, 2]),
        (["(1)", "2.", "3"], [0, 1, 2]),
        (["(0)", "1.", "2"], [0, 1, 2]),
    ],
)
def test_answers_that_the_task_does_not_read_are_made_into_numbers(answers, numbers):
    rows = rows_of(choices=[THREE] * 3, answer=answers)
    assert result(rows, choices="choices", answer="answer") == ([THREE] * 3, numbers)


@pytest.mark.parametrize(
    "answers",
    [
        [0, 1, 2],
        ["0", "1", "2"],
        ["A", "B", "C"],
        ["a", "b", "c"],
        ["red", "blue", "green"],
        [0, 5, 1],
        ["x", "A", "B"],
        [None, 0, -1],
        [None, None, None],
        [0, 3, 1],
    ],
)
def test_answers_that_the_task_reads_or_names_as_wrong_are_left_to_it(answers):
    assert result(rows_of(choices=[THREE] * 3, answer=answers), choices="choices", answer="answer") is None


def test_classes_and_names_are_left_to_the_task():
    features = Features(
        {"question": Value("string"), "choices": List(Value("string")), "answer": ClassLabel(names=["x", "y", "z"])}
    )
    rows = Dataset.from_dict({"question": ["q"], "choices": [THREE], "answer": [1]}, features=features)
    assert result(rows, choices="choices", answer="answer") is None
    numbered = {"text": THREE, "label": ["1", "2", "3"]}
    assert result(rows_of(choices=[numbered] * 2, answer=["1", "2"]), choices="choices", answer="answer") is None


def test_answers_counted_from_1_are_said_with_the_flag_for_the_other_reading():
    rows = rows_of(choices=[THREE] * 3, answer=[1, 2, 3])
    conversion = choices.find(rows, {"question": "question", "choices": "choices", "answer": "answer"})
    assert "counted from 1, as no 0 occurs and 3 does (--answers-from 0" in conversion.sentence
    later = rows_of(choices=[THREE], answer=[2])
    assert converted(later, [conversion])["answer"][:] == [1]
    with pytest.raises(
        DataError, match="row 1: the answer '0' is none of its 3 choices counted from 1; --answers-from"
    ):
        conversion.apply(rows_of(choices=[THREE], answer=[0]))
    unlabelled = rows_of(choices=[THREE]).select_columns(["question", "choices"])
    assert converted(unlabelled, [conversion]).column_names == ["question", "choices"]


@pytest.mark.parametrize(
    ("cells", "answers", "flags"),
    [
        ([THREE] * 3, [1, 2, 1], ("0", "1")),
        ([THREE] * 2, ["1", "2"], ("0", "1")),
        ([["1", "2", "3"]] * 2, ["2", "1"], ("text", "0", "1")),
        ([[1, 2, 3]] * 2, [2, 1], ("text", "0", "1")),
        ([["b", "a", "c"]] * 2, ["a", "b"], ("text", "letter")),
    ],
)
def test_answers_that_can_be_read_in_two_ways_are_refused_with_both_flags(cells, answers, flags):
    rows = rows_of(choices=cells, answer=answers)
    columns = {"question": "question", "choices": "choices", "answer": "answer"}
    with pytest.raises(DataError) as error:
        choices.find(rows, columns)
    for flag in flags:
        assert f"--answers-from {flag} " in str(error.value)


@pytest.mark.parametrize(("reading", "numbers"), [("1", [0, 1, 0]), ("0", None)])
def test_the_flag_decides(reading, numbers):
    rows = rows_of(choices=[THREE] * 3, answer=[1, 2, 1])
    found = result(rows, reading, choices="choices", answer="answer")
    assert found == (None if numbers is None else ([THREE] * 3, numbers))  # the task counts from 0 by itself


@pytest.mark.parametrize(
    ("columns", "answers", "expected"),
    [
        ("A B C", ["A", "c", "B"], [0, 2, 1]),
        ("A B C", ["red", "green", "blue"], [0, 2, 1]),
        ("option_a option_b option_c", ["option_a", "option_c", "option_b"], [0, 2, 1]),
        ("opa opb opc", [1, 3, 2], [0, 2, 1]),
        ("opa opb opc", [0, 2, 1], [0, 2, 1]),
        ("ending0 ending1 ending2", [1, 1, 1], [1, 1, 1]),
        ("choice1 choice2 choice3", ["1", "3", "2"], [0, 2, 1]),
        ("选项A 选项B 选项C", ["A", "C", None], [0, 2, None]),
    ],
)
def test_a_column_for_each_choice(columns, answers, expected):
    cells = {name: [text] * 3 for name, text in zip(columns.split(), THREE, strict=True)}
    assert result(rows_of(**cells, key=answers), answer="key") == ([THREE] * 3, expected)


def test_columns_of_numbers_are_choices_and_the_right_one_can_be_named_by_its_text():
    rows = rows_of(A=[12, 7], B=[15, 8], C=[9, 5], answer=[15, 7])
    assert result(rows, answer="answer") == ([["12", "15", "9"], ["7", "8", "5"]], [1, 0])


def test_questions_with_fewer_choices_name_them():
    rows = rows_of(A=["red", "yes"], B=["blue", "no"], C=["green", None], answer=["C", "b"])
    named, answers = result(rows, answer="answer")
    assert named == [{"text": THREE, "label": ["A", "B", "C"]}, {"text": ["yes", "no"], "label": ["A", "B"]}]
    assert answers == ["C", "B"]


def test_columns_that_are_named_and_hold_texts_are_left_to_the_task():
    rows = rows_of(w=["red"] * 2, v=["blue"] * 2, answer=["A", "B"])
    assert result(rows, choice0="w", choice1="v", answer="answer") is None


@pytest.mark.parametrize(
    "cells",
    [
        [{"A": "red", "B": "blue"}],
        ["{'A': 'red', 'B': 'blue'}"],
        [[{"label": "A", "text": "red"}, {"label": "B", "text": "blue"}]],
        ["A) red B) blue"],
    ],
)
def test_choices_with_names_keep_them(cells):
    assert result(rows_of(choices=cells, answer=["B"]), choices="choices", answer="answer") == ([NAMED], ["B"])


def test_a_cell_that_holds_no_choices_is_refused():
    with pytest.raises(DataError, match="row 2: the choices 'none at all' are no list"):
        result(rows_of(choices=["a) x b) y", "none at all"], answer=["a", "b"]), choices="choices", answer="answer")


@pytest.mark.parametrize(
    "columns",
    [
        {f"distractor{number}": [["x", "y", "z"][number - 1]] * 40 for number in (3, 1, 2)},
        {"incorrect_answers": [["x", "y", "z"]] * 40},
        {"distractors": ["['x', 'y', 'z']"] * 40},
        {"Incorrect Answer 1": ["x"] * 40, "Incorrect Answer 2": ["y"] * 40, "Incorrect Answer 3": ["z"] * 40},
    ],
)
def test_the_right_answer_beside_wrong_ones_has_no_place_of_its_own(columns):
    rows = rows_of(correct_answer=["right"] * 40, **columns)
    cells, numbers = result(rows)
    assert all(row[number] == "right" for row, number in zip(cells, numbers, strict=True))
    assert all(sorted(row) == ["right", "x", "y", "z"] for row in cells)
    assert set(numbers) == {0, 1, 2, 3}
    assert result(rows) == (cells, numbers)
    assert result(rows.select([5, 7])) == ([cells[5], cells[7]], [numbers[5], numbers[7]])


def test_wrong_answers_are_found_by_their_names():
    features = dict.fromkeys(["distractor2", "distractor1", "support", "wrong"], Value("string"))
    assert find_distractors(list(features), features) == ("distractor1", "distractor2")
    assert find_distractors(["question"], {"question": Value("string")}) == ()
