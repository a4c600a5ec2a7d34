"""The loss that is computed in chunks is the model's own, with its gradients, and only where the model is so made."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy, linear
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from llmkit.training.loop import chunked_loss
from llmkit.training.loop.chunked_loss import LinearCrossEntropy, compute_in_chunks

SHAPE = {"vocab_size": 50, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.fixture(autouse=True)
def _short_chunks(monkeypatch):
    monkeypatch.setattr(chunked_loss, "chunk_tokens", lambda vocabulary, width: 5)


def gradients(loss, tensors):
    return torch.autograd.grad(2 * loss, tensors)  # the gradient that comes in counts


@pytest.mark.parametrize("bias", [True, False])
def test_its_value_and_gradients_are_those_of_the_plain_way(bias):
    generator = torch.Generator().manual_seed(0)
    hidden, weight, shift = (torch.randn(size, generator=generator) for size in ((12, 8), (30, 8), (30,)))
    tensors = [each.requires_grad_() for each in ((hidden, weight, shift) if bias else (hidden, weight))]
    targets = torch.randint(30, (12,), generator=generator)
    plain = cross_entropy(linear(*tensors), targets)
    chunked = LinearCrossEntropy.apply(*tensors, *([] if bias else [None]), targets)
    torch.testing.assert_close(chunked, plain)
    torch.testing.assert_close(gradients(chunked, tensors), gradients(plain, tensors))


def test_nothing_to_guess_is_a_loss_of_zero_without_gradients():
    hidden, weight = torch.zeros(0, 4, requires_grad=True), torch.ones(9, 4, requires_grad=True)
    loss = LinearCrossEntropy.apply(hidden, weight, None, torch.zeros(0, dtype=torch.long))
    assert loss == 0
    assert gradients(loss, [weight])[0].abs().sum() == 0


def models():
    torch.manual_seed(0)
    yield LlamaForCausalLM(LlamaConfig(**SHAPE, tie_word_embeddings=True))
    yield LlamaForCausalLM(LlamaConfig(**SHAPE, tie_word_embeddings=False))
    yield GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=16, n_layer=1, n_head=2))
    yield BertForMaskedLM(BertConfig(**SHAPE))


@pytest.mark.parametrize("autocast", [False, True])
def test_models_give_the_same_loss_and_gradients_and_their_logits_when_asked(autocast):
    for model in models():
        ids = torch.arange(20).reshape(2, 10)
        labels = ids.clone()
        labels[0, :4] = -100
        weights = dict(model.named_parameters())

        def answer(model=model, ids=ids, labels=labels, weights=weights):
            torch.manual_seed(1)  # of dropout
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                loss = model(input_ids=ids, labels=labels).loss
            return loss, torch.autograd.grad(loss, list(weights.values()), allow_unused=True)

        model.train()
        plain, wanted = answer()
        assert compute_in_chunks(model)
        chunked, found = answer()
        torch.testing.assert_close(chunked, plain, rtol=1e-5, atol=1e-5)
        tolerance = {"rtol": 0.05, "atol": 2e-3} if autocast else {"rtol": 1e-4, "atol": 1e-6}
        for name, one, other in zip(weights, found, wanted, strict=True):
            assert (one is None) == (other is None), name
            if one is not None:
                torch.testing.assert_close(one, other, **tolerance, msg=name)
        assert model.eval()(input_ids=ids, labels=labels).logits.shape == (2, 10, 50)


def test_a_frozen_head_and_an_adapter_get_no_gradient_for_it():
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SHAPE))
    model = peft.get_peft_model(model, peft.LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM")).train()
    ids = torch.arange(10)[None]
    model(input_ids=ids, labels=ids).loss.backward()
    wanted = {name: weights.grad.clone() for name, weights in model.named_parameters() if weights.grad is not None}
    model.zero_grad()
    assert compute_in_chunks(model)
    outputs = model(input_ids=ids, labels=ids)
    outputs.loss.backward()
    assert outputs.get("logits") is None
    found = {name: weights.grad for name, weights in model.named_parameters() if weights.grad is not None}
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize(
    "model",
    [
        lambda: Gemma2ForCausalLM(Gemma2Config(**SHAPE, head_dim=8, num_key_value_heads=2)),
        lambda: GraniteForCausalLM(GraniteConfig(**SHAPE, logits_scaling=8.0)),
        lambda: BertForSequenceClassification(BertConfig(**SHAPE)),
    ],
)
def test_capped_or_scaled_logits_and_other_heads_are_left_as_they_are(model):
    network = model()
    assert not compute_in_chunks(network)
    assert "forward" not in vars(network)
