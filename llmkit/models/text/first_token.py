"""Classifiers that read the first token alone: the last layer need not compute the others."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel

from llmkit.models.modules import stacks

# in a layer, what works on each token by itself from there on: after the attention of BERT's kind, and of DistilBERT's
TOKEN_WISE = ("attention.output", "ffn")
LENGTHS = (9, 6)  # of the texts by which it is tried
CLOSE = 0.02  # of the largest logit: what sums in another order differ by in bfloat16


def keep_first_token(model: PreTrainedModel) -> bool:
    """Let the last layer of a classifier go on with the first token after its attention; return whether it does.

    It does not where the logits would be others: where all tokens are read, or the last. Of six layers that saves an
    eighth of the products. It is for inference.
    """
    module = _token_wise(model)
    if module is None:
        return False
    whole = _logits(model)
    hook = module.register_forward_pre_hook(_of_first_token)
    try:
        first = _logits(model)
    except (RuntimeError, IndexError, ValueError):  # the layer goes on with all of them by another way
        first = torch.full_like(whole, torch.nan)
    if first.shape != whole.shape or not (first - whole).abs().max() <= CLOSE * whole.abs().max():
        hook.remove()
        return False
    return True


def _of_first_token(module: torch.nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(each[:, :1] if isinstance(each, torch.Tensor) and each.dim() == 3 else each for each in inputs)


def _token_wise(model: PreTrainedModel) -> torch.nn.Module | None:
    layers = stacks(model)
    modules = dict(layers[-1][1][-1].named_modules()) if layers else {}
    return next((modules[name] for name in TOKEN_WISE if name in modules), None)


def _logits(model: PreTrainedModel) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = len(LENGTHS), max(LENGTHS)
    ids = torch.randint(model.config.get_text_config().vocab_size, shape, generator=generator)
    mask = (torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS).unsqueeze(1)).long()
    device = model.device
    with torch.inference_mode():
        logits: torch.Tensor = model(input_ids=ids.to(device), attention_mask=mask.to(device)).logits
        return logits.float()
