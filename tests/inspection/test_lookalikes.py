"""Labels that look alike are found, with the code points that tell them apart; others are not."""

from __future__ import annotations

import pytest
from conftest import write_jsonl

from llmkit.inspection.lookalikes import differences, lookalikes


@pytest.mark.parametrize(
    ("name", "other", "apart"),
    [
        ("caf\u00e9", "cafe\u0301", "U+0301 COMBINING ACUTE ACCENT"),
        ("not\u00a0spam", "not spam", "U+00A0 NO-BREAK SPACE"),
        ("ham\u200b", "ham", "U+200B ZERO WIDTH SPACE"),
        ("Positive", "positive", "U+0050 against U+0070"),
        ("a-b", "a\u2013b", "U+2013 EN DASH"),
        ("-1", "\u22121", "U+2212 MINUS SIGN"),
        ("\uff21", "A", "U+FF21 FULLWIDTH LATIN CAPITAL LETTER A"),
        ("\u0441at", "cat", "U+0441 CYRILLIC SMALL LETTER ES"),
        ("a  b", "a b", "U+0020 SPACE"),
        ("a_b", "a b", "U+005F LOW LINE"),
        ("B-per", "B-PER", "U+0070 U+0065 U+0072 against"),
        ("\ufeffneg", "neg", "U+FEFF ZERO WIDTH NO-BREAK SPACE"),
    ],
)
def test_names_that_look_alike(name, other, apart):
    assert lookalikes(["other", name, other]) == [(name, other)]
    assert apart in differences(name, other)


@pytest.mark.parametrize(
    "names", [("neg", "pos"), ("10", "1 0"), ("1", "-1"), ("01", "1"), ("B-PER", "I-PER"), ("正", "負")]
)
def test_names_that_do_not(names):
    assert lookalikes(names) == []


def test_many_differences_are_counted():
    assert differences("A B C D E", "a b c d e").endswith("and 2 more")


def rows(labels: list[str]) -> list[dict[str, str]]:
    return [{"text": f"room number {n}", "label": label} for n, label in enumerate(labels)]


def test_data_names_both_labels_with_their_counts(llmkit, tmp_path):
    write_jsonl(tmp_path / "d" / "train.jsonl", rows(["caf\u00e9"] * 6 + ["cafe\u0301"] * 2 + ["bar"] * 4))
    write_jsonl(tmp_path / "d" / "validation.jsonl", [{"text": f"hall {n}", "label": "Bar"} for n in range(2)])
    findings = llmkit("data", tmp_path / "d", "--json").json["findings"]
    found = [finding for finding in findings if finding["kind"] == "lookalike-label"]
    assert [(f["split"], f["label"], f["rows"], f["first"]) for f in found] == [
        ("train", "cafe\u0301", 2, [7, 8]),
        ("validation", "Bar", 2, [1, 2]),
    ]
    assert "which looks like 'caf\u00e9' of 6 rows" in found[0]["sentence"]
    assert "U+0301" in found[0]["sentence"]


def test_a_label_of_one_row_is_told(llmkit, tmp_path):
    data = write_jsonl(tmp_path / "r.jsonl", rows(["a"] * 12 + ["b"] * 12 + ["c"]))
    findings = llmkit("data", data, "--json").json["findings"]
    assert [(f["kind"], f["first"]) for f in findings] == [("single-label", [25])]
