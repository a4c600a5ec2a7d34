"""The answers that one cell holds, in each of the shapes that files have: texts with or without their starts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from llmkit.data.conversions.literals import value_of
from llmkit.data.predictions import cell_text

TEXT_KEYS = ("text", "texts", "answer", "answers", "answer_text", "value", "span")
START_KEYS = (
    *("answer_start", "answer_starts", "start", "starts", "start_char", "char_start", "answer_offset", "offset"),
    *("start_position", "start_index", "start_idx", "answer_start_index", "begin"),
)


@dataclass(frozen=True)
class Span:
    """A text, and the offset where it starts, or None where that is not said."""

    text: str
    start: int | None = None


def spans_in(cell: object, start: object = None) -> list[Span] | None:
    """Return the answers in a cell, with the starts of a column beside it; None where it is no shape of answers.

    A blank cell holds no answer. A start that is no whole number is as one that is not said.
    """
    if is_blank(cell):
        return []
    if isinstance(cell, Mapping):
        if not any(key in cell for key in TEXT_KEYS):
            return None
        texts = next(cell[key] for key in TEXT_KEYS if key in cell)
        starts = next((cell[key] for key in START_KEYS if key in cell), start)
        return spans_in(texts, starts) if not isinstance(texts, Mapping) else None
    if not isinstance(cell, list):
        return [Span(cell_text(cell), whole_number(start[0] if isinstance(start, list) and len(start) == 1 else start))]
    starts = value_of(start)
    if not isinstance(starts, list):
        starts = [starts] * len(cell) if starts is None or len(cell) == 1 else []
    if len(starts) != len(cell):
        return None
    inner = [spans_in(item, place) for item, place in zip(cell, starts, strict=True)]
    known = [spans for spans in inner if spans is not None]
    return [span for spans in known for span in spans] if len(known) == len(inner) else None


def spell_answers(cells: Iterable[object]) -> bool:
    """Tell whether the texts among cells are JSON or Python that spells answers, all of them."""
    texts = [cell for cell in cells if isinstance(cell, str) and cell.strip()]
    return bool(texts) and all(_is_answers(value_of(text)) for text in texts)


def is_blank(cell: object) -> bool:
    """Tell whether a cell is null, not a number, or a text of nothing but white space."""
    return (
        cell is None or (isinstance(cell, float) and math.isnan(cell)) or (isinstance(cell, str) and not cell.strip())
    )


def _is_answers(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(key in value for key in TEXT_KEYS)
    return isinstance(value, list) and all(isinstance(item, str | Mapping) for item in value)


def whole_number(start: object) -> int | None:
    """Return 5 for 5, 5.0 and "5", as a column of whole numbers with gaps is read; None for anything else."""
    if isinstance(start, str) and start.strip().isdecimal():
        return int(start)
    if isinstance(start, bool) or not isinstance(start, int | float) or is_blank(start) or start != int(start):
        return None
    return int(start)
