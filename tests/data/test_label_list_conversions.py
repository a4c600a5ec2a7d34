from __future__ import annotations

import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from llmkit.data import label_sets
from llmkit.data.conversions import converted
from llmkit.data.conversions.labels.lists import (
    find_indicators,
    find_separated,
    find_vectors,
    indicator_columns,
    likely_separator,
    named_columns,
)
from llmkit.errors import DataError


def column(*cells: object) -> Dataset:
    return Dataset.from_dict({"tags": list(cells)})


@pytest.mark.parametrize(
    ("cells", "separator"),
    [
        (["a,b", "a", "b,c"], ","),
        (["a|b", "c|a", "b"], "|"),
        (["a; b", "b ; c", "a"], ";"),
        (["体育、财经", "体育", "财经"], "、"),
        (["体育\uff0c财经", "体育", "财经"], "\uff0c"),
        (["27", "2,3", "3", "2"], ","),
        (["drama, sci fi", "sci fi, short", "short, drama", None, ""], ","),
        (["a|b, c", "b, c|d", "a|d"], "|"),
        (["New York, NY", "Rome, IT", "Paris, FR"], None),
        (["a,b", "a,b"], None),  # one name that holds a comma
        (["1,234", "5,678"], None),
        (["a", "b"], None),
        (["['a', 'b']", "['b']"], None),
        (["Well, that was a good and long day out", "Well, so it was", "so it was"], None),
        ([None, ""], None),
        ([1, 2], None),
        ([["a"], ["b"]], None),
    ],
)
def test_names_that_recur_in_other_combinations_tell_the_separator(cells, separator):
    rows = column(*cells)
    assert likely_separator(rows, "tags") == separator
    found = find_separated(rows, "tags")
    assert (found and found.separator) == separator
    assert found is None or "--task text-classification" in found.sentence


def test_cells_are_split_and_blank_ones_have_no_list():
    rows = column("a, b", "b", "b,c,", " ", None)
    conversion = find_separated(rows, "tags", ",")
    done = converted(rows, [conversion])
    assert done["tags"][:] == [["a", "b"], ["b"], ["b", "c"], None, None]
    assert label_sets.sets_of(done, "tags")[0] == ("a", "b")
    assert converted(done, [conversion]) is done  # later rows that hold lists stay
    assert converted(column(3, 4), [conversion])["tags"][:] == [["3"], ["4"]]
    assert "text-classification" not in conversion.sentence


@pytest.mark.parametrize(("flag", "cell"), [("tab", "a\tb"), ("\\t", "a\tb"), (" - ", "a - b"), ("||", "a||b")])
def test_a_separator_that_is_named_is_taken(flag, cell):
    assert converted(column(cell), [find_separated(column(cell), "tags", flag)])["tags"][:] == [["a", "b"]]


def test_a_separator_that_no_cell_holds_is_refused():
    with pytest.raises(DataError, match="no cell of column 'tags' holds --label-separator ';'"):
        find_separated(column("a,b", None), "tags", ";")


def table(**columns: list[object]) -> Dataset:
    return Dataset.from_dict({"text": ["x"] * len(next(iter(columns.values()))), **columns})


@pytest.mark.parametrize(
    "columns",
    [
        {"toxic": [1, 0, 0], "threat": [0, 0, 0], "insult": [1, 1, 0]},
        {"toxic": [True, False, False], "threat": [False] * 3, "insult": [True, True, False]},
        {"toxic": [1.0, 0.0, 0.0], "threat": [0.0] * 3, "insult": [1.0, 1.0, 0.0]},
        {"toxic": ["1", "0", "0"], "threat": ["0"] * 3, "insult": ["1", "1", " 0"]},
        {"toxic": [1, 0, 0], "threat": ["False"] * 3, "insult": [1.0, 1.0, 0.0]},
    ],
)
def test_columns_of_0_and_1_are_labels_by_their_names(columns):
    rows = table(**columns)
    assert indicator_columns(rows) == ("toxic", "threat", "insult")
    conversion = find_indicators(rows)
    done = converted(rows, [conversion])
    assert done["labels"][:] == [[0, 2], [2], []]
    assert done.features["labels"] == List(
        ClassLabel(names=["toxic", "threat", "insult"])
    )  # the rare one is a label too
    assert label_sets.sets_of(done, "labels") == [("toxic", "insult"), ("insult",), ()]
    assert "toxic,threat,insult" in conversion.sentence


