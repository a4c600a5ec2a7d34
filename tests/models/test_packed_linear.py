"""Packed linear layers give the bits of the layers that they replace."""

from __future__ import annotations

import pytest
import tiny
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from llmkit.models.text import packed_linear
from llmkit.models.text.packed_linear import PackedLinear, pack_linear_layers

needs_product = pytest.mark.skipif(not packed_linear._is_supported(), reason="no packed bfloat16 product here")


@needs_product
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [(1, 1), (1, 7), (5, 1), (2, 40)])
def test_the_results_are_the_same_bits(rows, bias):
    torch.manual_seed(1)
    linear = torch.nn.Linear(96, 70, bias=bias).bfloat16()
    inputs = torch.randn(*rows, 96).bfloat16()
    with torch.inference_mode():
        assert torch.equal(PackedLinear(linear)(inputs), linear(inputs))


@needs_product
@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_a_packed_model_writes_the_same_tokens(kind, models_root, llama):
    folder = llama if kind == "llama" else tiny.t5_folder(models_root / "t5-packed")
    auto = AutoModelForCausalLM if kind == "llama" else AutoModelForSeq2SeqLM
    model = auto.from_pretrained(folder, dtype=torch.bfloat16).eval()
    ids = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])
    names = list(model.state_dict())
    plain = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False)
    assert pack_linear_layers(model) > 0
    assert list(model.state_dict()) == names
    packed = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False)
    assert torch.equal(packed, plain)


def test_other_precisions_and_memory_that_is_short_leave_the_layers(llama, monkeypatch):
    assert pack_linear_layers(AutoModelForCausalLM.from_pretrained(llama, dtype=torch.float32)) == 0
    monkeypatch.setattr(packed_linear, "_free_memory", lambda: 1000)
    assert pack_linear_layers(AutoModelForCausalLM.from_pretrained(llama, dtype=torch.bfloat16)) == 0
