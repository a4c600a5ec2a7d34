"""A column that is called `pair`: the second text, wherever it is read, and what classify prints comes back."""

from __future__ import annotations

import json

import pytest
import torch
from conftest import write_jsonl
from evaluating import values
from transformers import AutoModelForSequenceClassification, AutoTokenizer

PAIRS = (("the film was good", "a good film"), ("b", "something else"))


def printed(llmkit, model, folder):
    """The lines that classify prints of pairs, as a file."""
    lines = [llmkit("classify", text, "--pair", pair, "-m", model, "--json").rows[0] for text, pair in PAIRS]
    return lines, write_jsonl(folder / "printed.jsonl", lines)


@pytest.mark.parametrize("kind", ["classifier", "sorter"])
def test_what_classify_prints_of_pairs_is_read_again_with_the_same_meaning(llmkit, request, tmp_path, kind):
    model = request.getfixturevalue(kind)
    lines, file = printed(llmkit, model, tmp_path)
    again = llmkit("classify", "--input", file, "-m", model)
    assert again.code == 0, again.err
    assert "columns: text=text, pair=pair" in again.err
    for before, after in zip(lines, again.rows, strict=True):
        assert after["scores"] == pytest.approx(before["scores"], abs=1e-6)
    label = "labels" if kind == "sorter" else "label"
    for source in (("-m", model, "--no-cache"), ("--predictions", file)):
        ran = llmkit("eval", file, *source, "--metric", "f1_micro", "--json")
        assert ran.code == 0, ran.err
        assert values(ran.json)["f1_micro"] == 1
        assert ran.json["columns"] == {"text": "text", "pair": "pair", label: label}


def test_a_column_called_pair_is_read_as_the_flag_reads_it(llmkit, classifier, tmp_path):
    rows = [{"text": text, "pair": pair, "label": "positive"} for text, pair in PAIRS]
    file = write_jsonl(tmp_path / "rows.jsonl", rows)
    flags = ("-m", classifier, "--no-cache", "--metric", "brier", "--json")
    found = llmkit("eval", file, *flags)
    named = llmkit("eval", file, *flags, "--column", "text=text", "--column", "pair=pair")
    alone = llmkit("eval", file, *flags, "--column", "text=text")
    assert values(found.json) == values(named.json) != values(alone.json)


@pytest.mark.parametrize(
    ("first", "second"), [("text1", "text2"), ("sentence1", "sentence2"), ("Text", "Pair"), ("premise", "hypothesis")]
)
def test_pairs_are_found_in_a_file_whichever_row_has_them_first(llmkit, classifier, tmp_path, first, second):
    rows = [{first: "alone here"}, *({first: text, second: pair} for text, pair in PAIRS)]
    ran = llmkit("classify", "--input", write_jsonl(tmp_path / "rows.jsonl", rows), "-m", classifier)
    assert ran.code == 0, ran.err
    assert f"columns: text={first}, pair={second}" in ran.err
    lone = llmkit("classify", "alone here", "-m", classifier, "--json").rows[0]
    assert ran.rows[0]["scores"] == pytest.approx(lone["scores"], abs=1e-6)


@pytest.fixture(scope="session")
def decoder(llama, models_root):
    folder = models_root / "decoder-classifier"
    tokenizer = AutoTokenizer.from_pretrained(llama)
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(
        llama, num_labels=2, id2label={0: "bad", 1: "good"}, pad_token_id=tokenizer.pad_token_id or 0
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["classifier", "decoder"])
@pytest.mark.parametrize("blank", [None, "", " ", "absent"])
@pytest.mark.parametrize("flags", [(), ("--windows", "mean")])
def test_a_row_without_a_pair_is_its_text_alone(llmkit, request, tmp_path, kind, blank, flags):
    model = request.getfixturevalue(kind)
    texts = ["the fox was good", "the fox was good and " * 40]
    lone = [{"text1": text, "text2": blank} for text in texts]
    if blank == "absent":
        lone = [{"text1": text} for text in texts]
    rows = [*lone, {"text1": "b", "text2": "something else"}, {"text1": None, "text2": "b"}]
    ran = llmkit("classify", "-i", write_jsonl(tmp_path / "rows.jsonl", rows), "-m", model, *flags)
    assert ran.code == 0, ran.err
    assert "2 of 4 rows have no pair, and their text is read alone" in ran.err
    assert "1 of 4 rows has no text, and is answered null" in ran.err
    assert ran.rows[3]["scores"] is None
    alone = llmkit("classify", *texts, "-m", model, *flags)
    for row, expected in zip(ran.rows[:2], alone.rows, strict=True):
        assert row["scores"] == pytest.approx(expected["scores"], abs=1e-5)
    if not flags:
        assert "1 of 3 pairs is longer than 64 tokens, and the rest of the text was not read" in ran.err
        tokenizer = AutoTokenizer.from_pretrained(model)
        inputs = tokenizer(texts[0], return_tensors="pt")
        network = AutoModelForSequenceClassification.from_pretrained(model).eval()
        with torch.inference_mode():
            chances = network(**inputs).logits[0].double().softmax(-1).tolist()
        names = [network.config.id2label[number] for number in range(2)]
        assert ran.rows[0]["scores"] == pytest.approx(dict(zip(names, chances, strict=True)), abs=1e-5)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("text=a", "pair=a"), "column 'a' is named for two roles, one of them pair; name another"),
        (("text=a", "text=b"), "--column names two columns for text; one is wanted"),
    ],
)
def test_a_column_has_one_role_and_a_role_one_column(llmkit, classifier, tmp_path, flags, sentence):
    data = write_jsonl(tmp_path / "rows.jsonl", [{"a": "x", "b": "y"}])
    ran = llmkit("classify", "-i", data, "-m", classifier, *(word for flag in flags for word in ("--column", flag)))
    assert (ran.code, ran.error) == (2, sentence)


@pytest.mark.parametrize("cells", [(1, 2, 3, 4), ("p1", "p2", "p3", "p4"), ("EURUSD", "EURUSD", "GBPUSD", "GBPUSD")])
def test_a_column_called_pair_that_holds_no_texts_is_none(llmkit, classifier, tmp_path, cells):
    texts = ("good film", "bad film", "a play", "the book")
    rows = [{"text": text, "pair": cell, "label": "positive"} for text, cell in zip(texts, cells, strict=True)]
    file = write_jsonl(tmp_path / "rows.jsonl", rows)
    ran = llmkit("classify", "--input", file, "-m", classifier)
    assert "columns: text=text\n" in ran.err
    ran = llmkit("eval", file, "-m", classifier, "--no-cache", "--json")
    assert json.loads(ran.out)["columns"] == {"text": "text", "label": "label"}
