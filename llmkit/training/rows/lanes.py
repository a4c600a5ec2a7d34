"""The order of streamed rows: a pure function of the seed and a step's number, in one process and in several.

The shards of a dataset are dealt to lanes, of which each is read for itself, pass after pass. A place in a step is
always filled from the same lane, so that a process reads the lanes of its places and no others. A lane is shuffled in
blocks; which length a step takes is drawn for all lanes at once, so that rows of like length meet in it.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Protocol

import numpy as np
from datasets import Dataset

from llmkit.errors import EmptyError
from llmkit.tasks.base.encoding import EncodedRow

MOST_COLUMNS = 32  # processes among which the shards of a step are divided, at most
BLOCK_STEPS, BLOCK_ROWS = 50, 2000  # among which the order is drawn, whichever is more
MOST_PARTS = 4  # of these rows for a block of each lane: a batch that is read has a thousand
OTHER_MASKS = 1 << 32  # more than the rows of a block have numbers


class Shard(Protocol):
    """Rows that are read from their first to their last."""

    @property
    def name(self) -> str:
        """What tells it from other shards."""

    def read(self, start: int = 0) -> Iterator[tuple[int, Dataset]]:
        """Yield model inputs from the row `start` on, in batches; with each the number of the row that it begins at."""


@dataclass(frozen=True)
class Block:
    """Where a block of a lane begins: in which step, and where it is read."""

    step: int
    taken: int = 0  # rows of that step that are of the block before
    number: int = 0
    epoch: int = 0
    shard: int = 0  # of those that the lane has in this pass
    row: int = 0  # of the shard, at which a batch begins
    offset: int = 0  # rows of that batch that are of the block before


@dataclass(frozen=True)
class Lanes:
    """The shards of a dataset, for steps of so many rows; `folder` keeps where blocks begin, to go on from there.

    The place p of step s is filled from the lane (p modulo `columns`) of the group (s modulo `groups`).
    """

    shards: tuple[Shard, ...]
    seed: int
    step_rows: int
    folder: Path | None = None

    @cached_property
    def columns(self) -> int:
        """Into how many parts a step is divided: of the numbers that divide it, one that many numbers divide."""
        fitting = [n for n in range(1, MOST_COLUMNS + 1) if self.step_rows % n == 0 and self._fits(n)]
        return max(fitting, key=lambda n: (sum(n % size == 0 for size in range(1, n + 1)), n))

    @cached_property
    def groups(self) -> int:
        """How many steps go by until a lane is read again, so that the workers of a process have lanes of their own."""
        return max(n for n in (1, 2, 4) if n == 1 or self._fits(self.columns * n))

    def _fits(self, lanes: int) -> bool:
        """Tell whether the lanes get about as many shards each."""
        return len(self.shards) % lanes == 0 or len(self.shards) >= 4 * lanes

    @property
    def share(self) -> int:
        """The rows of a lane in each of its steps."""
        return self.step_rows // self.columns

    def lane_of(self, step: int, place: int) -> int:
        """Return the lane that fills a place of a step."""
        return place % self.columns + self.columns * (step % self.groups)

    def lane(self, number: int, start: int = 0) -> Lane:
        """Return the rows of a lane, of steps from `start` on."""
        return Lane(self, number, start)

    def dealt(self, lane: int, epoch: int) -> Sequence[int]:
        """Return the numbers of the shards that a lane has in a pass, in their order."""
        if len(self.shards) == 1:
            return [0]
        order = np.random.default_rng((self.seed, 0, epoch)).permutation(len(self.shards))
        dealt: list[int] = order[lane :: self.columns * self.groups].tolist()
        return dealt

    @cached_property
    def file_prefix(self) -> str:
        """What the files that say where blocks begin are called: of another order or other shards they say nothing."""
        order = [self.seed, self.step_rows, self.columns, self.groups, *(shard.name for shard in self.shards)]
        return hashlib.sha256(json.dumps(order).encode()).hexdigest()[:16]


class Lane:
    """The rows of one lane, as many at a time as it gives to a step; what was trained on is not encoded again."""

    def __init__(self, lanes: Lanes, number: int, start: int) -> None:
        self.lanes, self.number = lanes, number
        group = number // lanes.columns
        self.step = start + (group - start) % lanes.groups  # the next one of its group
        self.rows = self._steps(self.step)
        rows = BLOCK_ROWS // min(lanes.columns * lanes.groups, MOST_PARTS)
        self.block_rows = max(lanes.share * BLOCK_STEPS, rows)
        self.held: tuple[int, list[EncodedRow]] = (-1, [])

    def of_step(self, step: int) -> list[EncodedRow]:
        """Return the rows of a step; steps are asked for in their order."""
        while self.held[0] < step:
            self.held = (self.step, next(self.rows))
            self.step += self.lanes.groups
        return self.held[1]

    def _steps(self, start: int) -> Iterator[list[EncodedRow]]:
        begin = self._last_before(start)
        step, taken, number = begin.step, begin.taken, begin.number
        share: list[EncodedRow] = []
        for place, rows in self._blocks(begin):
            self._note(replace(place, step=step, taken=taken, number=number))
            left = self._by_length(rows, number)
            while left:
                for row in self._cut(left, self.lanes.share - taken, step):
                    taken += 1
                    share.append(_otherwise_masked(rows[row], number))
                if taken == self.lanes.share:
                    if step >= start:
                        yield share
                    step, taken, share = step + self.lanes.groups, 0, []
            number += 1

    def _blocks(self, at: Block) -> Iterator[tuple[Block, list[EncodedRow]]]:
        """Yield blocks of rows, with the place where each is read; none goes on over the end of a pass.

        Raises:
            EmptyError: no shard holds a row.
        """
        empty: set[int] = set()
        for epoch in count(at.epoch):
            shards, rows, begin = self.lanes.dealt(self.number, epoch), list[EncodedRow](), at
            found = False
            for number in range(at.shard, len(shards)):
                for first, batch in self.lanes.shards[shards[number]].read(at.row):
                    end, at = at.offset, Block(0)
                    while end < len(batch):
                        begin = begin if rows else Block(0, epoch=epoch, shard=number, row=first, offset=end)
                        start, end = end, min(len(batch), end + self.block_rows - len(rows))
                        rows += batch.select(range(start, end)).to_list()
                        found = True
                        if len(rows) == self.block_rows:
                            yield begin, rows
                            rows = []
                at = Block(0)
            if rows:
                yield begin, rows
            empty = set() if found else empty | set(shards)
            if len(empty) == len(self.lanes.shards):
                raise EmptyError("--streaming: there is no usable row to train on")

    def _by_length(self, rows: Sequence[EncodedRow], number: int) -> list[int]:
        """Return the numbers of rows from the longest to the shortest, drawn by lot among those of one length."""
        order = np.random.default_rng((self.lanes.seed, 1, self.number, number)).permutation(len(rows))
        lengths = np.asarray([row["length"] for row in rows])[order]
        ordered: list[int] = order[np.argsort(-lengths, kind="stable")].tolist()
        return ordered

    def _cut(self, left: list[int], rows: int, step: int) -> list[int]:
        """Take rows of like length out of those that are left: long or short ones as the step's number draws it."""
        draw = float(np.random.default_rng((self.lanes.seed, 2, step)).random())
        start = rows * int(draw * (len(left) // rows))
        cut = left[start : start + rows]
        del left[start : start + rows]
        return cut

    def _note(self, block: Block) -> None:
        if self.lanes.folder is not None:
            self.lanes.folder.mkdir(parents=True, exist_ok=True)
            with self._file(self.lanes.folder).open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(block)) + "\n")

    def _last_before(self, start: int) -> Block:
        """Return the last block that is known to begin before a step does; the first one, if none is."""
        first = Block(self.number // self.lanes.columns)
        if self.lanes.folder is None or not self._file(self.lanes.folder).exists():
            return first
        lines = self._file(self.lanes.folder).read_text(encoding="utf-8").splitlines()
        blocks = sorted((block for line in lines if (block := _block_of(line))), key=_order)
        return ([first, *blocks])[bisect_left(blocks, (start, 1), key=_order)]

    def _file(self, folder: Path) -> Path:
        return folder / f"{self.lanes.file_prefix}-{self.number}.jsonl"


def _order(block: Block) -> tuple[int, int]:
    return block.step, block.taken


def _block_of(line: str) -> Block | None:
    try:
        return Block(**json.loads(line))
    except (ValueError, TypeError):
        return None  # a line that a kill cut short


def _otherwise_masked(row: EncodedRow, number: int) -> EncodedRow:
    """Return a row that is masked otherwise in each pass, where it has a number that masks are drawn by."""
    return {**row, "index": row["index"] + OTHER_MASKS * number} if "index" in row else row
