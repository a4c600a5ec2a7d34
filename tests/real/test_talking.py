"""SmolLM2 is talked with, and learns to prefer, on real rows."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest
from conftest import write_jsonl
from evaluating import values

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
        "What is the capital of France?", first, "And of Italy?", second,
    ]  # fmt: skip


def test_smollm2_comes_to_prefer_what_it_is_trained_to_prefer(hub, smollm2, real_hub):
    (file,) = (real_hub / "datasets/llamafactory/demo_data/dpo_en_demo").glob("*.parquet")
    rows = pq.read_table(file).slice(0, 4).to_pylist()
    for part in ("train", "validation"):  # the same: four rows tell nothing of others
        write_jsonl(hub.folder / "pairs" / f"{part}.jsonl", rows)
    flags = (
        "--lora",
        "--validation",
        "pairs/validation.jsonl",
        "--max-length",
        48,
        "--batch-size",
        4,
        "--max-steps",
        3,
    )
    ran = hub("finetune", "pairs", "-m", smollm2, *flags, "--learning-rate", 2e-3, "-o", "preferring", "--json")
    assert ran.code == 0, ran.err
    figures = values(ran.json)
    assert figures["reward_accuracy"] >= 0.75
    assert figures["dpo_loss"] < 0.68  # log 2, which is 0.693, before
