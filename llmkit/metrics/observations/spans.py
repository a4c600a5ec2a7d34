"""Spans of words, as the tags of a row mark them: IOB2, IO, or one for each word."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from llmkit.metrics.observations.base import Columns, Observations
from llmkit.output.result_parts import RowColumns

OUTSIDE = "O"  # the tag of a word in no span
SPAN_MARKS = frozenset({"B-", "I-"})  # a span begins, goes on


@dataclass(frozen=True, eq=False)
class Spans(Observations):
    """The tag of each word of each row, as many on both sides: see `spans_of`."""

    kind = "spans"

    truth: tuple[tuple[str, ...], ...]
    predicted: tuple[tuple[str, ...], ...]
    names: tuple[str, ...]  # the types of all spans on both sides: `span_types` of the set of tags
    single: bool | None = None  # each word is a span of its own; None: `are_single` of the tags that occur

    def __post_init__(self) -> None:
        if self.single is None:
            tags = {tag for side in (self.truth, self.predicted) for row in side for tag in row}
            object.__setattr__(self, "single", are_single(tags))  # part of the rows may not tell

    def to_columns(self) -> RowColumns:
        return {**super().to_columns(), "names": list(self.names), "single": bool(self.single)}

    @classmethod
    def from_columns(cls, columns: Columns) -> Self:
        truth, predicted = (tuple(map(tuple, columns[key])) for key in ("label", "prediction"))
        return cls(truth, predicted, tuple(columns["names"]), columns["single"])


def span_types(tags: Iterable[str]) -> tuple[str, ...]:
    """Return the types of spans that a set of tags can mark, in the order of the tags."""
    return tuple(dict.fromkeys(_type_of(tag) for tag in tags if tag != OUTSIDE))


def are_single(tags: Iterable[str]) -> bool:
    """Tell whether each word is a span of its own, as parts of speech are, from the set of all tags.

    That is so where no tag says that a span begins or goes on, nor that a word is in none.
    """
    return not any(tag == OUTSIDE or tag[:2] in SPAN_MARKS for tag in tags)


def spans_of(tags: Sequence[str], single: bool = False) -> list[tuple[str, int, int]]:
    """Return the spans that the tags of a row mark: type, first word, one past the last.

    B- begins a span; I-, or a tag without a mark, goes on with one of its type and begins one after anything else (as
    seqeval reads IOB2, and as IO tags mean it). With `single`, as for parts of speech, each word is a span.
    Source: Ramshaw and Marcus, Text Chunking using Transformation-Based Learning, 1995; seqeval's default mode.
    """
    spans: list[tuple[str, int, int]] = []
    for position, tag in enumerate(tags):
        if tag == OUTSIDE:
            continue
        kind = _type_of(tag)
        begins = single or tag.startswith("B-") or not spans or spans[-1][0] != kind or spans[-1][2] != position
        if begins:
            spans.append((kind, position, position + 1))
        else:
            spans[-1] = (kind, spans[-1][1], position + 1)
    return spans


def _type_of(tag: str) -> str:
    return tag[2:] if tag[:2] in SPAN_MARKS else tag
