"""`--streaming`: rows are read as they are needed, and what comes of it is what comes of reading them all."""

from __future__ import annotations

import gzip
import json
import signal
from pathlib import Path

import pyarrow as pa
import pytest
import tiny
from conftest import write_csv, write_jsonl
from datasets import Dataset
from signalling import Signalling

from llmkit.data import open_dataset
from llmkit.data.files import batches
from llmkit.data.streams import RowStream, open_streams
from llmkit.errors import DataError, Stopped
from llmkit.options import FileOptions, RunOptions, SplitOptions, TrainingOptions
from llmkit.output.report import Report
from llmkit.training.finetuning import finetune
from llmkit.training.rows import lanes, streaming

ROWS = [
    {"text": f'row {number}, "quoted"\nand on', "label": "ab"[number % 2], "score": number / 7}
    for number in range(2500)
]


def written(folder: Path, name: str) -> Path:
    """Write the rows in the format that a name ends in."""
    path, dataset = folder / name, Dataset.from_list(ROWS)
    if name.endswith(".parquet"):
        dataset.to_parquet(path, batch_size=700)
    elif name.endswith(".arrow"):
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, dataset.data.table.schema) as writer:
            writer.write_table(dataset.data.table, max_chunksize=600)
    elif name.endswith(".gz"):
        path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in ROWS).encode()))
    elif name.endswith(".csv"):
        write_csv(path, ROWS)
    else:
        write_jsonl(path, ROWS)
    return path


def rows_of(stream: RowStream, **which: int) -> list[dict]:
    return [row for batch in stream.batches(**which) for row in batch.to_list()]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.csv", "a.parquet", "a.arrow"])
def test_a_stream_has_the_rows_of_the_file(tmp_path, name):
    path = written(tmp_path, name)
    whole = open_dataset(str(path)).splits["train"]
    stream = open_streams(str(path), FileOptions(), Report()).splits["train"]
    assert rows_of(stream) == whole.to_list()
    assert rows_of(stream, skip=1700, limit=2100) == whole.to_list()[1700:2100]
    batches = list(stream.batches())
    assert name == "a.csv" or len(batches) > 1  # of a table a million bytes are read at once
    assert {str(batch.features) for batch in batches} == {str(whole.features)}
    assert stream.head(50, 10**9).to_list() == whole.to_list()[:50]
    assert len(stream.head(2500, 100)) < 10


def test_a_folder_is_read_file_after_file_and_a_text_in_pieces_that_lose_nothing(tmp_path):
    write_jsonl(tmp_path / "train-1.jsonl", ROWS[:10])
    write_jsonl(tmp_path / "train-2.jsonl", ROWS[10:30])
    write_jsonl(tmp_path / "test.jsonl", ROWS[30:35])
    splits = open_streams(str(tmp_path), FileOptions(), Report()).splits
    assert [row["text"] for row in rows_of(splits["train"])] == [row["text"] for row in ROWS[:30]]
    assert len(rows_of(splits["test"])) == 5
    text = "".join(f"Zeile {number}: größer als 漢字\n" for number in range(60_000))
    (tmp_path / "book.txt").write_text(text, encoding="gb18030")
    pieces = [
        row["text"]
        for row in rows_of(
            open_streams(str(tmp_path / "book.txt"), FileOptions(encoding="gb18030"), Report()).splits["train"]
        )
    ]
    assert "".join(pieces) == text
    assert 10 < len(pieces) < 60
    with pytest.raises(DataError, match="is not utf-8; name the file's encoding"):
        rows_of(open_streams(str(tmp_path / "book.txt"), FileOptions(), Report()).splits["train"])
    (tmp_path / "cut.txt").write_bytes("größer".encode()[:3])
    with pytest.raises(DataError, match="byte 0xc3 is not utf-8"):
        rows_of(open_streams(str(tmp_path / "cut.txt"), FileOptions(), Report()).splits["train"])


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not(tmp_path, classifier):
    """Over more than one pass, so that it has to find its place in the second."""
    rows = write_jsonl(tmp_path / "rows.jsonl", tiny.reviews(40))
    call = {"dataset": str(rows), "model": str(classifier), "splits": SplitOptions(streaming=True)}
    call |= {"training_options": TrainingOptions(max_steps=8, batch_size=8)}
    straight = finetune(**call, run=RunOptions(output=tmp_path / "straight"))
    halted = RunOptions(output=tmp_path / "halted")
    with pytest.raises(Stopped):
        finetune(**call, run=halted, report=Signalling(6, signal.SIGTERM))
    finetune(**call, run=halted)
    weights = [(tmp_path / run / "model.safetensors").read_bytes() for run in ("straight", "halted")]
    assert weights[0] == weights[1]
    data = straight.run_record["data"]
    assert (data["streaming"], data["validation"], data["validation_rows"]) == (True, "train[:4]", 4)
    assert "epoch" not in (tmp_path / "straight" / "metrics.jsonl").read_text()
    assert "Training rows: streamed" in (tmp_path / "straight" / "README.md").read_text()


