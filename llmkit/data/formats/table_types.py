"""The type of a column whose cells are written as text: numbers only where each cell reads back as it is."""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

BLANK = re.compile(rb"[\s\x80-\xff]")
HEAD = 1000  # cells that most columns of text are known by
BOOLS = ({"True", "False"}, {"true", "false"}, {"TRUE", "FALSE"})
DECIMAL = r"^-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?$"
WORD = r"(?i)^-?(?:nan|inf|infinity)$"
EXPONENT = r"[eE]"
EXPONENT_OF_REPR = r"e[-+][0-9]{2,}$"  # as Python writes small and large numbers: 1e-05
FILLED_UP = r"\.[0-9]+0$"  # 1.10, which reads back as 1.1
LONG = r"^-?[0-9]{17,}$"  # more digits than a float keeps
MOST_VERSIONS = 30  # different names with points; scores by hand have more values
LOOKS_NUMERIC = r"^\s*[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\s*$"


def written_kind(column: pa.ChunkedArray) -> str:
    """Return what the cells of a column hold: null, bool, int, float or text."""
    if _kind(column.slice(0, HEAD)) == "text" and _is_plain_text(column.slice(0, HEAD)):
        return "text"
    return _kind(column)


def _is_plain_text(column: pa.ChunkedArray) -> bool:
    """Tell whether a cell of these is no number and no word for true or false, whatever the others are."""
    cells = _filled(column)
    numbers = pc.or_(pc.match_substring_regex(cells, LOOKS_NUMERIC), pc.match_substring_regex(cells, WORD))
    return not (pc.all(numbers).as_py() or set(cells.to_pylist()) <= set().union(*BOOLS))


def _filled(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the cells that hold something, without the blanks around them; each once where most come again."""
    head = column.slice(0, HEAD)
    cells = pc.unique(column) if 2 * len(pc.unique(head)) <= len(head) else column
    if _has_blanks(cells):
        cells = pc.utf8_trim_whitespace(cells)
    return cells.filter(pc.not_equal(cells, ""))


def _has_blanks(cells: pa.Array | pa.ChunkedArray) -> bool:
    """Tell whether blanks may stand in the cells; to look at their bytes is faster than to trim each."""
    chunks = cells.chunks if isinstance(cells, pa.ChunkedArray) else [cells]
    texts = [buffer for chunk in chunks if (buffer := chunk.buffers()[2]) is not None]
    return any(BLANK.search(memoryview(buffer)) is not None for buffer in texts)


def _kind(column: pa.ChunkedArray) -> str:
    cells = _filled(column)
    if not len(cells):
        return "null" if pc.all(pc.equal(column, "")).as_py() is not False else "text"
    if _fits_int64(cells):
        return "int"
    if any(cells[0].as_py() in words for words in BOOLS):
        return "bool" if any(set(pc.unique(cells).to_pylist()) <= words for words in BOOLS) else "text"
    numbers = cells
    if pc.any(pc.match_substring(cells, "n", ignore_case=True)).as_py():  # as in nan and infinity
        numbers = cells.filter(pc.invert(pc.match_substring_regex(cells, WORD)))
    if len(numbers) < len(cells) and _all(numbers, DECIMAL) and not _any(numbers, r"[.eE]"):
        return "float"  # whole numbers beside nan or infinity
    return "float" if _all(numbers, DECIMAL) and _reads_back(numbers, len(column)) else "text"


def _all(cells: pa.Array, pattern: str) -> bool:
    return pc.all(pc.match_substring_regex(cells, pattern)).as_py() is not False


def _any(cells: pa.Array, pattern: str) -> bool:
    return pc.any(pc.match_substring_regex(cells, pattern)).as_py() is True


def _fits_int64(cells: pa.Array) -> bool:
    try:
        pc.cast(cells.slice(0, 100), pa.int64())  # the first ones mostly tell
        return bool(pc.all(pc.equal(pc.cast(pc.cast(cells, pa.int64()), pa.string()), cells)).as_py())
    except pa.ArrowInvalid:
        return False


def _reads_back(numbers: pa.Array, rows: int) -> bool:
    """Tell whether different decimals of so many rows are numbers, and not names such as versions (1.10, 1.1, 2.0)."""
    whole = numbers.filter(pc.invert(pc.match_substring(numbers, ".")))
    if _any(whole, LONG) or (len(whole) == len(numbers) and not _any(numbers, EXPONENT)):
        return False  # whole numbers that no integer holds
    if pc.any(pc.match_substring(numbers, "e", ignore_case=True)).as_py():
        plain = numbers.filter(pc.match_substring_regex(numbers, EXPONENT))
        has_points = len(whole) < len(numbers) and _all(whole, EXPONENT)
        return has_points or _all(plain, EXPONENT_OF_REPR)
    ends = numbers.filter(pc.ends_with(numbers, "0"))
    if not _any(ends, FILLED_UP):
        return True
    numbers = pc.unique(numbers)
    places = pc.utf8_length(pc.replace_substring_regex(numbers, r"^[^.]*\.?", ""))
    if len(pc.unique(places)) == 1 or len(numbers) > MOST_VERSIONS:
        return True
    values = pc.unique(pc.cast(numbers, pa.float64()))
    return len(values) == len(numbers) and 2 * len(numbers) > rows


def converted_cells(column: pa.ChunkedArray, kind: str) -> pa.ChunkedArray:
    """Return cells as values of a kind; a blank one is null where they are no text.

    Raises:
        pa.ArrowInvalid: a cell is no such value.
    """
    if kind == "text":
        return column
    if kind == "null":
        return pa.chunked_array([pa.nulls(len(column))])
    cells = pc.utf8_trim_whitespace(column) if _has_blanks(column) else column
    cells = pc.if_else(pc.equal(cells, ""), pa.scalar(None, pa.string()), cells)
    if kind == "bool":
        return pc.equal(pc.utf8_lower(cells), "true")
    return pc.cast(cells, pa.int64() if kind == "int" else pa.float64())
