"""Cells whose text is a list or an object: as JSON, or as Python and numpy write one into a CSV."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping

BETWEEN_ITEMS = re.compile(r"\}\s*\n\s*\{")  # of a numpy array, which has no commas; a line end in a text is written \n


def parsed(text: str) -> list[object] | dict[str, object] | None:
    """Return the list or the object that a text is, or None where it is none."""
    stripped = text.strip()
    if stripped[:1] not in ("[", "{"):
        return None
    try:
        value = json.loads(stripped)
    except (ValueError, RecursionError):
        value = _python_literal(stripped)
    return value if isinstance(value, list | dict) else None


def without_nulls(value: object) -> object:
    """Return a value without the keys that are null, which Arrow gives to objects that lack a key of others."""
    if isinstance(value, Mapping):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def _python_literal(text: str) -> object:
    try:
        return ast.literal_eval(BETWEEN_ITEMS.sub("}, {", text))
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
