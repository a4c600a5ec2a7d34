"""Texts that no encoding can write: halves of characters, and bytes that were read as such."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from llmkit.errors import DataError

SURROGATE = re.compile("[\ud800-\udfff]")


def lone_surrogate(value: object) -> str | None:
    """Return the first half of a character in a text, or in any text of lists and objects, as JSON writes it."""
    if isinstance(value, str):
        found = None if value.isascii() else SURROGATE.search(value)
        return f"\\u{ord(found[0]):04x}" if found else None
    if isinstance(value, Mapping):
        return lone_surrogate([*value, *value.values()])
    if isinstance(value, list | tuple):
        return next((found for found in map(lone_surrogate, value) if found), None)
    return None


def require_characters(value: object, name: str) -> None:
    """Refuse a text that holds half of a character: no tokenizer reads it, and no file can hold it.

    Raises:
        DataError: `name` is what the text is called.
    """
    found = lone_surrogate(value)
    if found is not None:
        raise DataError(
            f"{name} holds {found}, which is half of a character (a lone surrogate); write the whole character, or "
            "remove it"
        )


def require_characters_in_rows(rows: Iterable[Mapping[str, object]], where: str, first: int = 1) -> None:
    """Refuse rows of which a cell, or the name of a column, holds half of a character.

    Raises:
        DataError: naming the row, of which the first has that number, and the column.
    """
    for number, row in enumerate(rows, start=first):
        for column, value in row.items():
            require_characters(column, f"{where}, row {number}: the name of a column")
            if not isinstance(value, int | float):
                require_characters(value, f"{where}, row {number}: column {column!r}")


def from_bytes(text: str) -> str:
    """Return a text of which the system could not read some bytes, read as UTF-8.

    Raises:
        UnicodeError: they are no UTF-8.
    """
    return text.encode("utf-8", "surrogateescape").decode("utf-8") if SURROGATE.search(text) else text
