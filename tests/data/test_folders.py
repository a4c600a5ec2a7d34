"""Folders of data files, workbooks, databases, and files of columns."""

from __future__ import annotations

import datetime
import decimal
import io
import sqlite3
from pathlib import Path

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
from datasets import Dataset, DatasetDict

from llmkit.data import open_dataset, split_of
from llmkit.data.files import read_file
from llmkit.errors import DataError, EmptyError
from llmkit.options import FileOptions
from llmkit.output.report import Report

DAY = datetime.date(2024, 1, 2)
TABLE = "text,label\na good soup again,x\na bad soup again,y\n"


def tree(folder, files: dict[str, str]):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    return folder


def rows(folder) -> dict[str, list[dict[str, object]]]:
    return {name: part.to_list() for name, part in open_dataset(str(folder), report=Report()).splits.items()}


@pytest.mark.parametrize("above", ["", "train/"])
def test_a_folder_per_class_tells_the_labels(tmp_path, capsys, above):
    files = {f"{above}{side}/{n}_8.txt": f"{side} text {n}" for side in ("pos", "neg") for n in range(3)}
    files |= {f"{above}unsup/{n}_0.txt": "unknown" for n in range(3)} | {"README": "x"}
    files |= {"testing/pos/1.txt": "test"} if above else {}
    found = rows(tree(tmp_path, files))
    assert [row["label"] for row in found["train"]] == ["neg"] * 3 + ["pos"] * 3
    assert found["train"][0]["text"] == "neg text 0"
    assert found.get("test", [{"text": "test", "label": "pos"}]) == [{"text": "test", "label": "pos"}]
    said = capsys.readouterr().err
    assert "its folder is its label (neg, pos); without unsup; --task causal-lm" in said


@pytest.mark.parametrize(
    "names",
    [
        ["emma/chapter1.txt", "emma/chapter2.txt", "moby/chapter1.txt", "moby/chapter2.txt"],
        ["a/1.txt", "b/2.txt"],
        ["a/1.txt", "a/2.txt", "3.txt"],
        ["a/one.txt", "a/two.txt", "b/one.txt", "b/two.txt"],
        ["a/1.txt", "a/2.txt"],
    ],
)
def test_folders_that_are_no_classes_hold_documents(tmp_path, capsys, names):
    found = rows(tree(tmp_path, dict.fromkeys(names, "text")))
    assert found == {"train": [{"text": "text"}] * len(names)}
    folders = {name.split("/")[0] for name in names if "/" in name}
    assert ("each text file is a document" in capsys.readouterr().err) == (len(folders) > 1)


@pytest.mark.parametrize(
    ("other", "content", "said"),
    [
        ("sample_submission.csv", "id,label\n1,0\n", "sample_submission.csv"),
        ("gender_submission.csv", "id,label\n1,0\n", "gender_submission.csv"),
        ("test_labels.csv", "id,label\n1,0\n2,1\n", "test_labels.csv: not read"),
        ("README.txt", "where it is from", "README.txt"),
        ("columns.txt", "text: a review", "plain text beside files with columns"),
        ("train_more.csv", "", "train_more.csv is empty; it is left out"),
        ("train_more.csv", "text,label\n", "holds no rows; it is left out"),
    ],
)
def test_what_is_no_data_is_not_read_and_said(tmp_path, capsys, other, content, said):
    found = rows(tree(tmp_path, {"train.csv": TABLE, "test.csv": "text\nno label here\n", other: content}))
    assert sorted(found) == ["test", "train"]
    assert [row["label"] for row in found["train"]] == ["x", "y"]
    assert found["test"] == [{"text": "no label here"}]
    assert said in capsys.readouterr().err


def test_a_folder_of_empty_files_is_empty(tmp_path):
    with pytest.raises(EmptyError, match="is empty"):
        rows(tree(tmp_path, {"a.txt": "", "b.txt": " "}))


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("eval.csv", "validation"),
        ("evaluation.jsonl", "validation"),
        ("car_evaluation.csv", "train"),
        ("dev", "validation"),
    ],
)
def test_names_of_splits(tmp_path, name, split):
    assert split_of(Path(name)) == split


def test_a_saved_dataset_has_the_usual_names_of_splits(tmp_path, capsys):
    part = Dataset.from_dict({"text": ["a"]})
    DatasetDict(training=part, evaluation=part, testing=part, extra=part).save_to_disk(tmp_path / "d")
    assert list(rows(tmp_path / "d")) == ["train", "validation", "test", "extra"]
    assert "the split 'evaluation' is read as validation" in capsys.readouterr().err


def test_splits_of_a_saved_dataset_with_other_types_are_named(tmp_path):
    DatasetDict(train=Dataset.from_dict({"n": [1]}), test=Dataset.from_dict({"n": ["x"]})).save_to_disk(tmp_path / "d")
    assert "train holds int64, test holds string" in open_dataset(str(tmp_path / "d")).mixed["n"]


def database(path, tables: list[str]):
    with sqlite3.connect(path) as base:
        for name in tables:
            base.execute(f'CREATE TABLE "{name}" (text TEXT, label INTEGER, blob BLOB)')
            base.execute(f'INSERT INTO "{name}" VALUES (?, 1, ?), (?, NULL, NULL)', (f"in {name}", "é".encode(), "b"))
    base.close()
    return path


@pytest.mark.parametrize("name", ["a.db", "a.sqlite", "a.sqlite3"])
def test_a_table_of_a_database_is_read(tmp_path, name):
    path = database(tmp_path / name, ["reviews"])
    expected = [{"text": "in reviews", "label": 1, "blob": "é"}, {"text": "b", "label": None, "blob": None}]
    assert rows(path) == rows(f"{path}:reviews") == {"train": expected}


