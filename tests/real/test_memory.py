"""The memory that is told before a training is within 15% of what it comes to, and never more than 10% under."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import tiny
from conftest import write_jsonl

pytestmark = pytest.mark.benchmark
HUB = Path(os.environ.get("LLMKIT_REAL_HUB", "")) / "models"
MINILM = HUB / "sentence-transformers" / "all-MiniLM-L6-v2"
SMOLLM = Path(os.environ.get("LLMKIT_SMOLLM", ""))  # a folder with the weights of SmolLM2-135M
SMALL = ("--batch-size", 4, "--max-length", 128)
CASES = {
    "minilm": ("finetune", "rows", "-m", MINILM, "--batch-size", 16),
    "minilm-long": ("finetune", "long", "-m", MINILM, "--batch-size", 32, "--max-length", 256),
    "minilm-head": ("finetune", "long", "-m", MINILM, "--freeze", "all", "--batch-size", 32, "--max-length", 256),
    "minilm-lora": ("finetune", "long", "-m", MINILM, "--lora", "--batch-size", 16, "--max-length", 128),
    "llama-tiny": ("pretrain", "text"),
    "llama-small": ("pretrain", "text", "--size", "small", "--batch-size", 4),
    "t5-mini": ("pretrain", "text", "--arch", "t5", "--size", "mini"),
    "bert-small": ("pretrain", "text", "--arch", "bert", "--size", "small", "--batch-size", 8),
    "smollm": ("finetune", "text", "--task", "causal-lm", "-m", SMOLLM, *SMALL),
    "smollm-lora": ("finetune", "text", "--task", "causal-lm", "-m", SMOLLM, "--lora", *SMALL),
    "smollm-twice": ("finetune", "text", "--task", "causal-lm", "-m", SMOLLM, "--checkpoint-activations", *SMALL),
}


@pytest.fixture
def data(tmp_path):
    (tmp_path / "text.txt").write_text(tiny.corpus(12_000), encoding="utf-8")
    rows = tiny.reviews(400)
    long = [{**row, "text": " ".join([row["text"]] * 60)} for row in rows if "text" in row]
    return {
        "text": tmp_path / "text.txt",
        "rows": write_jsonl(tmp_path / "rows.jsonl", rows),
        "long": write_jsonl(tmp_path / "long.jsonl", long),
    }


@pytest.mark.parametrize("name", CASES)
def test_the_estimate_is_near_the_peak(llmkit_process, tmp_path, data, name):
    verb, rows, *flags = CASES[name]
    if SMOLLM in flags and not (SMOLLM / "config.json").is_file():
        pytest.skip("$LLMKIT_SMOLLM names no model")
    command = [verb, data[rows], *flags, "--max-steps", 3, "-o", tmp_path / "run"]
    told = llmkit_process("plan", "--json", *command).json["total_bytes"]
    assert llmkit_process(*command).code == 0
    record = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    peak = record["training"]["peak_memory_bytes"]
    print(f"{name}: told {told / 1e6:.0f} MB, came to {peak / 1e6:.0f} MB: {told / peak:.3f}")
    assert 0.9 <= told / peak <= 1.15
