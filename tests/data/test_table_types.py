"""The types of a table's columns: numbers only where each cell reads back as it is, over all files of a dataset."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from llmkit.data import open_dataset
from llmkit.data.formats.table_types import converted_cells, written_kind


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ("007 042", "text"),
        ("01 1 02", "text"),
        ("00037 0", "text"),
        ("+1 -1", "text"),
        ("-1 1", "int"),
        ("0x1A 0x1B", "text"),
        ("1.10 1.1 2.0 1.10 1.1 2.0", "text"),
        ("1.10 1.2 1.10 1.2", "text"),
        ("1.2.3 1.2", "text"),
        ("2.500 3.800", "float"),
        ("0.10 0.20 0.10 0.20", "float"),
        ("2.50 3.1 0.75", "float"),
        ("0.5 0.25 1.0", "float"),
        ("0.0 1.0 _", "float"),
        ("1 1.0", "float"),
        ("1 _ 3", "int"),
        ("9223372036854775807", "int"),
        ("9223372036854775808", "text"),
        ("12345678901234567890 0.5", "text"),
        ("1e5 2 3", "text"),
        ("1E5 2E3", "text"),
        ("1e-05 0.5", "float"),
        ("1.5e3 2.5e10", "float"),
        ("inf 0.5", "float"),
        ("nan 1", "float"),
        ("NA nan", "text"),
        ("True False _", "bool"),
        ("true", "bool"),
        ("True false", "text"),
        ("T F", "text"),
        ("_ _", "null"),
        ("0 37 word", "text"),
        ("3,5 1,2", "text"),
        ("5% 6%", "text"),
        ("-0 1", "text"),
        ("2024-01-02", "text"),
        (".5 .25", "float"),
    ],
)
def test_cells_are_numbers_where_each_reads_back_as_it_is(cells, kind):
    column = pa.chunked_array([["" if cell == "_" else cell for cell in cells.split()]])
    assert written_kind(column) == kind
    assert len(converted_cells(column, kind)) == len(column)


def test_one_text_far_down_makes_a_column_text():
    assert written_kind(pa.chunked_array([[*map(str, range(5000)), "x"]])) == "text"


def test_blanks_around_numbers_are_no_part_of_them():
    column = pa.chunked_array([[" 1", "2 ", " "]])
    assert converted_cells(column, written_kind(column)).to_pylist() == [1, 2, None]


def write(folder, name: str, labels: list[object]) -> None:
    rows = [{"text": f"{name} {number}", "label": label} for number, label in enumerate(labels)]
    if name.endswith("csv"):
        lines = ["text,label", *(f"{row['text']},{row['label']}" for row in rows)]
    else:
        lines = [json.dumps(row) for row in rows]
    (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param({"train.csv": ["007", "A4"], "validation.csv": ["007"]}, ["007", "A4", "007"], id="007, A4; 007"),
        pytest.param({"train.csv": ["007", "7"], "validation.jsonl": ["007"]}, ["007", "7", "007"], id="text in JSON"),
        pytest.param({"train.csv": ["1", "2"], "validation.csv": ["1", "2a"]}, ["1", "2", "1", "2a"], id="1; 2a"),
        pytest.param({"train.csv": ["A4", "5"], "validation.jsonl": [5]}, ["A4", "5", "5"], id="5 in JSON"),
        pytest.param({"train.csv": ["0", "1"], "validation.csv": ["0.0", ""]}, [0, 1, 0, None], id="0; 0.0"),
        pytest.param({"train.jsonl": [0, 1], "validation.jsonl": [0.0, 1.0]}, [0, 1, 0, 1], id="0; 0.0 in JSON"),
        pytest.param({"train.jsonl": [0, 1], "validation.jsonl": [0.5]}, [0.0, 1.0, 0.5], id="0; 0.5"),
        pytest.param({"train.csv": ["1", "2"], "validation.csv": ["1.5"]}, [1.0, 2.0, 1.5], id="1; 1.5"),
        pytest.param({"train.csv": ["True"], "validation.jsonl": [False]}, [True, False], id="True; false"),
        pytest.param({"train.csv": ["x"], "validation.csv": [""]}, ["x", ""], id="x; blank"),
        pytest.param({"train.csv": ["1"], "validation.csv": [""]}, [1, None], id="1; blank"),
        pytest.param({"train-1.csv": ["1"], "train-2.csv": ["01"]}, ["1", "01"], id="1; 01 in one split"),
    ],
)
def test_all_files_have_one_type(tmp_path, files, expected):
    for name, labels in files.items():
        write(tmp_path, name, labels)
    source = open_dataset(str(tmp_path))
    found = [
        label for split in ("train", "validation") if split in source.splits for label in source.splits[split]["label"]
    ]
    assert found == expected
    assert [type(label) for label in found] == [type(label) for label in expected]
    assert source.mixed == {}
    assert len({str(part.features) for part in source.splits.values()}) == 1


@pytest.mark.parametrize(
    ("files", "expected", "phrases"),
    [
        pytest.param(
            {"train_a.csv": ["0", "1"], "train_b.jsonl": ["bad"]}, ["0", "1", '"bad"'], ["text ('bad')"], id="a"
        ),
        pytest.param({"train_a.jsonl": [True], "train_b.jsonl": [1]}, ["true", "1"], ["true or false"], id="b"),
        pytest.param({"train.csv": ["True"], "validation.csv": ["1"]}, [True, 1], ["whole numbers ('1')"], id="c"),
        pytest.param({"train.jsonl": [0.5], "validation.jsonl": ["bad"]}, [0.5, "bad"], ["numbers (0.5)"], id="d"),
        pytest.param({"train.jsonl": ["none", {"id": 1}]}, ['"none"', '{"id": 1}'], ["row 1", "dict in row 2"], id="e"),
        pytest.param({"train.jsonl": [[1, "x"], [2]]}, ['[1, "x"]', "[2]"], ["mixes types"], id="f"),
    ],
)
def test_a_column_without_one_type_is_named_and_stops_no_other(tmp_path, files, expected, phrases):
    for name, labels in files.items():
        write(tmp_path, name, labels)
    source = open_dataset(str(tmp_path))
    assert [label for part in source.splits.values() for label in part["label"]] == expected
    assert list(source.mixed) == ["label"]
    assert [phrase for phrase in phrases if phrase not in source.mixed["label"]] == []
    assert str(tmp_path / next(iter(files))) in source.mixed["label"]


def test_a_file_for_validation_has_the_texts_of_training(tmp_path):
    write(tmp_path, "b.csv", ["7", "8"])
    source = open_dataset(str(tmp_path / "b.csv"), text_columns=("label",))
    assert source.splits["train"]["label"][:] == ["7", "8"]


def test_classes_of_files_that_number_them_otherwise_are_names(tmp_path):
    for name, names in {"train": ["ham", "spam"], "test": ["spam", "ham"]}.items():
        features = Features({"text": Value("string"), "label": ClassLabel(names=names)})
        Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]}, features=features).to_parquet(
            tmp_path / f"{name}.parquet"
        )
    splits = open_dataset(str(tmp_path)).splits
    assert {name: part["label"][:] for name, part in splits.items()} == {
        "train": ["ham", "spam"],
        "test": ["spam", "ham"],
    }
