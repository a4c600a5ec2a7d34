"""SmolLM2 is talked with."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.real


def test_a_conversation_with_smollm2_is_remembered_and_saved(hub, smollm2):
    lines = "What is the capital of France?\nAnd of Italy?\n/save talk.jsonl\n"
    ran = hub("chat", "-m", smollm2, "--max-new-tokens", 24, "--json", stdin=lines)
    assert ran.code == 0, ran.err
    first, second = (row["answer"] for row in ran.rows)
    assert "Paris" in first
    assert "Rome" in second  # of a question that says nothing without the first
    (kept,) = [json.loads(line) for line in (hub.folder / "talk.jsonl").read_text().splitlines()]
    assert [turn["content"] for turn in kept["messages"]] == [
        "What is the capital of France?",
        first,
        "And of Italy?",
        second,
    ]
