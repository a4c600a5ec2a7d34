from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tiny
from conftest import write_jsonl

from llmkit.inference import embedding, prediction
from llmkit.inference.answering import TwoPrecisions
from llmkit.inference.row_files import precision as file_precision
from llmkit.models import precision

NAMES = ["angry", "calm", "eager"]
ROWS = [{"text": row["text"]} for row in tiny.reviews(40, seed=3)]


@pytest.fixture(scope="session")
def moods(models_root) -> Path:
    return tiny.bert_folder(models_root / "moods", labels=NAMES, seed=4)


@pytest.fixture(scope="session")
def other_moods(models_root) -> Path:
    return tiny.bert_folder(models_root / "other-moods", labels=NAMES, seed=5)


@pytest.fixture
def fast_halves(monkeypatch) -> None:
    """Let files of 8 rows, and small models, be asked in bfloat16, which is three times as fast."""
    monkeypatch.setattr(file_precision, "FEWEST_ROWS", 8)
    monkeypatch.setattr(precision, "SMALLEST", 0)
    monkeypatch.setattr(precision, "known_times", lambda product: (3.0, 1.0))


@pytest.fixture
def rows(tmp_path) -> Path:
    return write_jsonl(tmp_path / "rows.jsonl", ROWS)


def labelled(llmkit, model: Path, rows: Path, name: str, *more: str) -> tuple[list[dict], str]:
    output = rows.with_name(name)
    ran = llmkit("classify", "-m", model, "--input", rows, "--output", output, *more)
    assert ran.code == 0, ran.err
    return [json.loads(line) for line in output.read_text().splitlines()], ran.err


def test_a_file_is_labelled_in_bfloat16_with_the_labels_of_float32(llmkit, moods, rows, fast_halves):
    half, said = labelled(llmkit, moods, rows, "half.jsonl")
    full, _ = labelled(llmkit, moods, rows, "full.jsonl", "--dtype", "float32")
    assert "bfloat16, whose products are 3.0 times as fast here" in said
    assert "--dtype float32" in said
    assert [row["label"] for row in half] == [row["label"] for row in full]
    assert half != full
    note = json.loads(rows.with_name("half.jsonl.llmkit.json").read_text())
    assert note["precision"]["is_half"]


def test_a_file_that_was_begun_in_bfloat16_goes_on_in_it(llmkit, moods, rows, fast_halves, monkeypatch):
    labelled(llmkit, moods, rows, "whole.jsonl", "--batch-size", "1")
    labelled(llmkit, moods, rows, "cut.jsonl", "--batch-size", "1")
    output = rows.with_name("cut.jsonl")
    output.write_bytes(output.read_bytes()[: json.loads(Path(f"{output}.llmkit.json").read_text())["ends"][1]])
    monkeypatch.setattr(precision, "known_times", lambda product: (1.0, 3.0))
    _, said = labelled(llmkit, moods, rows, "cut.jsonl", "--batch-size", "1")
    assert "16 of 40 rows already, going on" in said
    assert output.read_bytes() == rows.with_name("whole.jsonl").read_bytes()


def test_labels_that_would_be_others_keep_float32(llmkit, moods, other_moods, rows, fast_halves, monkeypatch):
    other = tiny.transformers.AutoModelForSequenceClassification.from_pretrained(other_moods)
    monkeypatch.setattr(TwoPrecisions, "half_model", other)
    kept, said = labelled(llmkit, moods, rows, "kept.jsonl")
    full, _ = labelled(llmkit, moods, rows, "full.jsonl", "--dtype", "float32")
    assert "the first rows are answered otherwise (--dtype bfloat16 for it)" in said
    assert kept == full


@pytest.mark.parametrize("why", ["few rows", "a dtype", "windows", "slower"])
def test_otherwise_float32_stays_and_nothing_is_said(llmkit, moods, rows, fast_halves, monkeypatch, why):
    if why == "few rows":
        monkeypatch.setattr(file_precision, "FEWEST_ROWS", len(ROWS) + 1)
    if why == "slower":
        monkeypatch.setattr(precision, "known_times", lambda product: (1.0, 1.5))
    flags = {"a dtype": ["--dtype", "float32"], "windows": ["--windows", "mean"]}.get(why, [])
    _, said = labelled(llmkit, moods, rows, "labels.jsonl", *flags)
    assert "bfloat16" not in said


def test_float32_decides_where_an_error_could_change_the_label(llmkit, moods, rows, fast_halves, monkeypatch):
    monkeypatch.setattr(prediction.Predictor, "half_error", lambda self, prepared: 1e6)
    half, said = labelled(llmkit, moods, rows, "half.jsonl")
    full, _ = labelled(llmkit, moods, rows, "full.jsonl", "--dtype", "float32")
    assert "bfloat16" in said
    assert half == full


@pytest.mark.parametrize("ending", ["jsonl", "npy"])
def test_a_file_is_embedded_in_bfloat16_where_the_vectors_are_alike(llmkit, moods, rows, fast_halves, ending):
    vectors = {}
    for dtype in ("auto", "float32"):
        output = rows.with_name(f"{dtype}.{ending}")
        ran = llmkit("embed", "-m", moods, "--input", rows, "--output", output, "--dtype", dtype)
        assert ran.code == 0, ran.err
        assert ("bfloat16, whose products" in ran.err) == (dtype == "auto")
        if ending == "npy":
            vectors[dtype] = np.load(output)
        else:
            vectors[dtype] = np.array([json.loads(line)["embedding"] for line in output.read_text().splitlines()])
    cosines = (vectors["auto"] * vectors["float32"]).sum(1)
    assert cosines.min() >= embedding.LEAST_COSINE
    assert not np.array_equal(vectors["auto"], vectors["float32"])
