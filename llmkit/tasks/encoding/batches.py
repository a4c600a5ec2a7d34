"""Which encoded rows go through a model together, and where their tensors are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def batches(lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """Yield the numbers of the rows of each batch: rows of like length, the longest first."""
    order = np.argsort(-np.asarray(lengths), kind="stable").tolist()
    yield from (order[start : start + size] for start in range(0, len(order), size))


def on_device(batch: dict[str, torch.Tensor], model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Move a batch's tensors to the model's device."""
    return {name: value.to(model.device) for name, value in batch.items()}
