from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from conftest import write_jsonl
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import llmkit as package
from llmkit.options import AskOptions

LONG = "the fox was good and " * 40 + "cruel"
TEXTS = ["the fox was good", LONG, "a song", "the king was " + "cold " * 90]
LIMIT = 64
HINT = "; --windows mean|max reads all of it"


@pytest.fixture(scope="session")
def regressor(models_root) -> Path:
    return tiny.bert_folder(models_root / "long-regressor", labels=["score"])


@pytest.fixture(scope="session")
def three(models_root) -> Path:
    return tiny.bert_folder(models_root / "long-three", labels=["calm", "dull", "eager"], seed=3)


@pytest.fixture(scope="session")
def topics(models_root) -> Path:
    folder = tiny.bert_folder(models_root / "long-topics", labels=["art", "home", "nature"], seed=4)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "problem_type": "multi_label_classification"}))
    return folder


def logits_of_windows(folder: Path, text: str, pair: str | None = None) -> np.ndarray:
    """Return the logits of each window of a text (windows, classes) from transformers alone."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    kept = 0 if pair is None else len(tokenizer(pair, add_special_tokens=False)["input_ids"])
    specials = 2 if pair is None else 3
    encoded = tokenizer(
        text,
        pair,
        truncation="only_first",
        max_length=LIMIT,
        stride=(LIMIT - specials - kept) // 4,
        return_overflowing_tokens=True,
        padding=True,
        return_tensors="pt",
    )
    encoded.pop("overflow_to_sample_mapping")
    with torch.inference_mode():
        return model(**encoded).logits.double().numpy()


def over(values: np.ndarray, pooling: str) -> np.ndarray:
    return values.mean(0) if pooling == "mean" else values.max(0)


def chances(logits: np.ndarray) -> np.ndarray:
    return torch.from_numpy(logits).softmax(-1).numpy()


POOLINGS = pytest.mark.parametrize("pooling", ["mean", "max"])


@POOLINGS
@pytest.mark.parametrize("batch_size", [1, 16])
def test_the_windows_of_a_long_text_give_one_answer(llmkit, three, pooling, batch_size):
    plain = llmkit("classify", *TEXTS, "-m", three, "--batch-size", batch_size)
    ran = llmkit("classify", *TEXTS, "-m", three, "--windows", pooling, "--batch-size", batch_size)
    assert ran.code == 0, ran.err
    assert f"2 of 4 texts are longer than 64 tokens, read in windows that overlap: --windows {pooling}" in ran.err
    assert ran.rows[0::2] == plain.rows[0::2]  # those that fit
    for row in ran.rows[1::2]:
        logits = logits_of_windows(three, row["text"])
        assert len(logits) > 1
        expected = over(chances(logits), pooling)
        expected = expected / expected.sum()
        found = [row["scores"][name] for name in ("calm", "dull", "eager")]
        assert found == pytest.approx(expected.tolist(), abs=1e-6)
        assert row["label"] == ("calm", "dull", "eager")[int(expected.argmax())]


@POOLINGS
def test_labels_that_hold_together_keep_their_own_probabilities(llmkit, topics, pooling):
    row = llmkit("classify", LONG, "-m", topics, "--windows", pooling).rows[0]
    expected = over(1 / (1 + np.exp(-logits_of_windows(topics, LONG))), pooling)
    found = [row["scores"][name] for name in ("art", "home", "nature")]
    assert found == pytest.approx(expected.tolist(), abs=1e-6)
    assert set(row["labels"]) == {n for n, p in zip(("art", "home", "nature"), expected, strict=True) if p >= 0.5}


@POOLINGS
def test_a_number_is_the_mean_or_the_largest_of_all_windows(llmkit, regressor, pooling):
    row = llmkit("classify", LONG, "-m", regressor, "--windows", pooling).rows[0]
    assert row["score"] == pytest.approx(float(over(logits_of_windows(regressor, LONG), pooling)[0]), abs=1e-6)


@pytest.mark.parametrize("swapped", [False, True])
def test_the_shorter_text_of_a_pair_stands_in_every_window(llmkit, three, swapped):
    short, cut = "the day was sad", "pair" if swapped else "text"
    first, second = (short, LONG) if swapped else (LONG, short)
    ran = llmkit("classify", first, "--pair", second, "-m", three)
    assert f"1 of 1 pair is longer than 64 tokens, and the rest of the {cut} was not read" in ran.err
    row = llmkit("classify", first, "--pair", second, "-m", three, "--windows", "mean").rows[0]
    if not swapped:
        expected = chances(logits_of_windows(three, LONG, short)).mean(0)
        found = [row["scores"][name] for name in ("calm", "dull", "eager")]
        assert found == pytest.approx(expected.tolist(), abs=1e-6)
    assert row["scores"] != llmkit("classify", first, "--pair", second, "-m", three).rows[0]["scores"]


def test_two_long_texts_of_a_pair_are_refused_by_row(llmkit, three, tmp_path):
    rows = [{"text": "a song", "text_pair": "the day"}, {"text": LONG, "text_pair": LONG}]
    data = write_jsonl(tmp_path / "in.jsonl", rows)
    ran = llmkit("classify", "-i", data, "-m", three, "--windows", "max")
    assert ran.code == 2
    assert ran.error.startswith("row 2: its text has 201 tokens and its pair 201, and the shorter has to stand whole")
    ran = llmkit("classify", "-i", data, "-m", three)
    assert "1 of 2 pairs is longer than 64 tokens, and the rest of the text or the pair was not read" in ran.err


def test_a_text_that_is_cut_is_said_once_with_the_count(llmkit, three, topics, tmp_path):
    rows = [{"text": text} for text in TEXTS] * 20
    data = write_jsonl(tmp_path / "in.jsonl", rows)
    for model in (three, topics):
        ran = llmkit("classify", "-i", data, "-m", model, "--batch-size", "2")
        warnings = [line for line in ran.err.splitlines() if line.startswith("warning: ")]
        assert warnings == [f"warning: 40 of 80 texts are longer than 64 tokens, and their rest was not read{HINT}"]
    assert "longer" not in llmkit("classify", "a song", "-m", three).err


@pytest.mark.parametrize(
    ("kind", "arguments", "words"),
    [
        ("llama", ("classify", LONG, "--labels", "art,home"), "text is longer than 64 tokens, and its beginning"),
        ("chooser", ("classify", LONG, "--choices", "a", "--choices", "b"), "question is longer than 64 tokens"),
        ("reader", ("generate", LONG, "--context", "the fox"), "question is longer than 29 tokens, and its rest was"),
    ],
)
def test_other_tasks_say_what_they_do_not_read(request, llmkit, kind, arguments, words):
    ran = llmkit(*arguments, "-m", request.getfixturevalue(kind))
    assert ran.code == 0, ran.err
    assert f"warning: 1 of 1 {words}" in ran.err
    assert "--windows" not in ran.err


@pytest.mark.parametrize(
    ("kind", "arguments", "why"),
    [
        ("tagger", ("classify", "Anna saw Rome"), "token-classification reads a long text in windows without it"),
        ("reader", ("generate", "who", "--context", "a fox"), "question-answering reads a long text in windows"),
        ("llama", ("generate", "the"), "causal-lm reads no text in windows"),
        ("llama", ("classify", "the", "--labels", "a,b"), "zero-shot-classification reads no text in windows"),
    ],
)
def test_windows_are_refused_where_they_change_nothing(request, llmkit, kind, arguments, why):
    ran = llmkit(*arguments, "-m", request.getfixturevalue(kind), "--windows", "mean")
    assert (ran.code, ran.error[: len(why) + 11]) == (2, f"--windows: {why}")


def test_python_takes_windows_too(llmkit, three):
    found = package.classify([LONG], str(three), asked=AskOptions(windows="mean"))
    assert found == llmkit("classify", LONG, "-m", three, "--windows", "mean").rows


def test_eval_says_how_many_rows_are_cut(llmkit, classifier, tmp_path):
    rows = [{"text": text, "label": label} for text, label in zip(TEXTS, ["negative", "positive"] * 2, strict=True)]
    ran = llmkit("eval", write_jsonl(tmp_path / "in.jsonl", rows), "-m", classifier)
    assert ran.code == 0, ran.err
    assert "2 of 4 rows are longer than 64 tokens, and their rest was not read" in ran.err
