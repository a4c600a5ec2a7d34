"""A column that is called `pair`: the second text, wherever it is read, and what classify prints comes back."""

from __future__ import annotations

import json

import pytest
from conftest import write_jsonl
from evaluating import values

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


@pytest.mark.parametrize("cells", [(1, 2, 3, 4), ("p1", "p2", "p3", "p4"), ("EURUSD", "EURUSD", "GBPUSD", "GBPUSD")])
def test_a_column_called_pair_that_holds_no_texts_is_none(llmkit, classifier, tmp_path, cells):
    texts = ("good film", "bad film", "a play", "the book")
    rows = [{"text": text, "pair": cell, "label": "positive"} for text, cell in zip(texts, cells, strict=True)]
    file = write_jsonl(tmp_path / "rows.jsonl", rows)
    ran = llmkit("classify", "--input", file, "-m", classifier)
    assert "columns: text=text\n" in ran.err
    ran = llmkit("eval", file, "-m", classifier, "--no-cache", "--json")
    assert json.loads(ran.out)["columns"] == {"text": "text", "label": "label"}