@pytest.mark.parametrize(
    "columns",
    [
        {"a": [1, 0], "b": [0, 1]},  # two can be anything
        {"a": [1, 0], "b": [0, 1], "label": [0, 1]},  # a label beside two features
        {"a": [1, 0], "b": [0, 2], "c": [0, 1]},
        {"a": [1, 0], "b": [0, 0], "c": [0, 0]},
        {"a": [1, 1], "b": [1, 1], "c": [1, 1]},
        {"a": [None, None], "b": [None, None], "c": [None, None]},
        {"a": [[0], [1]], "b": [[0], [1]], "c": [[0], [1]]},
    ],
)
def test_other_columns_are_no_indicators(columns):
    assert find_indicators(table(**columns)) is None


def test_columns_that_are_named_are_taken_in_that_order():
    rows = table(b=[1, 0, -1], a=[0, 0, -1], other=[5, 6, 7])
    done = converted(rows, [find_indicators(rows, ("a", "b"))])
    assert done["labels"][:] == [[1], [], None]  # -1 in all of them: a row to predict
    assert find_indicators(rows, ("a",)) is None


@pytest.mark.parametrize(("cell", "found"), [(None, "blank"), (2, "'2'"), (-1, "'-1'")])
def test_an_indicator_that_is_neither_0_nor_1_is_named_by_its_row(cell, found):
    rows = table(a=[1, cell], b=[0, 1])
    with pytest.raises(DataError, match=f"row 2: column 'a' is {found}, and 0 or 1 is wanted"):
        find_indicators(rows, ("a", "b")).apply(rows)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([[1, 0], [0, 1]], [[0], [1]]),
        ([[1, 1, 0], [0, 0, 0]], [[0, 1], []]),
        ([[True, False]], [[0]]),
        ([[1.0, 0.0], None], [[0], None]),
        (["[1, 0]", "[0, 1]"], [[0], [1]]),
        (["[1 0]", "[0. 1.]", ""], [[0], [1], None]),
        ([["1", "0"]], [[0]]),
        ([[0], [1, 0]], None),  # ids
        ([[0], [1]], None),
        ([[0, 2], [1, 0]], None),
        ([["a", "b"]], None),
        ([[], []], None),
        ([None, None], None),
        (["a", "b"], None),
        ([1, 0], None),
    ],
)
def test_lists_of_0_and_1_of_one_length_are_indicators(cells, expected):
    rows = column(*cells)
    conversion = find_vectors(rows, "tags")
    assert (conversion and converted(rows, [conversion])["tags"][:]) == expected


def test_names_of_indicators():
    rows = column([1, 0], [1, 1])
    assert find_vectors(rows, "tags").names == ("0", "1")
    assert find_vectors(rows, "tags", ("bad", "good")).names == ("bad", "good")
    declared = rows.cast(Features({"tags": List(ClassLabel(names=["bad", "good"]))}))
    assert find_vectors(declared, "tags").names == ("bad", "good")
    assert label_sets.sets_of(converted(rows, [find_vectors(rows, "tags", ("bad", "good"))]), "tags")[1] == (
        "bad",
        "good",
    )


def test_a_list_of_another_length_is_named_by_its_row():
    conversion = find_vectors(column([1, 0]), "tags")
    with pytest.raises(DataError, match=r"row 2: column 'tags' is .*a list of 2 numbers"):
        conversion.apply(column([1, 0], [1, 0, 0]))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("toxic,threat", ("toxic", "threat")),
        ("toxic, threat", ("toxic", "threat")),
        ("toxic", None),
        ("toxic,other", None),
        ("a,b", None),  # the name of a column
        ("toxic,", None),
    ],
)
def test_columns_named_with_commas(value, expected):
    assert named_columns(value, ("toxic", "threat", "a,b", "a", "b")) == expected


@pytest.mark.parametrize("cell", ["['a', 'b']", '["a", "b"]', "['a' 'b']", "{'a', 'b'}"])
def test_lists_in_text_are_lists_of_labels(cell):
    rows = column(cell, "['b']")
    assert label_sets.holds_sets(rows, "tags")
    assert label_sets.first_invalid_label_set(rows, "tags") is None
    assert label_sets.sets_of(rows, "tags") == [("a", "b"), ("b",)]


def test_a_table_keeps_its_other_columns():
    rows = Dataset.from_dict(
        {"tags": ["a,b", "a"], "text": ["x", "y"]}, features=Features(tags=Value("string"), text=Value("string"))
    )
    assert converted(rows, [find_separated(rows, "tags", ",")])["text"][:] == ["x", "y"]


def test_a_column_of_true_and_false_is_no_label_beside_many_of_0_and_1():
    bits = {"joy": [0, 1, 0], "anger": [1, 0, 0], "fear": [0, 0, 1]}
    rows = Dataset.from_dict({"text": ["a", "b", "c"], "unclear": [True, False, False], **bits})
    assert find_indicators(rows).columns == ("joy", "anger", "fear")
