"""Labels are numbers or classes by what their column holds, and all splits get one type."""

from __future__ import annotations

import math

import pyarrow as pa
import pytest
from datasets import ClassLabel, Dataset, Features
from datasets.table import InMemoryTable

from llmkit.data.conversions import converted
from llmkit.data.conversions.labels.kinds import require_one_kind
from llmkit.data.conversions.labels.values import find, reading
from llmkit.errors import DataError


def parts(*columns: list[object], name: str = "label") -> dict[str, Dataset]:
    """Return splits whose label columns hold these cells."""
    tables = [pa.table({"text": ["t"] * len(cells), name: pa.array(cells)}) for cells in columns]
    return dict(zip(("train", "validation"), map(Dataset, map(InMemoryTable, tables)), strict=False))


def labels(splits: dict[str, Dataset], regression: bool | None = None, name: str = "label") -> list[list[object]]:
    """Return the labels of each split after the conversion that is found, if any."""
    conversion = find(splits, name, regression)
    found = [] if conversion is None else [conversion]
    rows = [converted(part, found) for part in splits.values()]
    assert len({str(part.features[name]) for part in rows if set(part[name]) != {None}}) == 1
    return [part[name][:] for part in rows]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([0.0, 1.0, None, math.nan], [0, 1, None, None]),
        ([1.0, 2.0, 3.0, 4.0, 5.0] * 2, [1, 2, 3, 4, 5] * 2),
        (["0.0", "1.0", "nan", ""], [0, 1, None, None]),
        ([0, 1, 0], [0, 1, 0]),
        (["007", "042", "007"], ["007", "042", "007"]),
        (["01", "1", "10"], ["01", "1", "10"]),
        (["+1", "-1"] * 8, ["+1", "-1"] * 8),
        (["1.10", "1.1", "2.0"] * 4, ["1.10", "1.1", "2.0"] * 4),
        (["0x1A", "0x1B"], ["0x1A", "0x1B"]),
        ([str(2**64 + 1), str(2**64 + 2)], [str(2**64 + 1), str(2**64 + 2)]),
        (["1", "0", "unknown"], ["1", "0", "unknown"]),
        (["正面", "负面"], ["正面", "负面"]),
    ],
)
def test_classes_are_told_from_cells(cells, expected):
    assert labels(parts(cells)) == [expected]
    assert not reading(parts(cells), "label", None).regression


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([0.5, 1.5, None], [0.5, 1.5, None]),
        (["0,5", " 1,25", ""], [0.5, 1.25, None]),
        (["0,0", "1,0", "7"], [0.0, 1.0, 7.0]),
        (["5%", "95 %", "5%"], [5.0, 95.0, 5.0]),
        (["$3", "-$4.50"], [3.0, -4.5]),
        (["€ 3,50", "12 EUR"], [3.5, 12.0]),
        (["1,234", "1,234,567.5", "12"], [1234.0, 1234567.5, 12.0]),
        (["1 234", "1\u202f234\u00a0567"], [1234.0, 1234567.0]),
        (["1.234,50", "0,5"], [1234.5, 0.5]),
        (["\u22123.25", "4.75"], [-3.25, 4.75]),
        (["0.50", "1.75", "2.00"], [0.5, 1.75, 2.0]),
        ([*range(24)], [float(n) for n in range(24)]),
    ],
)
def test_numbers_are_told_from_cells_and_the_other_reading_is_named(cells, expected):
    read = reading(parts(cells), "label", None)
    assert labels(parts(cells)) == [expected]
    assert (read.regression, read.decided, read.flag) == (True, True, "--classes")
    assert "--classes takes them as classes" in read.sentence


@pytest.mark.parametrize(
    ("name", "cells", "regression", "decided"),
    [
        ("label", [0, 1] * 10, False, False),
        ("label", [n % 77 for n in range(500)], False, True),
        ("score", [n % 77 for n in range(500)], True, True),
        ("starRating", [1, 2, 3, 4, 5] * 4, False, True),
        ("label", [0.0, 1.0, 0.0], False, True),
        ("label", [n / 7 for n in range(40)], True, False),
    ],
)
def test_what_a_person_could_take_otherwise_is_said(name, cells, regression, decided):
    read = reading(parts(cells, name=name), name, None)
    assert (read.regression, read.decided) == (regression, decided)


