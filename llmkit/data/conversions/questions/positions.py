"""Answers that are nothing but positions, where they start and end in their context, made into SQuAD's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmkit.data.columns import usual_among
from llmkit.data.conversions.base import Conversion
from llmkit.data.conversions.questions.answer_spans import is_blank, whole_number
from llmkit.data.conversions.questions.answers import ANSWERS, STARTS, answers_feature
from llmkit.data.conversions.questions.offsets import OFFSETS, character_at
from llmkit.data.conversions.writing import with_column
from llmkit.data.predictions import cell_text
from llmkit.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

ENDS = (
    *("answer_end", "answer_ends", "end", "ends", "end_char", "char_end", "end_position", "end_index", "end_idx"),
    "answer_end_index",
)


@dataclass(frozen=True)
class PositionConversion(Conversion):
    """The text between two positions is the answer; a row where one of them is blank or below 0 has none."""

    context: str
    start: str
    end: str
    last: bool  # whether `end` is the position of the last character, not of the one that follows
    offsets: str = "characters"

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.context, self.start, self.end)

    @property
    def writes(self) -> tuple[str, ...]:
        return (ANSWERS,)

    @property
    def sentence(self) -> str:
        end = "the last of them" if self.last else "not with it"
        return (
            f"answers: the {OFFSETS[self.offsets]} of {self.context!r} from {self.start!r} up to {self.end!r}, {end} "
            "(--column answers=NAME names a column of texts)"
        )

    def apply(self, rows: Dataset) -> Dataset:
        cells = [self._cell(*triple, number) for number, triple in enumerate(_triples(rows, self), start=1)]
        return with_column(rows, ANSWERS, cells, answers_feature())

    def _cell(self, context: str, start: int | None, end: int | None, number: int) -> dict[str, object]:
        if start is None or end is None:
            return {"text": [], "answer_start": []}
        first, after = (character_at(context, place, self.offsets) for place in (start, end + self.last))
        if first is None or after is None or first >= after:
            raise DataError(
                f"row {number}: {self.start} {start} to {self.end} {end} is no part of its context, which has "
                f"{len(context)} characters; --offsets names other units: {', '.join(OFFSETS)}"
            )
        return {"text": [context[first:after]], "answer_start": [first]}


def find(rows: Dataset, context: str, offsets: str | None = None) -> PositionConversion | None:
    """Return how columns of positions are made into answers, or None where there are no two such columns.

    Raises:
        DataError: whether the character at an end belongs to the answer cannot be told.
    """
    starts, ends = (usual_among(rows.column_names, names) for names in (STARTS, ENDS))
    if not starts or not ends:
        return None
    unit = offsets or "characters"
    readings = [PositionConversion(context, starts[0], ends[0], last, unit) for last in (False, True)]
    if all(start is None for _, start, _ in _triples(rows, readings[0])):
        return None
    whole = [all(_is_whole(*triple, reading) for triple in _triples(rows, reading)) for reading in readings]
    if not any(whole):
        raise DataError(
            f"columns {starts[0]!r} and {ends[0]!r} seem to say where answers are, and words would be cut whether "
            f"or not the character at {ends[0]!r} belongs to them; name a column of their texts: --column answers=NAME"
        )
    return readings[whole.index(True)]  # ends that belong to answers would cut words if they did not


def _triples(rows: Dataset, found: PositionConversion) -> Iterator[tuple[str, int | None, int | None]]:
    for context, *places in zip(*(rows[name][:] for name in found.reads), strict=True):
        start, end = (whole_number(place) for place in places)
        there = start is not None and end is not None and start >= 0 and end >= 0
        yield ("" if is_blank(context) else cell_text(context)), start if there else None, end if there else None


def _is_whole(context: str, start: int | None, end: int | None, found: PositionConversion) -> bool:
    """Tell whether no word is cut where an answer starts and ends, as far as letters tell."""
    if start is None or end is None:
        return True
    first, after = (character_at(context, place, found.offsets) for place in (start, end + found.last))
    if first is None or after is None or first >= after:
        return False
    inside = context[first].strip() and context[after - 1].strip()
    cut = (context[first - 1 : first].isalnum() and context[first].isalnum()) or (
        context[after - 1].isalnum() and context[after : after + 1].isalnum()
    )
    return bool(inside) and not cut
