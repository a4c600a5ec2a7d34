"""How a column of answers says which choice is right: by its name, its text, its letter, or its number from 0 or 1."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from llmkit.data.conversions.questions.answer_spans import is_blank
from llmkit.data.conversions.questions.choice_columns import PREFIXES
from llmkit.data.conversions.questions.choice_lists import Choices
from llmkit.data.predictions import cell_text
from llmkit.errors import DataError, shortened

READINGS = ("name", "text", "letter", "0", "1")
PHRASES = {"name": "by name", "text": "by text", "letter": "by letter", "0": "counted from 0", "1": "counted from 1"}
_PREFIX = "|".join(sorted(map(re.escape, PREFIXES), key=len, reverse=True))
MARK = re.compile(
    rf"[(\[]?\s*(?:(?:{_PREFIX})[ _:.-]*)?(?P<mark>[a-j]|[0-9]{{1,2}})(?:\.0)?\s*[)\].:,、]*", re.IGNORECASE
)
BEFORE_TEXT = re.compile(r"[(\[]?(?P<mark>[a-j])\s*[)\].:、]+\s*(?P<text>.+)", re.IGNORECASE | re.DOTALL)


def is_no_answer(answer: object) -> bool:
    """Tell whether a cell says nothing of the right choice."""
    return is_blank(answer) or cell_text(answer).strip() == "-1"


def choice_number(answer: object, texts: Sequence[str], names: Sequence[str] | None) -> int | None:
    """Return the number of the choice that an answer names: by its name, its text, its letter, or its number from 0."""
    text = str(answer).strip()
    for known in (names, texts if isinstance(answer, str) else None):
        if known and text in known:
            return list(known).index(text)
    if re.fullmatch(r"\d+", text):
        number = int(text)
    elif re.fullmatch(r"[A-Ha-h]", text):
        number = ord(text.upper()) - ord("A")
    else:
        return None
    return number if number < len(texts) else None


def right_number(answer: object, choices: Choices, reading: str) -> int | None:
    """Return the number of the right choice, from 0, where an answer is read in one of READINGS; None: it is none."""
    text = unicodedata.normalize("NFKC", cell_text(answer)).strip()
    if reading == "text":
        return _by_text(cell_text(answer).strip(), choices)
    match = MARK.fullmatch(text)
    mark = match["mark"].lower() if match is not None else None
    if reading == "name":
        names = [name.strip().lower() for name in choices.names or ()]
        return next((names.index(name) for name in (text.lower(), mark) if name in names), None)
    if reading == "letter":
        before = BEFORE_TEXT.fullmatch(text) if mark is None else None
        if before is not None:
            number = ord(before["mark"].lower()) - ord("a")
            return number if _by_text(before["text"].strip(), choices) == number else None
        number = -1 if mark is None or mark.isdigit() else ord(mark) - ord("a")
    else:
        number = int(mark) - int(reading) if mark is not None and mark.isdigit() else -1
    return number if 0 <= number < len(choices.texts) else None


def reading_of(answers: Sequence[object], choices: Sequence[Choices], numeric: bool, first: int | None) -> str | None:
    """Return how all answers are read, one of READINGS, or None where no reading fits them all.

    `numeric`: the choices are numbers, so that an answer that is one can be the text of a choice; `first`: what the
    columns of the choices count from, where their names tell.

    Raises:
        DataError: two readings fit and differ; both flags are named.
    """
    pairs = [(answer, row) for answer, row in zip(answers, choices, strict=True) if not is_no_answer(answer)]
    numbers = {reading: [right_number(answer, row, reading) for answer, row in pairs] for reading in READINGS}
    if not numeric and not all(isinstance(answer, str) for answer, _ in pairs):
        del numbers["text"]
    fitting = [reading for reading, found in numbers.items() if pairs and None not in found]
    if "name" in fitting:
        return "name"
    distinct = [reading for reading in fitting if numbers[reading] != numbers[fitting[0]]]
    if not distinct:
        return next(iter(fitting), None)
    if fitting == ["0", "1"] and first == 0:
        return "0"
    raise _undecided(fitting, pairs[0][0])


def _by_text(text: str, choices: Choices) -> int | None:
    texts = [choice.strip() for choice in choices.texts]
    if text in texts:
        return texts.index(text)
    lower = [choice.lower() for choice in texts]
    return lower.index(text.lower()) if lower.count(text.lower()) == 1 else None


def _undecided(fitting: Sequence[str], answer: object) -> DataError:
    reason = (
        "no answer is 0 and none is the number of the last choice"
        if list(fitting) == ["0", "1"]
        else f"answers such as {shortened(answer)} can be read in several ways"
    )
    flags = " or ".join(f"--answers-from {reading} ({PHRASES[reading]})" for reading in fitting)
    return DataError(f"which choice is right cannot be told: {reason}; say {flags}")
