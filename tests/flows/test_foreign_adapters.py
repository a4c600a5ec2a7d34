"""Adapters that peft makes and llmkit does not: they are opened and merged, and answer as peft itself does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from plain_text import whole_characters
from transformers import AutoModelForCausalLM, AutoTokenizer

KINDS: dict[str, dict[str, Any]] = {
    "tokens": {"trainable_token_indices": [1, 2, 3], "target_modules": ["q_proj"]},
    "tokens by module": {"trainable_token_indices": {"embed_tokens": [1, 9]}, "target_modules": ["q_proj"]},
    "head": {"target_modules": ["q_proj", "lm_head"]},
    "embeddings": {"target_modules": ["q_proj", "embed_tokens"]},
    "embeddings alone": {"target_modules": ["embed_tokens"]},
    "both": {"target_modules": ["lm_head", "embed_tokens"]},
    "whole embeddings": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
    "biases": {"target_modules": ["q_proj"], "bias": "all"},
}


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def base(request, llama, tmp_path) -> Path:
    """A decoder whose head shares the weights of its embeddings, or has its own."""
    model = AutoModelForCausalLM.from_pretrained(llama)
    if not request.param:
        model.config.tie_word_embeddings = False
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().flip(0).clone())
    model.save_pretrained(tmp_path / "base")
    AutoTokenizer.from_pretrained(llama).save_pretrained(tmp_path / "base")
    return tmp_path / "base"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore")
def test_an_adapter_of_peft_answers_as_in_peft_and_so_does_the_merged_model(llmkit, base, tmp_path, kind):
    torch.manual_seed(0)
    config = LoraConfig(r=2, task_type="CAUSAL_LM", init_lora_weights=False, **KINDS[kind])
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).eval()
    with torch.no_grad():
        for weights in model.parameters():
            if weights.requires_grad:
                weights.add_(torch.randn_like(weights) * 0.3)
    model.save_pretrained(tmp_path / "adapter")
    tokenizer = AutoTokenizer.from_pretrained(base)
    inputs = tokenizer("the fox", return_tensors="pt").input_ids
    output = model.generate(input_ids=inputs, max_new_tokens=8, do_sample=False)[0]
    expected = whole_characters(tokenizer, output[len(inputs[0]) :].tolist(), inputs[0].tolist())

    assert llmkit("merge", tmp_path / "adapter", "-o", tmp_path / "merged").code == 0
    for folder in ("adapter", "merged"):
        ran = llmkit("generate", "-m", tmp_path / folder, "the fox", "--max-new-tokens", "8", "--json")
        assert ran.json["completion"] == expected
