"""Lists as text: as JSON, Python or numpy write them, which is how a CSV holds them, or items with blanks between."""

from __future__ import annotations

import ast
import json
import re

ITEM = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[-+]?[0-9][0-9.eE+-]*|None|null|nan"""
ITEMS = re.compile(ITEM, re.DOTALL)
PYTHON_LIST = re.compile(rf"[\[(]\s*(?:(?:{ITEM})\s*,?\s*)*[\])]", re.DOTALL)
ARRAY = re.compile(r"(?:np\.|numpy\.)?array\((.*?)(?:,\s*dtype=[^)]*)?\)", re.DOTALL)
NULLS = frozenset({"None", "null", "nan"})


def list_in(text: str) -> list[object] | None:
    """Return the list that a text spells in JSON, in Python or as numpy prints it, or None where it is no list."""
    text = text.strip()
    array = ARRAY.fullmatch(text)
    if array is not None:
        text = array[1].strip()
    if not text.startswith(("[", "(")):
        return None
    try:
        value = json.loads(text)
        return value if isinstance(value, list) else None
    except ValueError:
        pass
    if not PYTHON_LIST.fullmatch(text):
        return None
    return [None if item in NULLS else ast.literal_eval(item) for item in ITEMS.findall(text)]


def items_in(text: str, separator: str | None) -> list[str]:
    """Return the items of a text: between separators, or between blanks where that is None; without blanks around."""
    pieces = text.split() if separator is None else text.split(separator)
    return [piece.strip() for piece in pieces]
