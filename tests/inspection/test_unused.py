"""Columns that could matter and that no role reads are named, and others are not."""

from __future__ import annotations

import pytest
from datasets import ClassLabel, Dataset, Features, Value

from llmkit.inspection.unused import sentence, unused_columns

ROWS = 24
TEXTS = [f"the room number {n} was bright and clean" for n in range(ROWS)]


def named(column: str, cells: list[object]) -> list[str]:
    rows = Dataset.from_dict({"text": TEXTS, column: cells})
    return [unused.reason for unused in unused_columns(rows, {"text"})]


@pytest.mark.parametrize(
    ("column", "cells", "reason"),
    [
        ("weight", [0.5, 1.0] * 12, "weights of rows"),
        ("sampleWeight", [1, 2] * 12, "weights of rows"),
        ("tools", ['[{"name": "search"}]'] * ROWS, "tools"),
        ("system", ["You are kind."] * ROWS, "a system prompt or an instruction"),
        ("history", [[["a", "b"]]] * ROWS, "earlier turns"),
        ("image", ["x.jpg"] * ROWS, "images or sounds"),
        ("train", [True, False] * 12, "what is trained on"),
        ("ner_tags", [["O", "B-PER"]] * ROWS, "tags"),
        ("sent_1", [f"a second text, of row {n}" for n in range(ROWS)], "a text"),
        ("回答", [f"第二个句子很长很长很长很长{n}" for n in range(ROWS)], "a text"),
        ("intent", ["ask", "tell", "beg"] * 8, "labels"),
        ("stars", [1, 2, 3, 4] * 6, "numbers or labels"),
        ("price", [n / 7 for n in range(ROWS)], "numbers"),
    ],
)
def test_what_could_matter_is_named_with_a_reason(column, cells, reason):
    assert named(column, cells) == [reason]


@pytest.mark.parametrize(
    ("column", "cells"),
    [
        ("id", list(range(ROWS))),
        ("number", list(range(100, 100 + ROWS))),
        ("qid1", [f"q{n}" for n in range(ROWS)]),
        ("code", [f"A{n:05}" for n in range(ROWS)]),
        ("where", [f"https://example.org/{n}" for n in range(ROWS)]),
        ("when", [f"2024-01-{n + 1:02}" for n in range(ROWS)]),
        ("created_at", ["Mon Apr 06", "Tue Apr 07"] * 12),
        ("weight", [1.0] * ROWS),
        ("constant", ["web"] * ROWS),
        ("blank", ["", None] * 12),
        ("tools", [None] * ROWS),
        ("history", [[]] * ROWS),
    ],
)
def test_what_does_not_matter_is_not_named(column, cells):
    assert named(column, cells) == []


def test_the_sentence_gives_each_free_role_once():
    rows = Dataset.from_dict({"a": TEXTS, "b": TEXTS[::-1], "my text": [t.upper() for t in TEXTS], "y": [0, 1] * 12})
    rows = rows.cast(Features({**rows.features, "y": ClassLabel(names=["no", "yes"]), "a": Value("string")}))
    unused = unused_columns(rows, ["a"])
    assert sentence(unused, ["pair"]) == ("not used: b (a text: --column pair=b uses it), my text (a text), y (labels)")
    assert sentence(unused[1:2], ["pair"]) == 'not used: my text (a text: --column pair="my text" uses it)'
    assert sentence([], ["pair"]) is None


def test_the_fields_of_a_used_column_are_used():
    rows = Dataset.from_dict({"translation": [{"de": "a", "en": "b"}] * 3, "answers.text": ["x", "y", "x"]})
    assert unused_columns(rows, ["translation", "answers.text"]) == []
