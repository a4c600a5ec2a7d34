"""Rows that are read a few at a time are those of the whole file, whatever its format and wherever it is cut."""

from __future__ import annotations

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from answered_rows import answered, read_rows

from llmkit.data import files
from llmkit.data.files import batches
from llmkit.errors import DataError, LlmkitError, OptionError
from llmkit.errors.characters import require_characters_in_rows
from llmkit.inference.prediction import classify
from llmkit.inference.row_files import InputRows, reading, writing
from llmkit.options import FileOptions, RowOptions

LINES = [{"id": number, "text": f'row {number}, 第\n"two"', "n": None if number % 3 else 0.5} for number in range(40)]
TABLE = "id,text,\n" + "".join(f'{number},"a ""b"", {number}\nc, d",\n' for number in range(40))
CONTENTS = {
    "a.jsonl": "\n".join(map(json.dumps, LINES)) + "\n\n",
    "b.csv": TABLE,
    "b.tsv": "id\ttext\n" + "".join(f'{number}\t"open {number}\n' for number in range(40)),
    "quoted.tsv": "id\ttext\n" + "".join(f'{number}\t"a\nb {number}"\n' for number in range(40)),
    "c.csv": "﻿text;n\r\n" + "".join(f"zeile {number};{number}\r\n" for number in range(40)),
    "d.txt": "".join(f"line {number}\r\n\n" for number in range(40)) + "end",
    "table.txt": "text\tlabel\n" + "".join(f"a b {number}\t{number % 2}\n" for number in range(40)),
    "words.csv": "word,tag\n" + "A,O\nfox,O\nParis,B-LOC\n\n" * 8,
    "array.jsonl": json.dumps(LINES),
    "over_lines.jsonl": "\n".join(json.dumps(row, indent=1) for row in LINES),
    "value.json": json.dumps(LINES),
    "sequel.csv": "text,\n" + "a,\n" * 30 + "b,late\n",
}


@pytest.fixture(autouse=True)
def small_reads(monkeypatch):
    monkeypatch.setattr(batches, "BYTES_PER_READ", 100)


def require_whole(path) -> None:
    """Refuse a file as its whole is refused."""
    require_characters_in_rows(files.read_rows(path, FileOptions()), str(path))


@pytest.mark.parametrize(
    ("name", "limit"), [*((name, None) for name in CONTENTS), ("a.jsonl", 7), ("b.csv", 7), ("array.jsonl", 7)]
)
def test_rows_in_parts_are_those_of_the_whole(tmp_path, name, limit):
    path = tmp_path / name
    path.write_text(CONTENTS[name], encoding="utf-8", newline="")
    assert read_rows(RowOptions(input=path, limit=limit)) == files.read_rows(path, FileOptions())[:limit]


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_columns_are_read_in_parts_too(tmp_path, ending):
    path, table = tmp_path / f"a.{ending}", pa.table({"id": range(40), "text": [f"b {n}" for n in range(40)]})
    if ending == "parquet":
        pq.write_table(table, path, row_group_size=7)
    else:
        with pa.ipc.new_stream(path, table.schema) as stream:
            stream.write_table(table, max_chunksize=7)
    assert read_rows(RowOptions(input=path)) == files.read_rows(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", '{"text": "a"}\n' * 30 + '{"text": }\n'),
        ("a.csv", "text,n\n" + "a,1\n" * 50 + "b\n"),
        ("a.csv", "text,text\n" + "a,1\n" * 50),
        ("a.csv", "text\n"),
        ("a.txt", "\n" * 200),
        ("a.jsonl", '{"text": "a"}\n' * 30 + '{"text": "\\ud800"}\n'),
    ],
)
def test_what_is_broken_far_down_is_refused_as_in_the_whole(tmp_path, name, content):
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(LlmkitError) as whole:
        require_whole(tmp_path / name)
    with pytest.raises(type(whole.value)) as parts:
        read_rows(RowOptions(input=tmp_path / name))
    assert str(parts.value) == str(whole.value)


