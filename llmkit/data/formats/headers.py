"""The first lines of a table: whether they are the names of its columns, a title, comments, or already data."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from llmkit.errors import DataError

NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*")
DATE = re.compile(
    r"\d{4}-\d\d-\d\d\b.*|\d{1,2}[/.]\d{1,2}[/.]\d{2,4}\b.*|(Mon|Tue|Wed|Thu|Fri|Sat|Sun)\w* .*\d\d:\d\d.*"
)
ADDRESS = re.compile(r"https?://\S+|[\w.+-]+@[\w-]+\.\w+")
SENTENCE = re.compile(r"\S+(\s+\S+){2,}[.!…]\W*|[^\x00-\x7f]{4,}[。\uff01]\W*", re.DOTALL)
COMMENTS = ("#", "%", "//")
NAMES_OF_COLUMNS = """
    text texts label labels class category sentence sentences sentence1 sentence2 review reviews content comment body
    title headline id idx index name date author url link score rating stars sentiment emotion intent target topic tag
    tags word words token tokens question questions answer answers context prompt completion response instruction
    input output messages chosen rejected source summary article document premise hypothesis query passage description
    message tweet utterance abstract type value user time timestamp language lang split text_a text_b 文本 标签 内容
    texte texto testo titel titre étiquette etiqueta
"""
NAMES = frozenset(NAMES_OF_COLUMNS.split())


@dataclass(frozen=True)
class Record:
    """A row of a table, and the line that it begins in."""

    line: int
    cells: list[str]


def nonblank(cells: Sequence[str]) -> int:
    """Count the cells that hold something."""
    return sum(bool(cell.strip()) for cell in cells)


def refuse_lines_above(where: str, records: Sequence[Record]) -> None:
    """Refuse comments and titles above the header, which would give the columns their names.

    Raises:
        DataError: there are such lines; it names the flag that leaves them out.
    """
    if len(records) < 2:
        return
    _refuse_comments(where, records)
    width = Counter(len(record.cells) for record in records).most_common(1)[0][0]
    first = records[0]
    filled = Counter(nonblank(record.cells) for record in records[1:]).most_common(1)[0][0]
    is_title = nonblank(first.cells) == 1 < filled or (len(first.cells) != width > 1)
    header = next((record for record in records[1:12] if nonblank(record.cells) > 1), None)
    if not is_title or header is None or len(header.cells) != width or not _reads_as_names(header, records):
        return
    raise DataError(
        f"{where}: line {first.line} does not name the columns; the header is in line {header.line}: "
        f"--skip-rows {header.line - 1} leaves out what is above it"
    )


def _refuse_comments(where: str, records: Sequence[Record]) -> None:
    mark = next((mark for mark in COMMENTS if records[0].cells[0].startswith(mark)), None)
    if mark is None:
        return
    after = next((record for record in records if not record.cells[0].startswith(mark)), None)
    if after is None:
        return
    is_header = len(records[0].cells) == len(after.cells) and (len(after.cells) > 1 or " " not in records[0].cells[0])
    if not is_header:
        raise DataError(
            f"{where}: line {records[0].line} begins with {mark} and is no header; "
            f"--comment '{mark}' leaves such lines out, or --skip-rows {after.line - 1} the first ones"
        )


def _reads_as_names(header: Record, records: Sequence[Record]) -> bool:
    cells = [cell.strip() for cell in header.cells if cell.strip()]
    rows = [record for record in records if record.line > header.line]
    is_plain = not any(NUMBER.fullmatch(cell) or SENTENCE.fullmatch(cell) or len(cell) > 60 for cell in cells)
    return is_plain and len(set(cells)) == len(cells) and data_in_header(header, rows) is None


def refuse_data(where: str, header: Record, rows: Sequence[Record]) -> None:
    """Refuse a first line that is already a row.

    Raises:
        DataError: it looks so; it names the cell.
    """
    reason = data_in_header(header, rows)
    if reason is not None:
        raise DataError(
            f"{where}: the first line looks like data and not like the names of the columns: {reason}; --no-header "
            f"reads it as a row and calls the columns column_1 to column_{len(header.cells)}, "
            "or write a line that names the columns above it"
        )


def data_in_header(header: Record, rows: Sequence[Record]) -> str | None:
    """Return which cell of a first line looks like those below it, if one does."""
    rows = [record for record in rows if record.cells != header.cells]
    if not rows or _is_counted(header.cells):
        return None
    is_named = any(cell.strip().lower() in NAMES for cell in header.cells)
    if is_named and not any(len(cell.split()) > 2 for cell in header.cells):
        return None
    numbers = [cell for cell in header.cells if NUMBER.fullmatch(cell)]
    for place, cell in enumerate(header.cells):
        column = [record.cells[place].strip() for record in rows if place < len(record.cells)]
        column = [value for value in column if value]
        again = column.count(cell.strip())
        if not column or not cell.strip() or (is_named and again < 2):
            continue
        if again and _repeats(column, again, is_named):
            times = "once" if again == 1 else f"{again} times"
            return f"{_short(cell)} in column {place + 1} comes again {times} below it"
        kind = None if is_named else _kind_of_data(cell.strip(), len(numbers), len(header.cells))
        if kind is not None and sum(bool(kind[1].fullmatch(value)) for value in column) >= 0.8 * len(column):
            return f"{_short(cell)} in column {place + 1} is {kind[0]}, as the cells below it are"
    return None


def _repeats(column: Sequence[str], again: int, is_named: bool) -> bool:
    """Tell whether a column holds few values that come again and again, the first line's among them."""
    distinct = len(set(column))
    few = distinct <= max(2, len(column) // 2)
    return few and (not is_named or (again >= 3 and again >= 0.05 * len(column)))


def _kind_of_data(cell: str, numbers: int, width: int) -> tuple[str, re.Pattern[str]] | None:
    if NUMBER.fullmatch(cell):
        is_year = re.fullmatch(r"(19|20)\d\d", cell) is not None
        return None if is_year or (numbers > 2 and numbers == width) else ("a number", NUMBER)
    for name, pattern in (("a date", DATE), ("an address", ADDRESS), ("a sentence", SENTENCE)):
        if pattern.fullmatch(cell):
            return name, pattern
    return None


def _is_counted(cells: Sequence[str]) -> bool:
    """Tell whether columns are called 0, 1, 2, ..., as pandas calls them where they have no names."""
    names = [cell.strip() for cell in cells]
    return any(names == [str(start + place) for place in range(len(names))] for start in (0, 1)) or (
        names[:1] == [""] and names[1:] == [str(place) for place in range(len(names) - 1)]
    )


def _short(cell: str) -> str:
    return repr(cell if len(cell) <= 40 else f"{cell[:37]}...")
