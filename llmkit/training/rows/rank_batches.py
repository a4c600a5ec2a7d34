"""The rows of each step, shared out to the processes that train together: a step is of the same rows in one or several.

A batch of `batch_size` rows is one forward pass of all processes; each takes every n-th of its rows. Where a batch has
fewer rows than there are processes, some have none, and take part with `NoRows`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import torch

from llmkit.distributed.world import World
from llmkit.tasks.base.encoding import Batch, Collator, EncodedRow
from llmkit.training.rows.lanes import Lane, Lanes
from llmkit.training.rows.length_batches import LengthBatches


class NoRows(dict[str, torch.Tensor]):
    """A batch for its form alone: its process has no row of this step, and what it computes counts for nothing."""


class RankBatches(torch.utils.data.Sampler[list[int]]):
    """The rows of one process in each batch, as row numbers; a pure function of (seed, epoch)."""

    def __init__(self, order: LengthBatches, batch_size: int, world: World, drop_last: bool = False) -> None:
        self.order, self.batch_size, self.world = order, batch_size, world
        self.rows = len(order) // batch_size * batch_size if drop_last else len(order)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of another epoch."""
        self.order.set_epoch(epoch)

    def __len__(self) -> int:
        return -(-self.rows // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        rows = list(self.order)
        for start in range(0, self.rows, self.batch_size):
            yield rows[start : start + self.batch_size][self.world.rank :: self.world.size]


class RankStream(torch.utils.data.IterableDataset[list[EncodedRow]]):
    """The rows of one process in each batch of a stream, from the batch `start` on; its workers take turns."""

    def __init__(self, lanes: Lanes, batch_size: int, world: World, start: int = 0) -> None:
        self.lanes, self.batch_size, self.world, self.start = lanes, batch_size, world, start

    def __iter__(self) -> Iterator[list[EncodedRow]]:
        worker = torch.utils.data.get_worker_info()
        first, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        lanes, per_step, opened = self.lanes, -(-self.lanes.step_rows // self.batch_size), dict[int, Lane]()
        for number in count(self.start + first, workers):
            step, part = divmod(number, per_step)
            rows = []
            for place in range(part * self.batch_size, min((part + 1) * self.batch_size, lanes.step_rows)):
                if place % self.world.size == self.world.rank:
                    lane = lanes.lane_of(step, place)
                    if lane not in opened:
                        opened[lane] = lanes.lane(lane, self.start // per_step)
                    rows.append(opened[lane].of_step(step)[place // lanes.columns])
            yield rows


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
