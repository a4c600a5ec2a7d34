"""Which token sequences share a row: each prefix is computed once, and padding is small."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch


@dataclass(frozen=True)
class ScoringRequest:
    """The tokens that the model reads, and the ones that it should have predicted at the end of them."""

    key: int  # the caller's name for it
    inputs: tuple[int, ...]
    targets: tuple[int, ...]  # targets[-1] follows inputs[-1]


@dataclass(frozen=True)
class LogitPositions:
    """Where in its row a request's logits are read."""

    key: int
    nodes: list[int]
    targets: tuple[int, ...]


@dataclass(frozen=True)
class JoinRule:
    """When a sequence joins a row that it shares tokens with, as another branch of its tree.

    A layer costs 24 h^2 operations per token, h the hidden size, and 4 h per pair of tokens that attend; joining saves
    the shared tokens and makes each new one and each old one a pair, twice, most of them masked.
    """

    hidden: int
    longest_tree: int  # tokens; 0: no row has branches

    def allows(self, shared: int, tokens: int, fresh: int) -> bool:
        """Tell whether a sequence of which `shared` tokens are in a row of so many joins it with its `fresh` ones."""
        return tokens + fresh <= self.longest_tree and 3 * self.hidden * shared > tokens * fresh


SINGLE_BRANCHES = JoinRule(hidden=0, longest_tree=0)


@dataclass
class PackedRow:
    """A tree of token sequences laid out flat; each node attends to its ancestors and to itself."""

    tokens: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)  # a node's depth
    branches: list[tuple[list[int], int]] = field(default_factory=list)  # ancestors of a run of nodes, its first node
    reads: list[LogitPositions] = field(default_factory=list)

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

    def add(self, request: ScoringRequest, path: list[int]) -> list[int]:
        """Add a request whose first tokens are the nodes of `path`; return the nodes of all its tokens."""
        start, fresh = len(self.tokens), request.inputs[len(path) :]
        if fresh:
            self.tokens.extend(fresh)
            self.positions.extend(range(len(path), len(request.inputs)))
            if not path or path[-1] != start - 1:  # else the newest branch goes on
                self.branches.append((path, start))
        nodes = [*path, *range(start, len(self.tokens))]
        self.reads.append(LogitPositions(request.key, nodes[-len(request.targets) :], request.targets))
        return nodes

    def mask(self, width: int) -> torch.Tensor:
        """Return who attends to whom, (width, width) of bool; padding attends to itself, so that no row is empty."""
        attends = torch.eye(width, dtype=torch.bool)
        ends = [start for _, start in self.branches[1:]] + [len(self)]
        for (path, start), end in zip(self.branches, ends, strict=True):
            attends[start:end, start:end] = torch.ones(end - start, end - start, dtype=torch.bool).tril()
            attends[start:end, path] = True
        return attends


def pack_requests(requests: Sequence[ScoringRequest], rule: JoinRule = SINGLE_BRANCHES) -> list[PackedRow]:
    """Lay requests out in rows. In lexicographic order the next sequence shares the most with the one before it.

    A sequence that goes on from the one before always joins a row of one branch, which stays one. Another joins where
    the rule allows it.
    """
    rows: list[PackedRow] = []
    row, path, before = PackedRow(), list[int](), tuple[int, ...]()
    for request in sorted(requests, key=lambda request: request.inputs):
        shared = _common(before, request.inputs)
        grows = bool(rows) and row.is_chain and shared == len(before)
        if not grows and not (rows and rule.allows(shared, len(row), len(request.inputs) - shared)):
            row, path, shared = PackedRow(), [], 0
            rows.append(row)
        path = row.add(request, path[:shared])
        before = request.inputs
    return rows


def _common(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    shorter = min(len(a), len(b))
    if a[:shorter] == b[:shorter]:
        return shorter
    return next(i for i in range(shorter) if a[i] != b[i])


def row_batches(
    rows: Sequence[PackedRow], max_rows: int, max_tokens: int, max_scored: int
) -> Iterator[list[PackedRow]]:
    """Yield rows of like length together, the longest first; chains apart, for they need no mask.

    A batch has at most so many rows, tokens with their padding, and positions whose logits are read; one row at least.
    """
    batch: list[PackedRow] = []
    scored = 0
    for row in sorted(rows, key=lambda row: (row.is_chain, -len(row))):
        if batch:
            is_full = len(batch) == max_rows or (len(batch) + 1) * len(batch[0]) > max_tokens
            if is_full or scored + row.scored > max_scored or row.is_chain != batch[0].is_chain:
                yield batch
                batch, scored = [], 0
        batch.append(row)
        scored += row.scored
    if batch:
        yield batch
