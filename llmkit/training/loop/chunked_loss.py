"""The loss of a language model without the logits of a whole batch: they are computed and used a chunk at a time.

The logits of 8 blocks of 512 tokens over 49,000 words are 800 MB in float32, and the loss holds several copies of them.
Here a chunk's logits become their gradient at once, of which the products with the hidden states and with the weights
are kept, as Liger kernels do (Hsu et al., Liger Kernel: Efficient Triton Kernels for LLM Training, 2024).
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from types import MethodType
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.autograd.function import once_differentiable
from transformers import PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MODEL_FOR_MASKED_LM_MAPPING_NAMES
from transformers.utils import ModelOutput

from llmkit.models.adapters import has_adapter
from llmkit.tasks.encoding.collation import IGNORED

CACHED_WEIGHTS = 2**22  # 16 MB in float32
FEW_TOKENS, MANY_TOKENS = 256, 1024
MOST_LOGITS = 2**26  # of a chunk, 256 MB in float32
PROBE_TOKENS = 8
TOLERANCE = 1e-3
FACTOR = 64.0  # large, so that a probe notices logits that are capped
CHANGED_BY = ("final_logit_softcapping", "logits_scaling", "logit_scale", "output_router_logits")  # fields of configs


class LinearCrossEntropy(torch.autograd.Function):
    """The mean cross-entropy of `linear(hidden, weight, bias)`: its gradients are computed with it, chunk by chunk."""

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, targets: torch.Tensor
    ) -> torch.Tensor:
        """Return a scalar; `hidden` is (tokens, width), `weight` (vocabulary, width), `targets` (tokens,)."""
        kind = hidden.device.type
        half = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
        ctx.needed = [tensor is not None and tensor.requires_grad for tensor in (hidden, weight, bias)]
        with torch.autocast(kind, enabled=False):
            total, ctx.gradients = _in_chunks((hidden, weight, bias), targets, half, ctx.needed)
        ctx.tokens = max(1, len(targets))
        loss: torch.Tensor = total / ctx.tokens
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients, which `forward` has; the second call for one loss fails, as those are used up."""
        scale, gradients = gradient / ctx.tokens, ctx.gradients
        del ctx.gradients
        return *(None if each is None else each.mul_(scale.to(each.dtype)) for each in gradients), None


def _in_chunks(
    given: tuple[torch.Tensor, torch.Tensor, torch.Tensor | None],
    targets: torch.Tensor,
    dtype: torch.dtype,
    needed: list[bool],
) -> tuple[torch.Tensor, list[torch.Tensor | None]]:
    """Return the summed loss, and the gradients of its sum for those of the tensors that need one.

    What a chunk needs is allocated once: new memory for each would take longer than what is computed in it.
    """
    hidden, weight, bias = given
    gradients = [
        torch.zeros_like(each) if need and each is not None else None for each, need in zip(given, needed, strict=True)
    ]
    of_hidden, of_weight, of_bias = gradients
    weight, bias = weight.to(dtype), None if bias is None else bias.to(dtype)
    total, size = torch.zeros((), device=hidden.device), min(len(targets), chunk_tokens(*weight.shape))
    all_logits, all_scores = (
        weight.new_empty(size, len(weight)),
        hidden.new_empty(size, len(weight), dtype=torch.float32),
    )
    product = None if of_weight is None else torch.empty_like(weight)
    for start in range(0, len(targets), size or 1):
        chunk, wanted = hidden[start : start + size].to(dtype), targets[start : start + size, None]
        logits, scores = all_logits[: len(chunk)], all_scores[: len(chunk)]
        if bias is None:
            torch.mm(chunk, weight.T, out=logits)
        else:
            torch.addmm(bias, chunk, weight.T, out=logits)
        torch.log_softmax(logits, -1, dtype=torch.float32, out=scores)
        total -= scores.gather(1, wanted).sum()
        if not any(needed):
            continue
        scores.exp_().scatter_add_(1, wanted, torch.full_like(wanted, -1, dtype=torch.float32))  # those of the logits
        if of_bias is not None:
            of_bias += scores.sum(0)
        logits.copy_(scores)
        if of_hidden is not None:
            of_hidden[start : start + size] = logits @ weight
        if of_weight is not None:
            of_weight += torch.mm(logits.T, chunk, out=product)
    return total, gradients


