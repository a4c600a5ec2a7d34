"""The order of training rows: rows of like length in one batch, so that little is padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch


class LengthBatches(torch.utils.data.Sampler[int]):
    """Rows in an order that puts rows of like length into one batch; a pure function of (seed, epoch).

    Rows are shuffled, cut into pools of 50 batches, sorted by length within a pool, and the batches shuffled again.
    """

    POOL = 50

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self.lengths, self.batch_size, self.seed, self.epoch = np.asarray(lengths), batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of another epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = np.random.default_rng((self.seed, self.epoch))
        order = generator.permutation(len(self.lengths))
        if self.lengths.min() == self.lengths.max():
            return iter(order.tolist())
        size = self.POOL * self.batch_size
        pools = [order[start : start + size] for start in range(0, len(order), size)]
        ordered = np.concatenate([pool[np.argsort(-self.lengths[pool], kind="stable")] for pool in pools])
        batches = [ordered[start : start + self.batch_size] for start in range(0, len(ordered), self.batch_size)]
        complete, rest = (batches[:-1], batches[-1:]) if len(batches[-1]) < self.batch_size else (batches, [])
        shuffled = [complete[number] for number in generator.permutation(len(complete))] + rest
        return iter(np.concatenate(shuffled).tolist())
