"""A fused decoder writes what the model itself writes, and leaves to it what it does not know."""

from __future__ import annotations

import copy

import pytest
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

from llmkit.models.text import fused_decoder
from llmkit.models.text.fused_decoder import FusedDecoder, fuse_decoder, prepare_for_tokens

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
IDS = torch.tensor([[0, 0, 5, 6, 7, 8], [9, 10, 11, 12, 13, 14]])
PROMPTS = {
    "one": (IDS[1:], torch.ones(1, 6)),
    "padded": (IDS, (IDS > 0).float()),
    "even": (IDS[:, 2:], torch.ones(2, 4)),
}


def made(model_type, dtype=torch.float32, **more):
    torch.manual_seed(3)
    fixed = {"vocab_size": 64, "num_key_value_heads": 2, "pad_token_id": 0, "sliding_window": None, **SIZES}
    config = AutoConfig.for_model(model_type, **{**fixed, **more})
    model = AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
    model.generation_config.eos_token_id = None
    return model


def written(model, prompts, **how):
    ids, mask = prompts
    with torch.inference_mode():
        return model.generate(ids, attention_mask=mask.long(), max_new_tokens=90, do_sample=False, **how)


def steps_of(model):
    return next(cell.cell_contents for cell in model.base_model.forward.__closure__)


@pytest.mark.parametrize("model_type", fused_decoder.MODEL_TYPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_tokens_are_the_same(model_type, dtype):
    """90 tokens are more than a cache has room for at first."""
    plain = made(model_type, dtype)
    fused = copy.deepcopy(plain)
    prepare_for_tokens(fused)
    for name, prompts in PROMPTS.items():
        if name == "one" or dtype == torch.float32:  # in a batch bfloat16 is rounded in another order
            assert torch.equal(written(fused, prompts), written(plain, prompts)), name
    assert steps_of(fused).is_proven


@pytest.mark.parametrize("how", [{"num_beams": 3}, {"repetition_penalty": 1.5}, {"prompt_lookup_num_tokens": 4}])
def test_searches_of_transformers_go_on_with_it(how):
    plain = made("llama")
    fused = copy.deepcopy(plain)
    assert fuse_decoder(fused)
    assert torch.equal(written(fused, PROMPTS["one"], **how), written(plain, PROMPTS["one"], **how))


def test_a_step_that_differs_from_the_models_is_not_taken(monkeypatch):
    plain = made("llama")
    fused = copy.deepcopy(plain)
    assert fuse_decoder(fused)
    monkeypatch.setattr(fused_decoder, "_normed", lambda norm, states: states)
    assert torch.equal(written(fused, PROMPTS["padded"]), written(plain, PROMPTS["padded"]))
    assert steps_of(fused).is_proven is False


def test_both_names_of_the_cache_are_read():
    """transformers 5.24 calls `past_key_values` `cache`."""
    steps, cache = FusedDecoder(made("llama").model), transformers.DynamicCache(config=made("llama").config)
    with torch.inference_mode():
        steps.own_forward(input_ids=IDS[:1], past_key_values=cache, use_cache=True)
        named = {"input_ids": IDS[:1, :1], "position_ids": torch.tensor([[6]])}
        assert all(steps._cache_of({**named, name: cache}) is cache for name in ("past_key_values", "cache"))
        assert steps._cache_of({**named, "cache": cache, "output_attentions": True}) is None


@pytest.mark.parametrize("case", ["gpt2", "eager", "sliding"])
def test_other_models_answer_themselves(case):
    if case == "gpt2":
        config = AutoConfig.for_model("gpt2", vocab_size=64, n_embd=32, n_layer=2, n_head=4)
        assert not fuse_decoder(AutoModelForCausalLM.from_config(config))
    elif case == "eager":
        model = made("llama")
        model.set_attn_implementation("eager")
        assert not fuse_decoder(model)
    else:
        plain = made("mistral", sliding_window=4)
        fused = copy.deepcopy(plain)
        fuse_decoder(fused)
        assert torch.equal(written(fused, PROMPTS["one"]), written(plain, PROMPTS["one"]))
        assert steps_of(fused).is_proven is None
