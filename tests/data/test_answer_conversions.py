from __future__ import annotations

import pytest
from datasets import Dataset, List, Value

from llmkit.data.conversions import converted
from llmkit.data.conversions.questions import answers, positions
from llmkit.errors import DataError

CONTEXT = "👩‍🚀 Mia lives in Zürich. Ben lives in Oslo."
OSLO = CONTEXT.index("Oslo")
BEN = CONTEXT.index("Ben")
UTF16 = len(CONTEXT[:OSLO].encode("utf-16-le")) // 2
UTF8 = len(CONTEXT[:OSLO].encode())
COLUMNS = {"question": "question", "context": "context", "answers": "answers"}
RIGHT = {"text": ["Oslo"], "answer_start": [OSLO]}
NONE = {"text": [], "answer_start": []}


def questions(cells: list[object], column: str = "answers", **more: list[object]) -> Dataset:
    count = len(cells)
    return Dataset.from_dict({"question": ["Where?"] * count, "context": [CONTEXT] * count, column: cells, **more})


def result(rows: Dataset, offsets: str | None = None, **columns: str) -> list[object] | None:
    conversion = answers.find(rows, COLUMNS | columns, offsets)
    return None if conversion is None else converted(rows, [conversion])["answers"][:]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        pytest.param([str(RIGHT)], [RIGHT], id="Python text"),
        pytest.param([f'{{"text": ["Oslo"], "answer_start": [{OSLO}]}}', ""], [RIGHT, NONE], id="JSON text, a blank"),
        pytest.param(
            [f"{{'text': array(['Oslo'], dtype=object), 'answer_start': array([{OSLO}], dtype=int32)}}"],
            [RIGHT],
            id="numpy's text",
        ),
        pytest.param([f"[{{'text': 'Oslo', 'answer_start': {OSLO}}}]"], [RIGHT], id="a list of dictionaries in text"),
        pytest.param([[{"text": "Oslo", "answer_start": OSLO}], []], [RIGHT, NONE], id="lists of dictionaries"),
        pytest.param([{"text": "Oslo", "start": OSLO}], [RIGHT], id="a dictionary of scalars, start"),
        pytest.param([{"answer": ["Oslo"], "answer_start": [OSLO]}], [RIGHT], id="a dictionary with answer"),
        pytest.param(["Oslo", None, " "], [RIGHT, NONE, NONE], id="texts alone"),
        pytest.param(
            [["Oslo"], ["Ben", "Mia"], None],
            [RIGHT, {"text": ["Ben", "Mia"], "answer_start": [BEN, CONTEXT.index("Mia")]}, NONE],
            id="lists of texts",
        ),
        pytest.param(["['Oslo']", "[]"], [RIGHT, NONE], id="lists of texts in text"),
        pytest.param([{"text": ["Oslo"], "answer_start": [None]}, RIGHT], [RIGHT, RIGHT], id="a start that is missing"),
    ],
)
def test_each_shape_gives_squads(cells, expected):
    conversion = answers.find(questions(cells), COLUMNS)
    rows = conversion.apply(questions(cells))
    assert rows["answers"][:] == expected
    assert rows.features["answers"] == {"text": List(Value("string")), "answer_start": List(Value("int64"))}
    assert answers.find(rows, COLUMNS) is None  # what was converted needs no more


@pytest.mark.parametrize(
    ("more", "columns", "expected"),
    [
        pytest.param({"start": [OSLO, BEN]}, {}, [RIGHT, {"text": ["Ben"], "answer_start": [BEN]}], id="start"),
        pytest.param(
            {"answer_start": [float(OSLO), None]}, {}, [RIGHT, {"text": ["Ben"], "answer_start": [BEN]}], id="a gap"
        ),
        pytest.param(
            {"Start_Char": [str(OSLO), str(BEN)]}, {}, [RIGHT, {"text": ["Ben"], "answer_start": [BEN]}], id="text"
        ),
        pytest.param({"answer_start": [OSLO, BEN]}, {"answer_start": "answer_start"}, None, id="the task reads it"),
        pytest.param({"is_impossible": [False, True]}, {}, [RIGHT, NONE], id="is_impossible"),
        pytest.param({"is_impossible": ["False", "True"]}, {}, [RIGHT, NONE], id="is_impossible in words"),
        pytest.param({"answerable": [1, 0]}, {}, [RIGHT, NONE], id="answerable"),
    ],
)
def test_columns_beside_the_text_are_read(more, columns, expected):
    rows = questions(["Oslo", "Ben"], "answer", **more)
    assert result(rows, answers="answer", **columns) == expected