def test_a_flag_overrules_what_cells_look_like():
    assert labels(parts(["3.80", "2.5", "+1"]), regression=True) == [[3.8, 2.5, 1.0]]
    assert labels(parts([0, 1]), regression=True) == [[0.0, 1.0]]
    assert labels(parts([1.5, 2.0, None]), regression=False) == [["1.5", "2", None]]
    assert labels(parts(["5%", "95%"]), regression=False) == [["5%", "95%"]]
    assert reading(parts([0.5]), "label", False).sentence == "column 'label': taken as classes"


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (([0, 1], [0.0, 1.0, None]), [[0, 1], [0, 1, None]]),
        (([0.0, 1.0], [1, 0]), [[0, 1], [1, 0]]),
        (([0, 1], ["1", "0"]), [[0, 1], [1, 0]]),
        (([0, 1], ["1", "other"]), [["0", "1"], ["1", "other"]]),
        (([True, False], ["TRUE", "false", ""]), [[True, False], [True, False, None]]),
        (([0, 1], [0.5, 1.0]), [[0.0, 1.0], [0.5, 1.0]]),
        (([0.0, 1.0], [None, None]), [[0, 1], [None, None]]),
    ],
)
def test_all_splits_get_one_type(cells, expected):
    assert labels(parts(*cells)) == expected


@pytest.mark.parametrize(
    ("cells", "regression", "message"),
    [
        (([0.5, 1.5, math.inf],), None, "train, row 3 of column 'label' holds inf"),
        (([0.5], [1.5, -math.inf]), None, "validation, row 2 of column 'label' holds -inf"),
        ((["0.5", "1.5", "inf"],), None, "train, row 3 of column 'label' holds inf"),
        ((["5%", "95%", "n/a"],), None, "train, row 3 of column 'label' holds 'n/a' where others hold numbers such as"),
        ((["5%", "95%", "n/a"],), True, "train, row 3 of column 'label' holds n/a where a finite number is wanted"),
        ((["3,5", "2.5", "4,5"],), None, "writes numbers in several ways"),
        (([*(f"{n / 7:.4f}" for n in range(30)), "NA"],), None, "row 31 of column 'label' holds 'NA'"),
        (([1.5], ["negative"]), True, "validation, row 1 of column 'label' holds negative"),
        (([True, False],), True, "holds booleans, and a regression wants numbers"),
    ],
)
def test_a_cell_that_is_no_number_is_named(cells, regression, message):
    with pytest.raises(DataError, match=message) as raised:
        find(parts(*cells), "label", regression)
    assert "--classes" in str(raised.value)


def test_declared_classes_stay_as_they_are():
    rows = Dataset.from_dict({"label": [0, 1]}, features=Features({"label": ClassLabel(names=["a", "b"])}))
    assert find({"train": rows}, "label", None) is None
    with pytest.raises(DataError, match="holds classes, and a regression wants numbers"):
        find({"train": rows}, "label", True)


def test_rows_that_come_later_are_converted_alike():
    conversion = find(parts(["0,5", "1,5"]), "label", None)
    assert conversion.apply(parts(["2,25", None])["train"])["label"][:] == [2.25, None]
    with pytest.raises(DataError, match="row 2 of column 'label' holds many"):
        conversion.apply(parts(["2,25", "many"])["train"])


@pytest.mark.parametrize(
    ("train", "validation", "phrases"),
    [
        ([True, False], [0, 1], ("true or false (false, true) in train", "--label-map true=1 --label-map false=0")),
        ([0, 1], ["True", "False"], ("whole numbers (0, 1) in train", "--label-map 1=true")),
        ([True, False], [0.0, 1.0], ("whole numbers (0, 1) in validation",)),
        ([0.5, 1.5], ["negative"], ("numbers with fractions (0.5, 1.5) in train", "names (negative) in validation")),
        (["neg"], [0.5], ("names (neg) in train", "numbers with fractions (0.5) in validation")),
        ([0, 1], ["negative"], ("names (negative) in validation",)),
        (["007", "A42"], [7], ("names (007, A42) in train", "whole numbers (7)")),
        (["a"], [["a"]], ("lists or objects in validation",)),
    ],
)
def test_splits_that_contradict_are_both_named(train, validation, phrases):
    with pytest.raises(DataError) as raised:
        require_one_kind(parts(train, validation), "label")
    assert all(phrase in str(raised.value) for phrase in phrases)


@pytest.mark.parametrize(
    ("train", "validation"),
    [
        ([0, 1], [0.0, 1.0]),
        ([0, 1], [-1, -1]),
        ([0, 1], [None, None]),
        ([0, 1], ["1", "x"]),
        ([True, False], ["TRUE", ""]),
        ([0.5], [1, 2]),
        (["a"], ["b"]),
        (["007"], ["007"]),
    ],
)
def test_splits_that_can_be_of_one_kind_are_not_refused(train, validation):
    require_one_kind(parts(train, validation), "label")
