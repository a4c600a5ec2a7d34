"""Which encoded rows go through a model together, and where their tensors are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

TOKENS_ON_CPU = 2048  # of a batch: with fewer the products are small, with more they leave the cache and pad more
TOKENS_ON_ACCELERATOR = 1 << 15
MOST_ROWS = 1024


def batches(lengths: Sequence[int], size: int | None, tokens: int = TOKENS_ON_CPU) -> Iterator[list[int]]:
    """Yield the numbers of the rows of each batch: rows of like length, the longest first.

    A batch has `size` rows; or where that is None, as many as have so many `tokens` with their padding.
    """
    order = np.argsort(-np.asarray(lengths), kind="stable").tolist()
    start = 0
    while start < len(order):
        end = start + (size or min(MOST_ROWS, max(1, tokens // max(1, lengths[order[start]]))))
        yield order[start:end]
        start = end


def tokens_per_batch(model: PreTrainedModel) -> int:
    """Return how many tokens, with their padding, go through a model together fast."""
    return TOKENS_ON_CPU if model.device.type == "cpu" else TOKENS_ON_ACCELERATOR


def row_tokens(row: Mapping[str, Any]) -> int:
    """Return how many tokens an encoded row takes: of its text, or of all of its alternatives, padded."""
    ids = row.get("input_ids") or ()
    if ids and isinstance(ids[0], list):
        return len(ids) * max(map(len, ids))
    return max(len(ids), int(row["length"]))


def on_device(batch: dict[str, torch.Tensor], model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Move a batch's tensors to the model's device."""
    return {name: value.to(model.device) for name, value in batch.items()}