@pytest.mark.parametrize("name", ["a.csv.gz", "a.parquet", "a.arrow"])
def test_a_damaged_file_is_refused_as_in_the_whole(tmp_path, name):
    path, table = tmp_path / name, pa.table({"text": [f"a {number * 7919}" for number in range(4000)]})
    if name == "a.parquet":
        pq.write_table(table, path)
    elif name == "a.arrow":
        with pa.ipc.new_stream(path, table.schema) as stream:
            stream.write_table(table, max_chunksize=100)
    else:
        path.write_bytes(gzip.compress(("text\n" + "\n".join(table["text"].to_pylist())).encode()))
    path.write_bytes(path.read_bytes()[:-4000])
    with pytest.raises(DataError) as whole:
        require_whole(path)
    with pytest.raises(DataError) as parts:
        read_rows(RowOptions(input=path))
    assert str(parts.value) == str(whole.value)


def test_columns_are_told_from_all_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "SAMPLE_ROWS", 2)
    rows = [{"text": float("nan")}] * 30 + [{"text": "a", "late": 1}] + [{"text": "b"}] * 9
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with InputRows.opened(RowOptions(input=tmp_path / "a.jsonl", output=tmp_path / "a.csv")) as opened:
        read = [row for _, batch in opened.batches() for row in batch]
        assert opened.sample == [*read[:2], read[30]]
        assert [start for start, _ in opened.chunks(16, skip=3)] == [3, 19, 35]
    assert read == [{"text": None, "late": None}] * 30 + [{"text": "a", "late": 1}] + [{"text": "b", "late": None}] * 9


def test_a_file_that_loses_rows_while_it_is_read_is_refused(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("a b\n" * 90, encoding="utf-8")
    with InputRows.opened(RowOptions(input=path)) as opened:
        path.write_text("a b\n" * 80, encoding="utf-8")
        with pytest.raises(DataError, match="lost rows while it was read"):
            list(opened.chunks(16))


def test_a_note_of_many_chunks_keeps_the_last_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "ENDS_KEPT", 2)
    (tmp_path / "a.txt").write_text("a b\n" * 90, encoding="utf-8")
    options = RowOptions(input=tmp_path / "a.txt", output=tmp_path / "b.jsonl", batch_size=1)
    starts = list[int]()

    def work(part, start):
        starts.append(start)
        return [{"n": start + place} for place in range(len(part))]

    answered(work, options)
    whole = (tmp_path / "b.jsonl").read_bytes()
    assert len(json.loads((tmp_path / "b.jsonl.llmkit.json").read_text())["ends"]) == 2
    for length, first in ((len(whole) - 1, 88), (100, 0)):  # cut after what the note knows, and before
        (tmp_path / "b.jsonl").write_bytes(whole[:length])
        starts.clear()
        answered(work, options)
        assert (starts[0], (tmp_path / "b.jsonl").read_bytes()) == (first, whole)
    with pytest.raises(OptionError, match="another command"):
        answered(work, options, command="other")


def test_a_batch_that_does_not_fit_is_halved_unless_its_size_was_asked_for(classifier, monkeypatch):
    from transformers import BertForSequenceClassification

    texts, sizes, forward = ["a fox ran"] * 6, list[int](), BertForSequenceClassification.forward
    expected = classify(texts, classifier)

    def of_two_rows(self, input_ids, **inputs):
        sizes.append(len(input_ids))
        if len(input_ids) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return forward(self, input_ids, **inputs)

    monkeypatch.setattr(BertForSequenceClassification, "forward", of_two_rows)
    assert [row["label"] for row in classify(texts, classifier)] == [row["label"] for row in expected]
    assert sizes == [6, 3, 1, 2, 3, 1, 2]
    with pytest.raises(torch.OutOfMemoryError):
        classify(texts, classifier, batch_size=6)
