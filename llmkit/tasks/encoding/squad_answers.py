"""The answers that rows of question answering give: their texts, and where they start in the context."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datasets import Dataset

from llmkit.data.predictions import cell_text
from llmkit.errors import shortened

ANSWERS = '{"text": [...], "answer_start": [...]}'  # as SQuAD spells them


@dataclass(frozen=True)
class Given:
    """The answers of one row, none where the context has none; each starts at a character of the context."""

    texts: tuple[str, ...] = ()
    starts: tuple[int, ...] = ()

    @property
    def references(self) -> tuple[str, ...]:
        """What an answer is compared with: the empty one where there is none."""
        return self.texts or ("",)


def raw_answers(rows: Dataset, columns: Mapping[str, str]) -> list[Any]:
    """Return the answers of each row the way SQuAD has them; a table has one text and its start in columns."""
    answers = rows[columns["answers"]][:]
    if "answer_start" not in columns:
        return list(answers)
    pairs = zip(answers, rows[columns["answer_start"]][:], strict=True)
    return [{"text": None if text is None else cell_text(text), "answer_start": _whole(start)} for text, start in pairs]


def given_answers(rows: Dataset, columns: Mapping[str, str]) -> list[Given]:
    """Return the answers of rows that have some, and no `fault`; blank texts are no answer."""
    found = []
    for answers in raw_answers(rows, columns):
        pairs = [(text, start) for text, start in zip(*_listed(answers), strict=True) if not _is_blank(text)]
        found.append(Given(tuple(text for text, _ in pairs), tuple(start for _, start in pairs)))
    return found


def fault_of(context: str, answers: Any) -> str | None:
    """Return a phrase on what is wrong with raw answers, or None: they stand in the context, where they say."""
    if not isinstance(answers, dict) or not {"text", "answer_start"} <= set(answers):
        return f"its answers are {shortened(answers)}, and {ANSWERS} is wanted, or a text with a column answer_start"
    texts, starts = _listed(answers)
    if len(texts) != len(starts):
        return f"{len(texts)} answers and {len(starts)} of their starts"
    faults = (_fault_of_one(context, *pair) for pair in zip(texts, starts, strict=True))
    return next((fault for fault in faults if fault is not None), None)


def _fault_of_one(context: str, text: Any, start: Any) -> str | None:
    if _is_blank(text):
        return None
    if not isinstance(text, str):
        return f"the answer {shortened(text)} is no text"
    known = isinstance(start, int)
    if known and start >= 0 and context.startswith(text, start):
        return None
    places = [place for place in range(len(context)) if context.startswith(text, place)]
    if not places:
        return f"the answer {shortened(text)} is not in its context"
    near = min(places, key=lambda place: abs(place - start)) if known else places[0]
    return f"the answer {shortened(text)} starts at {near}, not at answer_start {start}"


def _listed(answers: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
    """Return the texts and the starts; a single one need not stand in a list."""
    texts, starts = answers["text"], answers["answer_start"]
    if isinstance(texts, list):
        return texts, starts if isinstance(starts, list) else [starts]
    return ([], []) if _is_blank(texts) else ([texts], [starts])


def _is_blank(text: Any) -> bool:
    return text is None or (isinstance(text, str) and not text.strip())


def _whole(number: Any) -> Any:
    """Return 5 for 5.0: a column of whole numbers with gaps is read as one of floats."""
    return int(number) if isinstance(number, float) and number.is_integer() else number
