"""Answers of question answering as people have them, made into SQuAD's: texts, and the characters where they start."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmkit.data.columns import usual_among
from llmkit.data.conversions.base import Conversion
from llmkit.data.conversions.literals import value_of
from llmkit.data.conversions.questions.answer_spans import START_KEYS, Span, is_blank, spans_in, spell_answers
from llmkit.data.conversions.questions.offsets import OFFSETS, character_at, other_unit
from llmkit.data.conversions.writing import with_column
from llmkit.data.predictions import cell_text
from llmkit.errors import DataError, listing, shortened

if TYPE_CHECKING:
    from datasets import Dataset, List

STARTS = (*START_KEYS, "answers.answer_start", "answers_answer_start", "answers_start", "answers.start")
UNANSWERABLE = ("is_impossible", "impossible", "unanswerable", "is_unanswerable")
ANSWERABLE = ("is_answerable", "answerable", "has_answer")
YES, NO = frozenset({"true", "1", "yes"}), frozenset({"false", "0", "no", ""})
ANSWERS = "answers"  # the column that the task reads


def answers_feature() -> dict[str, List]:
    """Return the feature of the column of answers."""
    from datasets import List, Value

    return {"text": List(Value("string")), "answer_start": List(Value("int64"))}


@dataclass(frozen=True)
class AnswerConversion(Conversion):
    """Answers made into `{"text": [...], "answer_start": [...]}`, the latter in characters of the context."""

    context: str
    answers: str
    start: str | None = None  # a column of where they start
    spelled: bool = False  # whether cells spell them in JSON or Python
    answerable: str | None = None  # a column of whether there is an answer, or of whether there is none
    offsets: str = "characters"
    how: tuple[str, ...] = ()

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.context, self.answers) if self.start is None else (self.context, self.answers, self.start)

    @property
    def writes(self) -> tuple[str, ...]:
        return (ANSWERS,)

    @property
    def sentence(self) -> str:
        return f"answers of {self.answers!r}: {', '.join(self.how)}"

    def apply(self, rows: Dataset) -> Dataset:
        spans = self.spans(rows)
        cells: list[object] = [None] * len(rows)  # of rows to predict, none of which has an answer
        if not all(is_blank(cell) for cell in rows[self.answers][:]):
            contexts = map(cell_text, rows[self.context][:])
            pairs = zip(contexts, spans, strict=True)
            cells = [self._cell(context, found, number) for number, (context, found) in enumerate(pairs, start=1)]
        return with_column(rows, ANSWERS, cells, answers_feature())

    def spans(self, rows: Dataset) -> list[list[Span]]:
        """Return the answers of each row, none where a column says that there is none.

        Raises:
            DataError: a cell holds no answers.
        """
        cells = rows[self.answers][:]
        starts = [None] * len(rows) if self.start is None else rows[self.start][:]
        has_answer = self._has_answer(rows)
        found = []
        for number, (cell, start, asked) in enumerate(zip(cells, starts, has_answer, strict=True), start=1):
            spans = spans_in(value_of(cell) if self.spelled else cell, start) if asked else []
            if spans is None:
                raise DataError(
                    f"row {number}: the answers {shortened(cell)} are no text, no list of texts and no "
                    '{"text": [...], "answer_start": [...]} with as many starts as texts'
                )
            found.append([span for span in spans if not is_blank(span.text)])
        return found

    def _has_answer(self, rows: Dataset) -> list[bool]:
        if self.answerable is None or self.answerable not in rows.column_names:
            return [True] * len(rows)
        found, negated = [], self.answerable.lower() in UNANSWERABLE
        for number, cell in enumerate(rows[self.answerable][:], start=1):
            word = "" if is_blank(cell) else cell_text(cell).strip().lower()
            if word not in YES | NO:
                raise DataError(f"row {number}: {self.answerable} is {shortened(cell)}, and true or false is wanted")
            found.append(word == "" or (word in YES) != negated)
        return found

    def _cell(self, context: str, spans: list[Span], number: int) -> dict[str, object]:
        starts = [self._start(context, span, number) for span in spans]
        return {"text": [span.text for span in spans], "answer_start": starts}

    def _start(self, context: str, span: Span, number: int) -> int:
        if span.start is not None:
            place = character_at(context, span.start, self.offsets)
            return span.start if place is None else place  # the task names it, as any other that does not fit
        places = list(_places(context, span.text))
        if len(places) == 1:
            return places[0]
        found = listing(map(str, places[:3])) + (", ..." if len(places) > 3 else "")
        what = f"is {len(places)} times in its context, at {found}" if places else "is not in its context"
        raise DataError(
            f"row {number}: the answer {shortened(span.text)} {what}, so where it starts cannot be told; leave the row "
            "out, or name a column that holds the character where it starts: --column answer_start=NAME"
        )


def find(rows: Dataset, columns: Mapping[str, str], offsets: str | None = None) -> AnswerConversion | None:
    """Return how the answers of rows are made into SQuAD's, or None where they are so already.

    `columns` are by role: context, answers and, where they have one, answer_start; `offsets` is --offsets.

    Raises:
        DataError: what is no answer, or starts that are counted in something else than characters; the flag is named.
    """
    cells = rows[columns["answers"]][:]
    if any(_is_squad(cell) and spans_in(cell) is None for cell in cells):
        return None  # the task says what is wrong with such a row
    free = [name for name in rows.column_names if name not in columns.values()]
    spelled = spell_answers(cells)
    are_whole = spelled or any(isinstance(cell, Mapping) for cell in cells)  # the cells say where they start
    start = None if are_whole else columns.get("answer_start") or next(iter(usual_among(free, STARTS)), None)
    answerable = next(iter(usual_among(free, (*UNANSWERABLE, *ANSWERABLE))), None)
    unit = offsets or "characters"
    found = AnswerConversion(columns["context"], columns["answers"], start, spelled, answerable, unit)
    contexts, spans = list(map(cell_text, rows[found.context][:])), found.spans(rows)
    if offsets is None:
        _refuse_other_unit(contexts, spans)
    how = tuple(_reasons(rows, found, spans, columns))
    return AnswerConversion(found.context, found.answers, start, spelled, answerable, unit, how) if how else None


def _places(context: str, text: str) -> Iterator[int]:
    place = context.find(text)
    while place >= 0:
        yield place
        place = context.find(text, place + 1)


def _is_squad(cell: object) -> bool:
    return isinstance(cell, Mapping) and {"text", "answer_start"} <= set(cell)


def _refuse_other_unit(contexts: list[str], spans: list[list[Span]]) -> None:
    rows = [
        (number, (context, span.text, span.start))
        for number, (context, found) in enumerate(zip(contexts, spans, strict=True), start=1)
        for span in found
        if span.start is not None
    ]
    other = other_unit([claim for _, claim in rows])
    if other is not None:
        (number, (_, text, start)), unit = rows[other[0]], other[1]
        raise DataError(
            f"row {number}: the answer {shortened(text)} does not start at character {start} of its context, and all "
            f"answers start where they should if {OFFSETS[unit]} are counted: the offsets fit {unit.upper()}: "
            f"--offsets {unit}"
        )


def _reasons(rows: Dataset, found: AnswerConversion, spans: list[list[Span]], columns: Mapping[str, str]) -> list[str]:
    """Return what is to be said of a conversion; nothing where the task reads the rows as they are."""
    reasons, cells = [], rows[found.answers][:]
    if found.spelled:
        reasons.append("JSON or Python text")
    elif any(isinstance(cell, list) for cell in cells):
        reasons.append("lists")
    elif any(isinstance(cell, Mapping) and not _is_squad(cell) for cell in cells):
        reasons.append("dictionaries")
    if any(span.start is None for row in spans for span in row):
        reasons.append("found in their contexts, where each is once")
    elif found.start is not None and "answer_start" not in columns:
        reasons.append(f"starts of {found.start!r}")
    if found.offsets != "characters":
        reasons.append(f"offsets counted in {OFFSETS[found.offsets]}, made into characters")
    if found.answerable is not None:
        everywhere = AnswerConversion(found.context, found.answers, found.start, found.spelled).spans(rows)
        reasons += [f"none where {found.answerable!r} says so"] if everywhere != spans else []
    return reasons
