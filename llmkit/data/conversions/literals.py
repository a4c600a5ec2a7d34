"""Values that a cell spells as text: JSON, Python's repr or numpy's, as pandas writes lists and dictionaries."""

from __future__ import annotations

import ast
import io
import json
import math
import re
import tokenize
import warnings
from collections.abc import Iterator, Mapping

OPENING = ("[", "{", "(", "array(", "np.array(", "numpy.array(")
NAMES = {"null": None, "nan": math.nan, "NaN": math.nan, "true": True, "false": False}
ARRAYS = {"array", "np", "numpy"}
# what may be numpy's: a call, or items with nothing but a blank between them, which Python would join
NUMPY_LIKE = re.compile(r"array\(|[\"'\d.]\s+[\"'\d+-]")
BETWEEN_OBJECTS = re.compile(r"\}\s*\n\s*\{")  # numpy writes no commas; a line end in a text is written \n
OPERANDS = frozenset({tokenize.STRING, tokenize.NUMBER})


def value_of(cell: object) -> object:
    """Return the list or dictionary that a text spells; anything else, and a text that spells none, as it is."""
    if not isinstance(cell, str):
        return cell
    text = BETWEEN_OBJECTS.sub("}, {", cell.strip())
    if not text.startswith(OPENING):
        return cell
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # "\d" in a text that is no Python after all
            source = _with_commas(text) if NUMPY_LIKE.search(text) else text
            return _evaluated(ast.parse(source, mode="eval").body)
    except (ValueError, SyntaxError, RecursionError, MemoryError, tokenize.TokenError):
        return cell


def parsed(text: str) -> list[object] | dict[str, object] | None:
    """Return the list or the object that a text spells, or None where it spells none."""
    value = value_of(text)
    return value if isinstance(value, list | dict) else None


def without_nulls(value: object) -> object:
    """Return a value without the keys that are null, which Arrow gives to objects that lack a key of others."""
    if isinstance(value, Mapping):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def _evaluated(node: ast.expr) -> object:
    """Return the value of a literal; a tuple, a set and an array are lists.

    Raises:
        ValueError: it is no literal.
    """
    if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float | None):
        return node.value
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return [_evaluated(item) for item in node.elts]
    if isinstance(node, ast.Dict) and None not in node.keys:
        keys = [key for key in node.keys if key is not None]
        return {_evaluated(key): _evaluated(value) for key, value in zip(keys, node.values, strict=True)}
    if isinstance(node, ast.Name) and node.id in NAMES:
        return NAMES[node.id]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
        value = node.operand.value
        if isinstance(value, int | float):
            return -value
    if isinstance(node, ast.Call) and node.args and _is_array(node.func):
        return _evaluated(node.args[0])
    raise ValueError("no literal")


def _is_array(function: ast.expr) -> bool:
    return (isinstance(function, ast.Name) and function.id == "array") or (
        isinstance(function, ast.Attribute)
        and function.attr == "array"
        and isinstance(function.value, ast.Name)
        and function.value.id in ARRAYS
    )


def _with_commas(text: str) -> str:
    """Return a literal with a comma between items that numpy writes with none: ['a' 'b'], [1 0]."""
    return " ".join(_separated(text))


def _separated(text: str) -> Iterator[str]:
    last: tokenize.TokenInfo | None = None
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in {tokenize.NL, tokenize.NEWLINE, tokenize.ENDMARKER}:
            continue
        is_item = token.type in OPERANDS or token.string in {"-", "[", "{"}
        if last is not None and is_item and (last.type in OPERANDS or last.string in {"]", "}"}):
            yield ","
        yield token.string
        last = token