def chunk_tokens(vocabulary: int, width: int) -> int:
    """Return of how many tokens the logits are computed at once.

    Few stay in a processor's cache. Where the weights do not, adding to their gradient costs more than that: many.
    """
    if vocabulary * width <= CACHED_WEIGHTS:
        return FEW_TOKENS
    return min(MANY_TOKENS, max(FEW_TOKENS, MOST_LOGITS // vocabulary))


def compute_in_chunks(model: PreTrainedModel) -> bool:
    """Let a model compute its training loss in chunks, if its logits are one linear map of hidden states.

    Where they are capped or scaled, where the head is adapted or quantized, or more is added to the loss, nothing is
    changed. While it is trained with labels its output holds the loss alone.
    """
    network = model.get_base_model() if has_adapter(model) else model
    shifts = type(network).__name__ in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()
    is_masked = type(network).__name__ in MODEL_FOR_MASKED_LM_MAPPING_NAMES.values()
    head = network.get_output_embeddings() if shifts or is_masked else None
    if type(head) is not nn.Linear:
        return False
    if isinstance(head.weight, FakeTensor):  # which cannot be probed
        is_same = not any(getattr(network.config, name, None) for name in CHANGED_BY)
    else:
        is_same = _is_the_same(network, head, shifts)
    if not is_same:
        return False
    plain = network.forward

    @functools.wraps(plain)
    def forward(self: PreTrainedModel, *given: Any, **inputs: Any) -> Any:
        if given or inputs.get("labels") is None or not self.training:
            return plain(*given, **inputs)
        return _forward(plain, head, inputs, shifts)

    network.forward = MethodType(forward, network)
    return True


def _forward(plain: Callable[..., ModelOutput], head: nn.Linear, inputs: dict[str, Any], shifts: bool) -> ModelOutput:
    """Return the output of a model with the loss and without logits."""
    labels = inputs.pop("labels")
    with _head_as(head, lambda hidden: hidden):
        outputs = plain(**inputs)
    hidden, targets = outputs.logits, labels.to(outputs.logits.device)
    if shifts:
        hidden, targets = hidden[:, :-1], targets[:, 1:]
    hidden, targets = hidden.flatten(0, 1), targets.flatten()
    if not isinstance(targets, FakeTensor):  # of tensors without data nobody knows which are targets
        is_target = targets != IGNORED
        hidden, targets = hidden[is_target], targets[is_target]
    loss = LinearCrossEntropy.apply(hidden, head.weight, head.bias, targets)  # type: ignore[no-untyped-call]
    return type(outputs)(loss=loss)


@contextlib.contextmanager
def _head_as(head: nn.Linear, function: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
    head.forward = function  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        del head.forward


@torch.no_grad()
def _is_the_same(network: PreTrainedModel, head: nn.Linear, shifts: bool) -> bool:
    """Tell whether a model gives out what its head returns, and adds nothing to its loss, from one short row."""
    ids = torch.arange(PROBE_TOKENS, device=head.weight.device)[None] % head.out_features
    inputs, returned = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}, list[torch.Tensor]()

    def scaled(hidden: torch.Tensor) -> torch.Tensor:
        returned.append(FACTOR * hidden)
        return returned[-1]

    was_training = network.training
    network.eval()
    try:
        with _head_as(head, scaled):
            given_out = network(**inputs).logits
        if len(returned) != 1 or not torch.equal(given_out, returned[0]):
            return False
        plain = network(**inputs, labels=ids).loss
        chunked = _forward(network.forward, head, {**inputs, "labels": ids}, shifts).loss
        return bool((plain - chunked).abs() <= TOLERANCE * plain.abs())
    except Exception:  # of any class: a model that takes no such row is trained the plain way
        return False
    finally:
        network.train(was_training)
