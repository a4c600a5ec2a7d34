"""Rows of dictionaries as columns: a column whose values have no one type is JSON text, and named as mixed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import pyarrow as pa

from llmkit.data.formats.annotations import span_objects
from llmkit.data.formats.part import FileRow, Part
from llmkit.data.formats.values import as_json
from llmkit.data.turns import ROLE_KEYS
from llmkit.errors import DataError, listing
from llmkit.errors.characters import require_characters_in_rows

FASTTEXT = re.compile(r"\s*__label__\S+\s.*")
INT64 = range(-(2**63), 2**63)


def part_of_rows(rows: Sequence[FileRow], where: object = "the rows", said: tuple[str, ...] = ()) -> Part:
    """Return rows as columns; a key that some rows lack is null there.

    Raises:
        DataError: a value cannot be kept, as half of a character.
    """
    columns: dict[str, pa.Array] = {}
    mixed: dict[str, str] = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        cells = [row.get(name) for row in rows]
        values = span_objects(cells) or cells  # arrow cannot hold [start, end, label]
        try:
            columns[name] = typed(values)
        except (pa.ArrowException, UnicodeError, OverflowError) as error:
            if isinstance(error, UnicodeError) or _is_broken(values):
                require_characters_in_rows(rows, str(where))
                raise DataError(f"{where}: column {name!r} holds a value that cannot be kept: {error}") from error
            texts = [None if value is None else as_json(value) for value in values]
            columns[name] = pa.array(texts, pa.string())
            if _are_turns(values):
                continue  # texts in some turns and lists of parts in others, which are read from JSON too
            mixed[name] = f"{where}: column {name!r} mixes types: {_types_of(values)}; write all of its values alike"
    return Part(str(where), pa.table(columns) if columns else pa.table({}), mixed=mixed, said=said)


def fasttext_rows(text: str) -> list[FileRow] | None:
    """Return the lines of a text file where each begins with a label, as fastText reads them; None: one does not."""
    lines = [line for line in text.splitlines() if line.strip()]
    return [{"text": line} for line in lines] if all(map(FASTTEXT.fullmatch, lines)) else None


def typed(values: Sequence[object]) -> pa.Array:
    """Return values as an array; whole numbers beyond 64 bits are text, as they are names of something.

    Raises:
        pa.ArrowException, UnicodeError, OverflowError: they have no one type.
    """
    integers = [value for value in values if value is not None]
    if integers and all(type(value) is int for value in integers) and any(value not in INT64 for value in integers):
        return pa.array([None if value is None else str(value) for value in values], pa.string())
    return pa.array(values)


def _is_broken(values: Sequence[object]) -> bool:
    """Tell whether a text among the values holds half of a character."""
    try:
        as_json(list(values)).encode()
    except UnicodeError:
        return True
    return False


def _are_turns(values: Iterable[object]) -> bool:
    """Tell whether values are lists of the turns of chats."""
    lists = [value for value in values if value is not None]
    if not lists or not all(isinstance(value, list) for value in lists):
        return False
    turns = [turn for value in lists if isinstance(value, list) for turn in value]
    return bool(turns) and all(isinstance(turn, dict) and any(key in turn for key in ROLE_KEYS) for turn in turns)


def _types_of(values: Iterable[object]) -> str:
    first: dict[str, int] = {}
    for number, value in enumerate(values, start=1):
        if value is not None:
            first.setdefault(type(value).__name__, number)
    if len(first) == 1:
        kind, number = next(iter(first.items()))
        return f"{kind} in row {number}, with others inside further down"
    return listing(f"{kind} in row {number}" for kind, number in first.items())
