"""The words of a text and their tags by its spans of characters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from llmkit.data.conversions.tagging.tag_schemes import OUTSIDE
from llmkit.data.conversions.tagging.word_bounds import word_bounds
from llmkit.errors import DataError


class Span(NamedTuple):
    """Where a span begins, one past its last character, and its type."""

    start: int
    end: int
    label: str


def kept_spans(text: str, spans: Iterable[Span], place: int) -> list[Span]:
    """Return the spans of a text in their order, without blanks at their ends; of those that overlap the longest.

    Raises:
        DataError: a span lies outside of the text, or holds no word; the row at the place is named, from 1.
    """
    return longest(_without_blanks(text, span, place) for span in dict.fromkeys(spans))


def longest(spans: Iterable[Span]) -> list[Span]:
    """Return spans in their order; of those that overlap the longest, and of equal ones the first."""
    kept: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.start - span.end, span.start)):
        if all(span.end <= other.start or other.end <= span.start for other in kept):
            kept.append(span)
    return sorted(kept)


def _without_blanks(text: str, span: Span, place: int) -> Span:
    start, end, label = span
    if not 0 <= start < end <= len(text):
        raise DataError(
            f"row {place + 1}: the span [{start}, {end}] {label!r} is none of a text of {len(text)} characters"
        )
    held = text[start:end]
    if not held.strip():
        raise DataError(f"row {place + 1}: the span [{start}, {end}] {label!r} holds but blanks")
    return Span(start + len(held) - len(held.lstrip()), end - (len(held) - len(held.rstrip())), label)


def tagged_words(text: str, spans: Sequence[Span]) -> tuple[list[str], list[str]]:
    """Return the words of a text and their tags in IOB2; where a span begins or ends in a word, the word is split.

    Args:
        text: in which the words are found.
        spans: that do not overlap, in their order: see `kept_spans`.
    """
    edges = sorted({edge for span in spans for edge in span[:2]})
    words, tags = list[str](), list[str]()
    remaining, before = [*spans][::-1], None
    for start, end in _split(word_bounds(text), edges):
        while remaining and remaining[-1].end <= start:
            remaining.pop()
        span = remaining[-1] if remaining and remaining[-1].start <= start else None
        words.append(text[start:end])
        tags.append(OUTSIDE if span is None else f"{'I' if span is before else 'B'}-{span.label}")
        before = span
    return words, tags


def _split(bounds: Iterable[tuple[int, int]], edges: list[int]) -> list[tuple[int, int]]:
    """Return the bounds of words, split where an edge lies in one."""
    pieces, number = list[tuple[int, int]](), 0
    for start, end in bounds:
        while number < len(edges) and edges[number] <= start:
            number += 1
        while number < len(edges) and edges[number] < end:
            pieces.append((start, edges[number]))
            start = edges[number]
            number += 1
        pieces.append((start, end))
    return pieces
