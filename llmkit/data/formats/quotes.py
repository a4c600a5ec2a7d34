"""Quoted cells that go over several lines: refused where it is likely that a lone quote takes rows into a cell."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmkit.data.formats.dialects import Dialect
from llmkit.data.formats.headers import Record
from llmkit.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

LONGEST_LABEL = 60  # characters of a value that is looked for in swallowed lines


@dataclass(frozen=True)
class LongCell:
    """A cell over several lines."""

    line: int  # that it begins in
    place: int  # of its column, from 0
    lines: tuple[str, ...]


def odd_quotes(where: str, dialect: Dialect, text: str, first: int) -> list[LongCell]:
    """Return the cells that go over several lines.

    Raises:
        DataError: the quote of one is closed nowhere, or more text stands behind the closing one.
    """
    return list(_long_cells(where, dialect, text, first))


def _long_cells(where: str, dialect: Dialect, text: str, first: int) -> Iterator[LongCell]:
    pattern, position = dialect.quoted, 0
    start, number = 0, first
    for line in text.split("\n"):
        end = start + len(line)
        if start >= position and line.count('"') % 2:  # only in such a line can a cell begin that goes on
            for found in pattern.finditer(text, start):
                if found.start() > end:
                    break
                cell = found["cell"]
                begins = number + text.count("\n", start, found.start("cell"))
                if "\n" in cell or not found["end"]:
                    _refuse_odd(f"{where}, line {begins}", dialect, found)
                    yield LongCell(begins, _place(dialect, text[start : found.start()], found["before"]), _split(cell))
                    end = text.find("\n", found.end()) if "\n" in text[found.end() :] else len(text)
            position = end
        start, number = start + len(line) + 1, number + 1


def _split(cell: str) -> tuple[str, ...]:
    return tuple(line.removesuffix("\r") for line in cell.split("\n"))


def _place(dialect: Dialect, text: str, before: str) -> int:
    """Return the number of cells in the row before a cell that follows a text."""
    if not before:
        return 0
    return len(next(iter(list(dialect.records(text))[-1:]), Record(0, [""])).cells)


def _refuse_odd(where: str, dialect: Dialect, found: re.Match[str]) -> None:
    is_closed = bool(found["end"])
    after = found.string[found.end() : found.end() + 1]
    if is_closed and after in {"", "\n", "\r", dialect.delimiter}:
        return
    ends = "and more text stands behind the quote that closes it" if is_closed else "and nothing closes it"
    raise DataError(
        f"{where}: a quote opens a cell that goes over {found['cell'].count(chr(10)) + 1} lines, {ends}; "
        'take the quote away, or write the cell in quotes with each quote in it doubled ("")'
    )


def refuse_swallowed_rows(where: str, dialect: Dialect, cells: Sequence[LongCell], table: pa.Table) -> None:
    """Refuse cells over several lines that are rows themselves: as many cells, and a label among them.

    Raises:
        DataError: there is one; its line and the number of lines are named.
    """
    width = table.num_columns
    if not cells or width < 2:
        return
    labels = [_labels(table.column(place)) for place in range(width)]
    for cell in cells:
        parts = [line.split(dialect.delimiter) for line in cell.lines]
        whole = [_holds(part, labels) for part in parts[1:-1] if len(part) == width]
        proofs = [len(whole) == len(parts) - 2, *whole]
        after, before = width - 1 - cell.place, cell.place
        if after:
            proofs.append(len(parts[0]) == after + 1 and _holds(parts[0][1:], labels[cell.place + 1 :]))
        if before:
            proofs.append(len(parts[-1]) == before + 1 and _holds(parts[-1][:-1], labels[:before]))
        if all(proofs):
            raise DataError(
                f"{where}, line {cell.line}: a quote opens a cell that takes {len(cell.lines)} lines, which look like "
                'rows; take the quote away, or write the cell in quotes with each quote in it doubled ("")'
            )


def _labels(column: pa.ChunkedArray) -> frozenset[str]:
    """Return the values that come again in a column of few values."""
    import pyarrow.compute as pc

    counts = pc.value_counts(column)
    if len(counts) > max(2, len(column) // 2):
        return frozenset()
    values = zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True)
    return frozenset(value for value, count in values if count > 1 and value and len(value) <= LONGEST_LABEL)


def _holds(cells: Sequence[str], labels: Sequence[frozenset[str]]) -> bool:
    return any(cell in known for cell, known in zip(cells, labels, strict=True))