def test_starts_in_lists_beside_lists_of_texts():
    rows = questions([["Oslo", "Ben"]], answer_start=[[OSLO, BEN]])
    assert result(rows) == [{"text": ["Oslo", "Ben"], "answer_start": [OSLO, BEN]}]


@pytest.mark.parametrize(
    "cells",
    [
        [RIGHT, NONE],
        [RIGHT, None],
        [{"text": ["Oslo"], "answer_start": [3]}],
        [{"text": ["a", "b"], "answer_start": [1]}],
    ],
)
def test_squads_own_answers_are_left_to_the_task(cells):
    assert answers.find(questions(cells), COLUMNS) is None


@pytest.mark.parametrize(("start", "unit", "name"), [(UTF16, "utf-16", "UTF-16"), (UTF8, "utf-8", "UTF-8")])
def test_offsets_in_other_units_are_refused_with_the_flag_and_converted_by_it(start, unit, name):
    rows = questions([RIGHT | {"answer_start": [start]}, NONE])
    with pytest.raises(DataError, match=f"row 1: .*the offsets fit {name}: --offsets {unit}"):
        answers.find(rows, COLUMNS)
    assert result(rows, unit) == [RIGHT, NONE]
    flat = questions(["Oslo"], answer_start=[start])
    with pytest.raises(DataError, match=f"--offsets {unit}"):
        answers.find(flat, COLUMNS | {"answer_start": "answer_start"})
    assert result(flat, unit, answer_start="answer_start") == [RIGHT]


def test_offsets_that_fit_no_unit_in_all_rows_are_left_to_the_task():
    rows = questions([RIGHT | {"answer_start": [UTF16]}, RIGHT | {"answer_start": [UTF8]}])
    assert answers.find(rows, COLUMNS) is None


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("Rome", "row 2: the answer 'Rome' is not in its context"),
        ("lives", "row 2: the answer 'lives' is 2 times in its context, at 8, 29"),
    ],
)
def test_an_answer_that_is_not_once_in_its_context_is_refused(cell, reason):
    rows = questions(["Oslo", cell], "answer")
    conversion = answers.find(rows, COLUMNS | {"answers": "answer"})
    with pytest.raises(DataError) as error:
        conversion.apply(rows)
    assert reason in str(error.value)
    assert "--column answer_start=NAME" in str(error.value)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (questions([[{"x": 1}]]), "row 1: the answers"),
        (questions(["Oslo"], is_impossible=["maybe"]), "row 1: is_impossible is 'maybe'"),
    ],
)
def test_what_is_no_answer_is_refused(rows, reason):
    with pytest.raises(DataError, match=reason):
        answers.find(rows, COLUMNS)


def test_later_rows_are_converted_alike():
    conversion = answers.find(questions(["Oslo"], is_impossible=[True]), COLUMNS)
    assert converted(questions(["Oslo"]), [conversion])["answers"][:] == [RIGHT]
    assert converted(questions([None, None]), [conversion])["answers"][:] == [None, None]  # rows to predict
    without = questions(["Oslo"]).remove_columns("answers")
    assert converted(without, [conversion]) is without


@pytest.mark.parametrize(
    ("ends", "last"),
    [
        ([OSLO + 4, BEN + 3], False),
        ([OSLO + 3, BEN + 2], True),
        ([str(OSLO + 4), None], False),
        ([float(OSLO + 4), -1.0], False),
    ],
)
def test_positions_alone_give_the_text_between_them(ends, last):
    rows = questions([OSLO, BEN], "answer_start", answer_end=ends)
    conversion = positions.find(rows, "context")
    assert conversion.last is last
    second = {"text": ["Ben"], "answer_start": [BEN]} if ends[1] not in (None, -1.0) else NONE
    assert conversion.apply(rows)["answers"][:] == [RIGHT, second]


def test_ends_that_cut_words_either_way_are_refused():
    rows = Dataset.from_dict({"context": ["米娅住在奥斯陆"], "start": [4], "end": [6]})
    with pytest.raises(DataError, match="--column answers=NAME"):
        positions.find(rows, "context")


@pytest.mark.parametrize("names", [("start", "finish"), ("begin_of", "end")])
def test_other_columns_are_no_positions(names):
    rows = Dataset.from_dict({"context": ["a b"], names[0]: [0], names[1]: [1]})
    assert positions.find(rows, "context") is None
