"""The parts of a stream that can be read for themselves hold each of its rows once."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from conftest import write_csv, write_jsonl
from datasets import Dataset

from llmkit.data.files import batches, pieces
from llmkit.data.streams import RowStream, open_streams
from llmkit.data.streams import rows as stream_rows
from llmkit.errors import DataError
from llmkit.options import FileOptions
from llmkit.output.report import Report

ROWS = [{"text": f"Zeile {number} größer, 漢字\n" * (number % 5), "score": number / 7} for number in range(900)]


def train_of(path: Path, **options: str) -> RowStream:
    return open_streams(str(path), FileOptions(**options), Report()).splits["train"]


def rows_of(stream: RowStream) -> list[dict]:
    return [row for batch in stream.batches() for row in batch.to_list()]


@pytest.mark.parametrize("size", [300, 5000, 20_000])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_lines_are_cut_at_their_ends(tmp_path, monkeypatch, size, mark):
    monkeypatch.setattr(pieces, "BYTES_PER_PIECE", size)
    monkeypatch.setattr(batches, "BYTES_PER_READ", 1000)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
    (tmp_path / "rows.jsonl").write_text(mark + text.removesuffix("\n"), encoding="utf-8")
    shards = train_of(tmp_path / "rows.jsonl").shards()
    assert len(shards) > 3
    assert len({shard.name for shard in shards}) == len(shards)
    assert [row for shard in shards for row in rows_of(shard)] == ROWS
    lines = "".join(f"{number}: größer\n" for number in range(3000))
    (tmp_path / "text.txt").write_text(lines, encoding="utf-8")
    parts = [[row["text"] for row in rows_of(shard)] for shard in train_of(tmp_path / "text.txt").shards()]
    assert "".join(text for part in parts for text in part) == lines
    assert all(part[0].startswith(f"{part[0].partition(':')[0]}: ") and part[-1].endswith("\n") for part in parts)


@pytest.mark.parametrize(("size", "shards"), [(1, 9), (10**9, 1)])
def test_parquet_is_cut_between_row_groups(tmp_path, monkeypatch, size, shards):
    monkeypatch.setattr(pieces, "BYTES_PER_PIECE", size)
    Dataset.from_list(ROWS).to_parquet(tmp_path / "rows.parquet", batch_size=100)
    parts = train_of(tmp_path / "rows.parquet").shards()
    assert len(parts) == shards
    assert [row for part in parts for row in rows_of(part)] == ROWS


def test_what_cannot_be_cut_is_one_part(tmp_path, monkeypatch):
    monkeypatch.setattr(pieces, "BYTES_PER_PIECE", 100)
    write_csv(tmp_path / "a.csv", ROWS)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in ROWS).encode()))
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-16")
    for name in ("a.csv", "b.jsonl.gz", "c.jsonl"):
        (shard,) = train_of(tmp_path / name).shards()
        assert rows_of(shard) == ROWS
    (tmp_path / "words.txt").write_text("text\tlabel\n" + "one\ta\ntwo\tb\n" * 200)
    assert len(train_of(tmp_path / "words.txt").shards()) == 1


def test_files_of_a_folder_are_parts_with_the_types_of_the_first(tmp_path):
    for number, cells in enumerate((["1.5", "2"], ["3", "4"], ["", "5"])):
        (tmp_path / f"train-{number}.csv").write_text("text,score\n" + "".join(f"a,{cell}\n" for cell in cells))
    shards = train_of(tmp_path).shards()
    assert [[row["score"] for row in rows_of(shard)] for shard in shards] == [[1.5, 2.0], [3.0, 4.0], [None, 5.0]]
    assert {str(batch.features) for shard in shards for batch in shard.batches()} == {
        str(train_of(tmp_path).features())
    }


def test_many_files_are_not_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(pieces, "BYTES_PER_PIECE", 10)
    monkeypatch.setattr(stream_rows, "MANY", 3)
    for number in range(3):
        write_jsonl(tmp_path / f"train-{number}.jsonl", ROWS[:5])
    assert len(train_of(tmp_path).shards()) == 3


def test_folders_of_classes_are_parts_of_so_many_files(tmp_path, monkeypatch):
    monkeypatch.setattr(stream_rows, "ROWS_PER_BATCH", 2)
    for name in ("bad", "good"):
        (tmp_path / name).mkdir()
        for number in range(5):
            (tmp_path / name / f"{number}.txt").write_text(f"{name} {number}")
    stream = train_of(tmp_path)
    assert [len(rows_of(shard)) for shard in stream.shards()] == [2] * 5
    assert [row for shard in stream.shards() for row in rows_of(shard)] == rows_of(stream)


def test_a_broken_line_of_a_part_is_named_by_its_number_in_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(pieces, "BYTES_PER_PIECE", 3000)
    path = write_jsonl(tmp_path / "rows.jsonl", ROWS)
    with path.open("a") as file:
        file.write("{\n")
    with pytest.raises(DataError, match=r"rows\.jsonl, line 901"):
        rows_of(train_of(path).shards()[-1])
