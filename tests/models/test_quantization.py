"""Weights in 8 and 4 bits: what the products compute, which layers take them, where they are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from llmkit.models.quantization import Int4Linear, Int8Linear, layers_of, quantize


@pytest.mark.parametrize("rows", [1, 40])
@pytest.mark.parametrize(("product", "tolerance"), [(Int8Linear, 0.01), (Int4Linear, 0.1)])
def test_a_product_is_that_of_whole_weights_but_for_rounding(product, tolerance, rows):
    torch.manual_seed(0)
    linear = nn.Linear(64, 48).float()
    inputs = torch.randn(2, rows, 64)
    wanted, found = linear(inputs), product(linear.weight.detach(), linear.bias)(inputs)
    assert found.shape == wanted.shape
    assert ((found - wanted).norm() / wanted.norm()).item() < tolerance


def test_weights_on_a_grid_of_4_bits_are_kept():
    torch.manual_seed(0)
    levels = torch.randint(0, 16, (32, 2, 32))
    levels[..., 0], levels[..., 1] = 0, 15
    weights = (levels * 0.25 - 1.5).flatten(1)
    inputs = torch.randn(3, 64)
    assert torch.allclose(Int4Linear(weights, None)(inputs), inputs @ weights.t(), atol=1e-4)


def test_layers_that_do_not_fit_stay_and_are_named(llmkit, tmp_path, llama):
    config = LlamaConfig(
        vocab_size=99, hidden_size=48, intermediate_size=64, num_hidden_layers=1, num_attention_heads=3
    )
    model = LlamaForCausalLM(config).eval()
    layers = layers_of(model, "int4")
    assert list(layers.methods.values()) == ["int4", "int8"]  # the logits of tokens are in 8 bits in any case
    assert "model.layers.0.self_attn.q_proj (48 x 48)" in layers.others
    quantize(model, "int4")
    assert isinstance(model.model.layers[0].mlp.down_proj, Int4Linear)
    assert isinstance(model.lm_head, Int8Linear)
    assert isinstance(model.model.layers[0].self_attn.q_proj, nn.Linear)
    assert torch.isfinite(model(torch.tensor([[1, 2, 3]])).logits).all()
    model.save_pretrained(tmp_path)


@pytest.mark.parametrize("method", ["int8", "int4"])
def test_a_quantized_model_answers_and_says_what_it_is(llmkit, method):
    ran = llmkit("generate", "Once upon a time", "--quantize", method, "--max-new-tokens", 8)
    assert ran.code == 0
    assert ran.out.strip()
    assert f"quantize: {method} for 29 layers" in ran.err
    dry = llmkit("generate", "Once upon a time", "--quantize", method, "--dry-run")
    assert f"quantize: {method}" in dry.err


def test_perplexity_is_measured_before_and_after(llmkit, corpus):
    flags = ("--limit", 3, "--json")
    whole = llmkit("eval", corpus, "-m", "built-in", "--dtype", "bfloat16", *flags).json
    ran = llmkit("eval", corpus, "-m", "built-in", "--quantize", "int8", *flags)
    baseline = ran.json["baseline"]
    assert baseline["name"].endswith("in whole weights")
    assert ran.json["dtype"] == "bfloat16, weights in int8"
    assert "two measurements" in ran.err
    before = baseline["metrics"]["perplexity"]["baseline"]
    assert before == pytest.approx(whole["metrics"]["perplexity"]["value"], rel=0.02)
    assert ran.json["metrics"]["perplexity"]["value"] == pytest.approx(before, rel=0.02)


def test_a_file_that_was_begun_without_it_is_not_gone_on_with(llmkit, tmp_path):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(json.dumps({"prompt": "Once upon a time"}) + "\n")
    flags = ("--input", prompts, "--output", tmp_path / "out.jsonl", "--max-new-tokens", 4)
    assert llmkit("generate", *flags).code == 0
    assert "another command wrote it" in llmkit("generate", *flags, "--quantize", "int8").error


def test_an_encoder_says_that_it_is_slower(llmkit, encoder):
    ran = llmkit("embed", "the fox", "-m", encoder, "--quantize", "int8")
    assert ran.code == 0
    assert "without --quantize is faster" in ran.err


@pytest.mark.parametrize(
    "command",
    [("finetune", "rows.csv"), ("pretrain", "corpus.txt"), ("serve",), ("merge", "adapter"), ("data", "x.csv")],
)
def test_it_is_refused_where_weights_must_be_whole(llmkit, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    for name in {"rows.csv", "corpus.txt", "x.csv"} & set(command):
        Path(name).write_text("a fox\n", encoding="utf-8")
    ran = llmkit(*command, "-m", "built-in", "--quantize", "int4")
    assert ran.code == 2
    assert "--quantize" in ran.error