def test_a_resumed_run_does_not_encode_again_what_it_was_trained_on(tmp_path, classifier, monkeypatch):
    """Over files of which each is a shard."""
    encoded = list[int]()

    def counting(shard, batch, start):
        encoded.append(len(batch))
        return encode(shard, batch, start)

    encode = streaming.EncodedShard._encoded
    monkeypatch.setattr(streaming.EncodedShard, "_encoded", counting)
    monkeypatch.setattr(batches, "ROWS_PER_BATCH", 50)
    monkeypatch.setattr(lanes, "BLOCK_ROWS", 100)
    monkeypatch.setattr(lanes, "BLOCK_STEPS", 5)
    (tmp_path / "rows").mkdir()
    for number in range(4):
        write_jsonl(tmp_path / "rows" / f"train-{number}.jsonl", tiny.reviews(200))
    call = {"dataset": str(tmp_path / "rows"), "model": str(classifier)}
    call |= {"splits": SplitOptions(streaming=True)}
    training = TrainingOptions(max_steps=90, batch_size=8)
    finetune(**call, training_options=training, run=RunOptions(output=tmp_path / "straight"))
    read_once, encoded[:] = sum(encoded), []
    halted = RunOptions(output=tmp_path / "halted")
    with pytest.raises(Stopped):
        finetune(**call, training_options=training, run=halted, report=Signalling(80, signal.SIGTERM))
    encoded.clear()
    finetune(**call, training_options=training, run=halted)
    assert read_once > 700
    assert sum(encoded) < read_once / 2
    weights = [(tmp_path / run / "model.safetensors").read_bytes() for run in ("straight", "halted")]
    assert weights[0] == weights[1]


def test_workers_read_what_is_read_without_them(llmkit, tmp_path, classifier):
    rows = write_jsonl(tmp_path / "rows.jsonl", tiny.reviews(40))
    call = ("finetune", rows, "-m", classifier, "--streaming", "--max-steps", "4", "--batch-size", "8")
    for run, workers in (("none", 0), ("two", 2)):
        ran = llmkit(*call, "-o", tmp_path / run, "--set", f"dataloader_num_workers={workers}")
        assert ran.code == 0, ran.err
    weights = [(tmp_path / run / "model.safetensors").read_bytes() for run in ("none", "two")]
    assert weights[0] == weights[1]


def test_eval_measures_the_rows_that_were_kept_aside(llmkit, tmp_path, classifier):
    rows = write_jsonl(tmp_path / "rows.jsonl", tiny.reviews(40))
    run = tmp_path / "run"
    ran = llmkit("finetune", rows, "-m", classifier, "--streaming", "--max-steps", "2", "-o", run, "--json")
    assert ran.code == 0, ran.err
    assert "epoch" not in ran.err
    again = llmkit("eval", rows, "-m", run, "--split", "train[:4]", "--json")
    assert again.json["metrics"] == ran.json["metrics"]


def test_pretraining_streams_a_text(llmkit, tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "CHARACTERS_PER_ROW", 2000)
    (tmp_path / "corpus.txt").write_text("".join(f"{line}\n" for line in tiny.corpus(600).split("\n\n")))
    ran = llmkit(
        "pretrain",
        tmp_path / "corpus.txt",
        "--streaming",
        "--max-steps",
        "2",
        "--max-length",
        "32",
        "--vocab-size",
        "300",
        "-o",
        tmp_path / "run",
        "--json",
    )
    assert ran.code == 0, ran.err
    assert json.loads((tmp_path / "run" / "run.json").read_text())["data"]["streaming"] is True


@pytest.mark.parametrize(
    ("arguments", "phrase"),
    [
        (("rows.jsonl",), "say --max-steps"),
        (("rows.jsonl@2", "--max-steps", "2"), "takes one dataset without a weight"),
        (("rows.jsonl", "rows.csv", "--max-steps", "2"), "takes one dataset without a weight"),
        (("-", "--max-steps", "2"), "standard input cannot give"),
        (("rows.json", "--max-steps", "2"), "takes lines of JSON (.jsonl)"),
        (("rows.jsonl", "--max-steps", "2", "--train-split", "train[:9]"), "there is no split 'train[:9]'"),
        (("missing.jsonl", "--max-steps", "2"), "there is no file or folder 'missing.jsonl'"),
        (("late.jsonl", "--max-steps", "9"), "label 'never seen' (first in row"),
        (("broken.jsonl", "--max-steps", "9"), "broken.jsonl, line 61: not JSON"),
    ],
)
def test_what_cannot_be_streamed_is_one_sentence(llmkit, tmp_path, monkeypatch, classifier, arguments, phrase):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(batches, "BYTES_PER_READ", 1000)
    monkeypatch.setattr(streaming, "HEAD_ROWS", 30)
    rows = tiny.reviews(60)
    write_jsonl(tmp_path / "rows.jsonl", rows[:20])
    write_csv(tmp_path / "rows.csv", rows[:20])
    (tmp_path / "rows.json").write_text(json.dumps(rows[:20]))
    write_jsonl(tmp_path / "late.jsonl", [*rows, {"text": "late", "label": "never seen"}])
    write_jsonl(tmp_path / "broken.jsonl", rows)
    with (tmp_path / "broken.jsonl").open("a") as file:
        file.write("{\n")
    ran = llmkit("finetune", *arguments, "-m", classifier, "--streaming", "-o", "run", "--max-length", "16")
    assert ran.code == 2, ran.err
    assert phrase in ran.error
