"""The choices that one cell holds, in each of the shapes that files have."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from llmkit.data.conversions.literals import value_of
from llmkit.data.conversions.questions.answer_spans import is_blank
from llmkit.data.predictions import cell_text

TEXT_KEYS = ("text", "texts", "value", "content", "option", "choice", "answer", "body")
NAME_KEYS = ("label", "labels", "key", "id", "letter", "name", "index")
# of a choice, also with full-width signs; 1.5 is a number
MARKER = r"(?:^|(?<=[\s,;|]))[(\[\uff08]?{mark}\s*(?:\.(?!\d)|[):\]、\uff0e\uff09\uff1a])\s*"
MARKS = ("abcdefgh", "ABCDEFGH", "12345678")


@dataclass(frozen=True)
class Choices:
    """The texts of the choices of a row, and their names where the row gives them."""

    texts: tuple[str, ...]
    names: tuple[str, ...] | None = None


def choices_in(cell: object) -> Choices | None:
    """Return the choices that a cell holds as a list, a dictionary, or a text that spells one; None where it does not.

    A text such as "a) red b) blue" holds choices where its markers count on from its beginning, each once.
    """
    value = value_of(cell)
    if isinstance(value, Mapping):
        return _of_mapping(value)
    if isinstance(value, list):
        return _of_list(value)
    return _of_text(value) if isinstance(value, str) else None


def _of_mapping(value: Mapping[str, object]) -> Choices | None:
    texts = next((value[key] for key in TEXT_KEYS if isinstance(value.get(key), list)), None)
    names = next((value[key] for key in NAME_KEYS if isinstance(value.get(key), list)), None)
    if isinstance(texts, list):
        known = names if isinstance(names, list) and len(names) == len(texts) else None
        return Choices(tuple(map(cell_text, texts)), None if known is None else tuple(map(cell_text, known)))
    there = {str(key): item for key, item in value.items() if not is_blank(item)}  # arrow adds the keys of other rows
    if len(there) < 2 or any(isinstance(item, Mapping | list) for item in there.values()):
        return None
    ordered = sorted(there, key=lambda key: (len(key), key)) if all(len(key) < 3 for key in there) else list(there)
    return Choices(tuple(cell_text(there[key]) for key in ordered), tuple(ordered))


def _of_list(value: list[object]) -> Choices | None:
    if not any(isinstance(item, Mapping | list) for item in value):
        return Choices(tuple(map(cell_text, value)))
    texts, names = [], []
    for item in value:
        if not isinstance(item, Mapping):
            return None
        text = next((item[key] for key in TEXT_KEYS if key in item), None)
        if text is None or isinstance(text, Mapping | list):
            return None
        texts.append(cell_text(text))
        names.append(next((cell_text(item[key]) for key in NAME_KEYS if not is_blank(item.get(key))), ""))
    return Choices(tuple(texts), tuple(names) if all(names) and len(set(names)) == len(names) else None)


def _of_text(text: str) -> Choices | None:
    for marks in MARKS:
        texts = _split(text.strip(), marks)
        if texts is not None:
            return Choices(texts, tuple(marks[: len(texts)]))
    return None


def _split(text: str, marks: str) -> tuple[str, ...] | None:
    """Return the texts after markers that count on from the start of a text, each of which is there once."""
    found = [list(re.finditer(MARKER.format(mark=mark), text)) for mark in marks]
    count = next((number for number, matches in enumerate(found) if not matches), len(marks))
    matches = [places[0] for places in found[:count]]
    if count < 2 or any(len(places) > 1 for places in found[:count]) or any(found[count:]):
        return None
    if matches[0].start() != 0 or [match.start() for match in matches] != sorted(match.start() for match in matches):
        return None
    ends = [match.start() for match in matches[1:]] + [len(text)]
    texts = tuple(
        text[match.end() : end].strip().rstrip(",;|").strip() for match, end in zip(matches, ends, strict=True)
    )
    return texts if all(texts) else None