def test_a_table_of_several_is_named(tmp_path):
    path = database(tmp_path / "a.db", ["one", "the other"])
    assert rows(f"{path}:the other")["train"][0]["text"] == "in the other"
    with pytest.raises(DataError, match=r"several tables \(one, the other\); name one, for example .*a.db:one"):
        rows(path)
    with pytest.raises(DataError, match="no table 'on'"):
        rows(f"{path}:on")
    (tmp_path / "b.db").write_bytes(b"no database" * 100)
    with pytest.raises(DataError, match="not a readable SQLite database"):
        rows(tmp_path / "b.db")


def test_a_sheet_of_a_workbook_is_read(tmp_path, capsys):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in [("text", "label", "day", None), ("one", 1, DAY, None), ("two", None, None, None)]:
        book.active.append(row)
    book.create_sheet("Other").append(["text"])
    book["Other"].append(["three"])
    book.save(tmp_path / "a.xlsx")
    found = rows(tmp_path / "a.xlsx")["train"]
    assert [(row["text"], row["label"], row["day"][:10]) for row in found] == [
        ("one", 1, "2024-01-02"),
        ("two", None, ""),
    ]
    assert "sheet 'Sheet' is read" in capsys.readouterr().err
    assert rows(f"{tmp_path / 'a.xlsx'}:Other")["train"] == [{"text": "three"}]
    with pytest.raises(DataError, match=r"no sheet 'Others' .*; it has Sheet, Other"):
        rows(f"{tmp_path / 'a.xlsx'}:Others")
    (tmp_path / "b.xlsx").write_bytes(b"PK")
    with pytest.raises(DataError, match="not a readable xlsx file"):
        rows(tmp_path / "b.xlsx")


TYPES = {
    "decimal": (pa.array([decimal.Decimal("1.5"), None]), [1.5, None]),
    "date": (pa.array([datetime.date(2024, 1, 2), None]), ["2024-01-02", None]),
    "time": (pa.array([datetime.datetime(2024, 1, 2, 3), None], pa.timestamp("s")), ["2024-01-02 03:00:00.000", None]),
    "bytes": (pa.array(["é".encode(), None]), ["é", None]),
    "large": (pa.array(["a", None], pa.large_string()), ["a", None]),
    "names": (pa.array(["a", None]).dictionary_encode(), ["a", None]),
    "list": (pa.array([[decimal.Decimal("1.5")], []]), [[1.5], []]),
    "object": (pa.array([{"day": datetime.date(2024, 1, 2)}, None]), [{"day": "2024-01-02"}, None]),
}


@pytest.mark.parametrize("kind", TYPES)
def test_types_that_json_has_not_are_read_as_those_it_has(tmp_path, kind):
    values, expected = TYPES[kind]
    pyarrow.parquet.write_table(pa.table({"text": ["x", "y"], "value": values}), tmp_path / "a.parquet")
    assert read_file(tmp_path / "a.parquet")["value"][:] == expected


def test_string_views_and_feather_files_are_read(tmp_path):
    pyarrow.feather.write_feather(pa.table({"text": ["x"]}), str(tmp_path / "a.feather"))
    assert read_file(tmp_path / "a.feather").to_list() == [{"text": "x"}]
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as sink:
        table = pa.table({"text": pa.array(["x"], pa.string_view())})
        with pa.ipc.new_file(sink, table.schema) as file:
            file.write_table(table)
    assert read_file(tmp_path / "a.arrow").features["text"].dtype == "string"


def test_bytes_that_are_no_text_are_a_mixed_column(tmp_path):
    pyarrow.parquet.write_table(pa.table({"text": ["x"], "image": [b"\xff\xfe"]}), tmp_path / "a.parquet")
    source = open_dataset(str(tmp_path / "a.parquet"))
    assert source.any()["text"][:] == ["x"]
    assert "no text" in source.mixed["image"]


@pytest.mark.parametrize("reference", ["a.arrow", "saved"])
def test_a_damaged_arrow_file_is_refused_and_not_read(tmp_path, reference):
    data = bytearray(io_of(Dataset.from_dict({"text": ["abc", "def"]})))
    (tmp_path / "a.arrow").write_bytes(data)
    Dataset.from_dict({"text": ["abc", "def"]}).save_to_disk(tmp_path / "saved")
    path = tmp_path / "a.arrow" if reference == "a.arrow" else next((tmp_path / "saved").glob("*.arrow"))
    whole = path.read_bytes()
    offsets = b"".join(n.to_bytes(4, "little") for n in (0, 3, 6))
    assert whole.count(offsets) == 1
    path.write_bytes(whole.replace(offsets, b"".join(n.to_bytes(4, "little") for n in (0, 3, 2**30))))
    with pytest.raises(DataError, match=r"not a readable arrow file|cannot be read"):
        open_dataset(str(tmp_path / reference))


def io_of(rows: Dataset) -> bytes:
    buffer, table = io.BytesIO(), rows.data.table
    with pa.ipc.new_stream(buffer, table.schema) as sink:
        sink.write_table(table)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "phrase"), [("a.pkl", "read_pickle"), ("a.xls", "save it as .xlsx"), ("a.db.gz", "unpack")]
)
def test_formats_that_are_not_read_say_what_to_do(tmp_path, name, phrase):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match=phrase):
        read_file(tmp_path / name, FileOptions())
