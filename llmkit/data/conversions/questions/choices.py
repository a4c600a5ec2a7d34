"""Choices of a question as people have them, made into a list and the number of the right one, from 0."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from llmkit.data.columns import is_string, item_of, usual_among
from llmkit.data.conversions.base import Conversion
from llmkit.data.conversions.questions.answer_spans import is_blank
from llmkit.data.conversions.questions.choice_answers import (
    PHRASES,
    choice_number,
    is_no_answer,
    reading_of,
    right_number,
)
from llmkit.data.conversions.questions.choice_columns import RIGHT, find_choice_columns, find_distractors
from llmkit.data.conversions.questions.choice_lists import Choices, choices_in
from llmkit.data.conversions.questions.distractors import DistractorConversion
from llmkit.data.conversions.writing import with_column
from llmkit.data.label_sets import as_list
from llmkit.data.predictions import cell_text
from llmkit.errors import DataError, listing, shortened
from llmkit.options.tasks import ANSWERS_FROM

if TYPE_CHECKING:
    from datasets import Dataset

LETTERS = "ABCDEFGHIJKLMNOPQRST"


@dataclass(frozen=True)
class ChoiceConversion(Conversion):
    """Choices made into a list of texts, or into texts with names where rows have names or differ in their number."""

    choices: tuple[str, ...]  # one column of all choices, or a column for each
    answer: str | None
    reading: str  # by name, or one of ANSWERS_FROM
    named: bool = False
    how: tuple[str, ...] = ()

    @property
    def reads(self) -> tuple[str, ...]:
        return self.choices

    @property
    def writes(self) -> tuple[str, ...]:
        return ("choices",) if self.answer is None else ("choices", "answer")

    @property
    def sentence(self) -> str:
        return "; ".join(filter(None, self.how))

    def apply(self, rows: Dataset) -> Dataset:
        from datasets import List, Value

        texts = List(Value("string"))
        found, answers = _rows_of_choices(rows, self.choices), None
        if self.answer is not None and self.answer in rows.column_names:
            pairs = zip(rows[self.answer][:], found, strict=True)
            answers = [self._answer(cell, row, number) for number, (cell, row) in enumerate(pairs, start=1)]
        cells: list[object] = [_with_names(row) if self.named else list(row.texts) for row in found]
        rows = with_column(rows, "choices", cells, {"text": texts, "label": texts} if self.named else texts)
        kind = Value("string" if self.named else "int64")
        return rows if answers is None else with_column(rows, "answer", answers, kind)

    def _answer(self, answer: object, choices: Choices, number: int) -> object:
        if is_no_answer(answer):
            return None
        right = right_number(answer, choices, self.reading)
        if right is None:
            raise DataError(
                f"row {number}: the answer {shortened(answer)} is none of its {len(choices.texts)} choices "
                f"{PHRASES[self.reading]}; --answers-from {'|'.join(ANSWERS_FROM)} reads answers in another way"
            )
        return _names_of(choices)[right] if self.named else right


def find(
    rows: Dataset, columns: Mapping[str, str], answers_from: str | None = None
) -> ChoiceConversion | DistractorConversion | None:
    """Return how choices and answers are made into what multiple choice reads, or None where rows are so already.

    `columns` are by role: question, choices or choice0, choice1, ..., and answer; the roles of choices can be left to
    be found by the names of columns. `answers_from` is --answers-from.

    Raises:
        DataError: the choices of a row, or how the answers name one of them, cannot be told.
    """
    sources = _sources(rows, columns)
    if not sources:
        return _distractors(rows, columns)
    found = _rows_of_choices(rows, sources)
    answer = columns.get("answer")
    reading = answers_from or _reading(rows, answer, found, sources)
    named = len({len(row.texts) for row in found if row.texts}) > 1 or any(row.names is not None for row in found)
    conversion = ChoiceConversion(sources, answer, reading, named)
    if set(sources) <= set(columns.values()) and _is_read_by_task(rows, conversion, found):
        return None
    return replace(conversion, how=tuple(_phrases(rows, conversion, found, answers_from is None)))


def _reading(rows: Dataset, answer: str | None, found: Sequence[Choices], sources: Sequence[str]) -> str:
    """Return how the answers are read; where nothing fits all, how most of them are."""
    from datasets import ClassLabel

    if answer is None or isinstance(rows.features[answer], ClassLabel):
        return "0"
    cells = rows[answer][:]
    first = 0 if len(sources) > 1 and sources[0].endswith("0") else None
    fitting = reading_of(cells, found, _are_numbers(rows, sources), first)
    if fitting is not None:
        return fitting
    pairs = [pair for pair in zip(cells, found, strict=True) if not is_no_answer(pair[0])]
    return max(ANSWERS_FROM, key=lambda reading: sum(right_number(*pair, reading) is not None for pair in pairs))


def _is_read_by_task(rows: Dataset, conversion: ChoiceConversion, found: Sequence[Choices]) -> bool:
    """Tell whether multiple choice reads the rows as they are, and so says itself which answer is wrong."""
    from datasets import ClassLabel

    if not _are_plain(rows, conversion, found):
        return False
    if conversion.answer is None or isinstance(rows.features[conversion.answer], ClassLabel):
        return True
    for cell, row in zip(rows[conversion.answer][:], found, strict=True):
        right = None if is_no_answer(cell) else right_number(cell, row, conversion.reading)
        if right is not None and right != choice_number(cell, row.texts, row.names):
            return False
    return True


def _are_plain(rows: Dataset, conversion: ChoiceConversion, found: Sequence[Choices]) -> bool:
    sources = conversion.choices
    if len(sources) > 1:
        return not conversion.named and all(is_string(rows.features[name]) for name in sources)
    cells = map(as_list, rows[sources[0]][:])
    return all(_is_plain(cell, row) for cell, row in zip(cells, found, strict=True))


def _is_plain(cell: object, choices: Choices) -> bool:
    if isinstance(cell, Mapping):
        return cell.get("text") == list(choices.texts) and cell.get("label") == list(choices.names or ())
    return isinstance(cell, list) and not any(isinstance(item, Mapping) for item in cell)


def _phrases(rows: Dataset, conversion: ChoiceConversion, found: Sequence[Choices], decided: bool) -> Iterator[str]:
    """Yield what is said of a conversion; `decided`: by what the answers are, not by a flag."""
    sources = conversion.choices
    if len(sources) > 1:
        fewer = ", fewer where the last of them are blank" if conversion.named else ""
        yield f"choices: columns {listing(sources)}{fewer}"
    elif not _are_plain(rows, conversion, found):
        first = found[0].texts
        yield f"choices: {sources[0]!r}, in the first row {len(first)} from {shortened(first[0])} on" if first else ""
    if conversion.answer is None:
        return
    largest = max(len(row.texts) for row in found)
    one = f", as no 0 occurs and {largest} does (--answers-from 0 counts from 0)"
    why = one if conversion.reading == "1" and decided else ""
    yield f"answers: {conversion.answer!r} {PHRASES[conversion.reading]}{why}"


def _sources(rows: Dataset, columns: Mapping[str, str]) -> tuple[str, ...]:
    if "choices" in columns:
        return (columns["choices"],)
    roles = sorted((role for role in columns if role.removeprefix("choice").isdigit()), key=lambda role: int(role[6:]))
    named = tuple(columns[role] for role in roles)
    if named and set(named) == set(find_distractors(named, rows.features)):
        return ()  # the right one is beside them, not among them
    free = [name for name in rows.column_names if name not in columns.values()]
    return named or find_choice_columns(free, rows.features)


def _distractors(rows: Dataset, columns: Mapping[str, str]) -> DistractorConversion | None:
    right = columns.get("answer") or next(iter(usual_among(rows.column_names, RIGHT)), None)
    wrong = find_distractors([name for name in rows.column_names if name != right], rows.features)
    return DistractorConversion(right, wrong, columns.get("question")) if right is not None and wrong else None


def _rows_of_choices(rows: Dataset, sources: Sequence[str]) -> list[Choices]:
    if len(sources) > 1:
        return [Choices(_texts(cells)) for cells in zip(*(rows[name][:] for name in sources), strict=True)]
    found = []
    for number, cell in enumerate(rows[sources[0]][:], start=1):
        choices = Choices(()) if is_blank(cell) else choices_in(cell)
        if choices is None:
            raise DataError(
                f"row {number}: the choices {shortened(cell)} are no list of texts, no dictionary and no text such as "
                "'a) red b) blue'; columns that hold one choice each are named by --column choice0=NAME choice1=NAME"
            )
        found.append(choices)
    return found


def _texts(cells: Sequence[object]) -> tuple[str, ...]:
    """Return the choices in cells; the last ones that are blank are none, as where some questions have fewer."""
    texts = [cell_text(None if is_blank(cell) else cell) for cell in cells]
    while texts and not texts[-1]:
        texts.pop()
    return tuple(texts)


def _names_of(choices: Choices) -> Sequence[str]:
    return choices.names or LETTERS[: len(choices.texts)]


def _with_names(choices: Choices) -> dict[str, list[str]]:
    return {"text": list(choices.texts), "label": list(_names_of(choices))}


def _are_numbers(rows: Dataset, sources: Sequence[str]) -> bool:
    """Tell whether an answer that is a number can be the text of a choice: choices are numbers, or spelled in text."""
    if len(sources) == 1 and is_string(rows.features[sources[0]]):
        return True
    return all(not is_string(item_of(rows.features[name]) or rows.features[name]) for name in sources)
