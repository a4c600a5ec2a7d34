"""The rows of each step, shared out to the processes that train together: a step is of the same rows in one or several.

A batch of `batch_size` rows is one forward pass of all processes; each takes every n-th of its rows. Where a batch has
fewer rows than there are processes, some have none, and take part with `NoRows`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import torch

from llmkit.distributed.world import World
from llmkit.tasks.base.encoding import Batch, Collator, EncodedRow
from llmkit.training.rows.length_batches import LengthBatches
from llmkit.training.rows.streaming import Stream


class NoRows(dict[str, torch.Tensor]):
    """A batch for its form alone: its process has no row of this step, and what it computes counts for nothing."""


class RankBatches(torch.utils.data.Sampler[list[int]]):
    """The rows of one process in each batch, as row numbers; a pure function of (seed, epoch)."""

    def __init__(self, order: LengthBatches, batch_size: int, world: World) -> None:
        self.order, self.batch_size, self.world = order, batch_size, world

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of another epoch."""
        self.order.set_epoch(epoch)

    def __len__(self) -> int:
        return -(-len(self.order) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        rows = list(self.order)
        for start in range(0, len(rows), self.batch_size):
            yield rows[start : start + self.batch_size][self.world.rank :: self.world.size]


class RankStream(torch.utils.data.IterableDataset[list[EncodedRow]]):
    """The rows of one process in each batch of a stream."""

    def __init__(self, stream: Stream, batch_size: int, world: World) -> None:
        self.stream, self.batch_size, self.world = stream, batch_size, world

    def __iter__(self) -> Iterator[list[EncodedRow]]:
        rows = iter(self.stream)
        while batch := list(islice(rows, self.batch_size)):
            yield batch[self.world.rank :: self.world.size]


class RankCollator:
    """Makes a batch of rows by the task's collator; of no rows it makes one of `example`, as `NoRows`."""

    def __init__(self, collator: Collator, example: EncodedRow) -> None:
        self.collator, self.example = collator, example

    @property
    def epoch(self) -> int:
        """The epoch of a collator that masks others in each."""
        return int(getattr(self.collator, "epoch", 0))

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        if hasattr(self.collator, "epoch"):
            self.collator.epoch = epoch

    def __call__(self, rows: list[EncodedRow]) -> Batch:
        return self.collator(rows) if rows else NoRows(self.collator([self.example]))
