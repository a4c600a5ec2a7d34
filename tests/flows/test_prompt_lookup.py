"""Tokens that are looked up in the text before and tried at once change no text."""

from __future__ import annotations

import json

import pytest
import tiny
from conftest import write_jsonl

PROMPTS = ["the fox and the fox and the", "a king was good and the king was", "the sea"]


@pytest.mark.parametrize("more", [(), ("--repetition-penalty", "1.2"), ("--stop", "th"), ("--set", "min_new_tokens=9")])
def test_the_text_is_the_one_without(llmkit, llama, tmp_path, more):
    file = write_jsonl(tmp_path / "prompts.jsonl", [{"prompt": text} for text in PROMPTS])
    flags = ("generate", "--input", file, "-m", llama, "--max-new-tokens", 24, "--dtype", "float32", *more)
    plain, looked_up = llmkit(*flags), llmkit(*flags, "--prompt-lookup", 4)
    assert looked_up.code == 0, looked_up.err
    assert looked_up.out == plain.out
    assert len([json.loads(line)["completion"] for line in looked_up.out.splitlines()]) == len(PROMPTS)


def test_half_precision_is_said_and_what_cannot_look_up_is_refused(llmkit, llama, models_root):
    flags = ("generate", "the fox", "--max-new-tokens", 4, "--prompt-lookup", 3)
    assert "a text can change in half precision" in llmkit(*flags, "-m", llama, "--dtype", "bfloat16").err
    t5 = tiny.t5_folder(models_root / "t5-lookup", params={"summarization": {}})
    refused = [
        llmkit(*flags, "-m", t5, "--task", "summarization"),
        llmkit(*flags, "-m", llama, "--temperature", "0.5"),
        llmkit(*flags, "-m", llama, "--num-beams", "2"),
    ]
    assert [(ran.code, "--prompt-lookup" in ran.error) for ran in refused] == [(2, True)] * 3
