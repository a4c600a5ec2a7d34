"""The answers that rows of question answering hold: their texts, and where they start in the context."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmkit.data.predictions import cell_text
from llmkit.errors import shortened

if TYPE_CHECKING:
    from datasets import Dataset

SQUAD_FORMAT = '{"text": [...], "answer_start": [...]}'


@dataclass(frozen=True)
class ReferenceAnswers:
    """The answers of one row, none where the context has none; each starts at a character of the context."""

    texts: tuple[str, ...] = ()
    starts: tuple[int, ...] = ()

    @property
    def references(self) -> tuple[str, ...]:
        """What an answer is compared with: the empty one where there is none."""
        return self.texts or ("",)


def raw_answers(rows: Dataset, columns: Mapping[str, str]) -> list[object]:
    """Return the answers of each row the way SQuAD has them; a table has one text and its start in columns."""
    answers = rows[columns["answers"]][:]
    if "answer_start" not in columns:
        return list(answers)
    pairs = zip(answers, rows[columns["answer_start"]][:], strict=True)
    return [
        {"text": None if text is None else cell_text(text), "answer_start": _integral(start)} for text, start in pairs
    ]


def reference_answers(rows: Dataset, columns: Mapping[str, str]) -> list[ReferenceAnswers]:
    """Return the answers of rows where `problem_with_answers` finds nothing; blank texts are no answer."""
    return [_without_blanks(answers) for answers in raw_answers(rows, columns)]


def _without_blanks(answers: object) -> ReferenceAnswers:
    if not isinstance(answers, Mapping):
        raise TypeError(f"answers are {SQUAD_FORMAT}, not {type(answers).__name__}")
    pairs = zip(*_as_lists(answers), strict=True)
    sound = [
        (text, start) for text, start in pairs if isinstance(text, str) and text.strip() and isinstance(start, int)
    ]
    return ReferenceAnswers(tuple(text for text, _ in sound), tuple(start for _, start in sound))


def problem_with_answers(context: str, answers: object) -> str | None:
    """Return a phrase on what is wrong with raw answers, or None: they stand in the context where they claim to."""
    if not isinstance(answers, dict) or not {"text", "answer_start"} <= set(answers):
        return (
            f"its answers are {shortened(answers)}, and {SQUAD_FORMAT} is wanted, or a text with a column answer_start"
        )
    texts, starts = _as_lists(answers)
    if len(texts) != len(starts):
        return f"{len(texts)} answers and {len(starts)} of their starts"
    problems = (_problem_with_answer(context, text, start) for text, start in zip(texts, starts, strict=True))
    return next((problem for problem in problems if problem is not None), None)


def _problem_with_answer(context: str, text: object, start: object) -> str | None:
    if _is_blank(text):
        return None
    if not isinstance(text, str):
        return f"the answer {shortened(text)} is no text"
    claimed = start if isinstance(start, int) else None
    if claimed is not None and claimed >= 0 and context.startswith(text, claimed):
        return None
    places = [place for place in range(len(context)) if context.startswith(text, place)]
    if not places:
        return f"the answer {shortened(text)} is not in its context"
    near = places[0] if claimed is None else min(places, key=lambda place: abs(place - claimed))
    return f"the answer {shortened(text)} starts at {near}, not at answer_start {start}"


def _as_lists(answers: Mapping[str, object]) -> tuple[list[object], list[object]]:
    """Return the texts and the starts; a single one need not stand in a list."""
    texts, starts = answers["text"], answers["answer_start"]
    if isinstance(texts, list):
        return texts, starts if isinstance(starts, list) else [starts]
    return ([], []) if _is_blank(texts) else ([texts], [starts])


def _is_blank(text: object) -> bool:
    return text is None or (isinstance(text, str) and not text.strip())


def _integral(number: object) -> object:
    """Return 5 for 5.0: a column of whole numbers with gaps is read as one of floats."""
    return int(number) if isinstance(number, float) and number.is_integer() else number
