"""Which token sequences share a row: each prefix is computed once, and padding is small."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch


@dataclass(frozen=True)
class Wanted:
    """A request: the tokens that the model reads, and the ones that it should have predicted at the end of them."""

    key: int  # the caller's name for it
    inputs: tuple[int, ...]
    targets: tuple[int, ...]  # targets[-1] follows inputs[-1]


@dataclass(frozen=True)
class Read:
    """Where in its row a request's logits are read."""

    key: int
    nodes: list[int]
    targets: tuple[int, ...]


@dataclass
class Row:
    """A tree of token sequences laid out flat; each node attends to its ancestors and to itself."""

    tokens: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)  # a node's depth
    branches: list[tuple[list[int], int]] = field(default_factory=list)  # ancestors of a run of nodes, its first node
    reads: list[Read] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def is_chain(self) -> bool:
        """Whether the tree has one branch: plain causal attention is right for it."""
        return len(self.branches) == 1

    @property
    def scored(self) -> int:
        """How many positions need logits."""
        return len({node for read in self.reads for node in read.nodes})

    def add(self, wanted: Wanted, path: list[int]) -> list[int]:
        """Add a request whose first tokens are the nodes of `path`; return the nodes of all its tokens."""
        start, fresh = len(self.tokens), wanted.inputs[len(path) :]
        if fresh:
            self.tokens.extend(fresh)
            self.positions.extend(range(len(path), len(wanted.inputs)))
            if not path or path[-1] != start - 1:  # else the newest branch goes on
                self.branches.append((path, start))
        whole = [*path, *range(start, len(self.tokens))]
        self.reads.append(Read(wanted.key, whole[-len(wanted.targets) :], wanted.targets))
        return whole

    def mask(self, width: int) -> torch.Tensor:
        """Return who attends to whom, (width, width) of bool; padding attends to itself, so that no row is empty."""
        seen = torch.eye(width, dtype=torch.bool)
        ends = [start for _, start in self.branches[1:]] + [len(self)]
        for (path, start), end in zip(self.branches, ends, strict=True):
            seen[start:end, start:end] = torch.ones(end - start, end - start, dtype=torch.bool).tril()
            seen[start:end, path] = True
        return seen


def pack(requests: Sequence[Wanted], joins: Callable[[int, int, int], bool]) -> list[Row]:
    """Lay requests out in rows. In lexicographic order the next sequence shares the most with the one before it.

    A sequence that goes on from the one before always joins a row of one branch, which stays one. Another joins where
    `joins(shared tokens, tokens of the row, new tokens)` says so.
    """
    rows: list[Row] = []
    row, path, before = Row(), list[int](), tuple[int, ...]()
    for wanted in sorted(requests, key=lambda request: request.inputs):
        shared = _common(before, wanted.inputs)
        grows = bool(rows) and row.is_chain and shared == len(before)
        if not grows and not (rows and joins(shared, len(row), len(wanted.inputs) - shared)):
            row, path, shared = Row(), [], 0
            rows.append(row)
        path = row.add(wanted, path[:shared])
        before = wanted.inputs
    return rows


def _common(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    most = min(len(a), len(b))
    if a[:most] == b[:most]:
        return most
    return next(i for i in range(most) if a[i] != b[i])


def batches(rows: Sequence[Row], most_rows: int, most_tokens: int, most_scored: int) -> Iterator[list[Row]]:
    """Yield rows of like length together, the longest first; chains apart, for they need no mask."""
    batch: list[Row] = []
    scored = 0
    for row in sorted(rows, key=lambda row: (row.is_chain, -len(row))):
        if batch:
            full = len(batch) == most_rows or (len(batch) + 1) * len(batch[0]) > most_tokens
            if full or scored + row.scored > most_scored or row.is_chain != batch[0].is_chain:
                yield batch
                batch, scored = [], 0
        batch.append(row)
        scored += row.scored
    if batch:
        yield batch
