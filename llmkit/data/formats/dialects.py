"""How a table is written: what stands between its cells, and what its quotes are, told from its first lines."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from llmkit.data.formats.headers import NAMES as NAMES_OF_COLUMNS
from llmkit.data.formats.headers import Record, nonblank
from llmkit.errors import DataError
from llmkit.options import FileOptions

if TYPE_CHECKING:
    from _csv import Reader

csv.field_size_limit((1 << 31) - 1)  # the module's own limit, 128 KiB, is less than a document
DELIMITERS = ",;\t|"
NAMES = {",": "','", ";": "';'", "\t": "$'\\t'", "|": "'|'"}  # as a shell takes them
HEAD_RECORDS = 200
EXCEL_LINE = re.compile(r'"?sep=(.)"?[^\S\n]*\r?(?:\n|\Z)', re.IGNORECASE)


@dataclass(frozen=True)
class Dialect:
    """How the cells of a table are written."""

    delimiter: str
    quoting: bool = True
    spaces: bool = False  # whether blanks after a delimiter are no part of the cell
    comment: str | None = None
    said: tuple[str, ...] = ()

    @property
    def quoted(self) -> re.Pattern[str]:
        """A quoted cell with what stands before it, to its closing quote or to the end of the text."""
        blanks = " *" if self.spaces else ""
        return re.compile(
            rf'(?P<before>^|{re.escape(self.delimiter)}){blanks}"(?P<cell>[^"]*(?:""[^"]*)*)(?P<end>"|\Z)', re.MULTILINE
        )

    def reader(self, lines: Iterable[str]) -> Reader:
        """Return the rows of lines."""
        return csv.reader(
            lines,
            delimiter=self.delimiter,
            quoting=csv.QUOTE_MINIMAL if self.quoting else csv.QUOTE_NONE,
            skipinitialspace=self.spaces,
        )

    def records(self, text: str, first: int = 1) -> Iterator[Record]:
        """Yield the rows that are not blank, each with the number of its first line.

        Raises:
            csv.Error: a row is no row.
        """
        lines = io.StringIO(text, newline="")
        rows = self.reader(lines)
        before = 0
        for cells in rows:
            if cells:
                yield Record(first + before, cells)
            before = rows.line_num


def delimiter_of(kind: str, text: str) -> str:
    """Return what stands between the cells of a table without a header: what its first line has most of."""
    return "\t" if kind == "tsv" else max(DELIMITERS, key=text.split("\n", 1)[0].count)


def delimiter_in_text(text: str) -> str | None:
    """Return what stands between the cells of a text file whose lines are the rows of a table; None: they are prose.

    Each line has as many tabs; or as many of another mark, and the first line names columns, or a cell at an end of
    the lines comes again and again.
    """
    lines = [line.rstrip("\r") for line in text.split("\n", HEAD_RECORDS)[:HEAD_RECORDS] if line.strip()]
    if len(lines) < 2:
        return None
    for mark in "\t|;,":
        rows = list(csv.reader(lines, delimiter=mark)) if mark == "," else [line.split(mark) for line in lines]
        is_table = len(rows[0]) > 1 and {len(row) for row in rows} == {len(rows[0])} and nonblank(rows[0]) > 1
        if is_table and (mark == "\t" or _is_named(rows[0]) or _has_classes(rows, by_header=mark == ",")):
            return mark
    return None


def _is_named(header: list[str]) -> bool:
    """Tell whether a first line holds usual names of columns and no other."""
    return all(cell.strip().strip('"').lower() in NAMES_OF_COLUMNS for cell in header)


def _has_classes(rows: list[list[str]], by_header: bool) -> bool:
    """Tell whether the first or the last cells of rows are few values that come again and again, under names."""
    ends = [{row[place].strip() for row in rows[1:]} for place in (0, -1)]
    if by_header and (any(" " in cell.strip() for cell in rows[0]) or len(set(rows[0])) < len(rows[0])):
        return False
    return len(rows) > 4 and any(1 < len(values) <= len(rows) / 2 for values in ends)


def excel_line(text: str) -> re.Match[str] | None:
    """Return the first line `sep=;`, with which Excel tells what stands between the cells, if there is one."""
    return EXCEL_LINE.match(text)


def without_comments(text: str, dialect: Dialect) -> str:
    """Return a text with empty lines in place of the lines that begin with the comment's mark, outside of cells."""
    if dialect.comment is None or dialect.comment not in text:
        return text
    comment = rf"^[^\S\n]*{re.escape(dialect.comment)}[^\n]*"
    cells = f"{dialect.quoted.pattern}|" if dialect.quoting and '"' in text else ""
    pattern = re.compile(f"{cells}(?P<comment>{comment})", re.MULTILINE)
    return pattern.sub(lambda found: "" if found["comment"] is not None else found[0], text)


def dialect_of(where: str, kind: str, head: str, options: FileOptions) -> Dialect:
    """Tell how a table is written from its first lines.

    Raises:
        DataError: two delimiters fit alike.
    """
    if options.delimiter is not None:
        return _with_quotes(Dialect(options.delimiter, comment=options.comment), head)
    wanted = "\t" if kind == "tsv" and "\t" in head else DELIMITERS
    found = {mark: _with_quotes(Dialect(mark, comment=options.comment), head) for mark in wanted if mark in head}
    if not found:
        return Dialect(",", comment=options.comment)
    shapes = {mark: _shape(dialect, head) for mark, dialect in found.items()}
    best = max(shapes.values())
    marks = [mark for mark, shape in shapes.items() if shape == best]
    if len(marks) > 1 and best[0] > 0:
        ways = " or ".join(f"--delimiter {NAMES[mark]}" for mark in marks)
        raise DataError(f"{where}: what stands between the cells cannot be told; name it: {ways}")
    return found[marks[0]]


def _shape(dialect: Dialect, head: str) -> tuple[float, float]:
    """Score a delimiter: the share of rows that agree, if they have several cells, and whether the header has it."""
    rows = [record.cells for record in head_records(dialect, head)]
    if not rows:
        return 0.0, 0.0
    counts = Counter(_width(row) for row in rows)
    width, often = max(counts.items(), key=lambda item: (item[1], item[0]))
    if width < 2:
        return 0.0, float(_width(rows[0]) > 1)
    return (1.0 if often == len(rows) else 0.5 * often / len(rows)), float(_width(rows[0]) == width)


def _width(cells: list[str]) -> int:
    """Count the cells, without a last one that is empty: a trailing comma is no cell."""
    return len(cells) - (not cells[-1].strip())


def head_records(dialect: Dialect, head: str) -> list[Record]:
    """Return the first rows; the last of a text that may be cut is left out."""
    records: list[Record] = []
    try:
        for record in dialect.records(without_comments(head, dialect)):
            records.append(record)
            if len(records) >= HEAD_RECORDS:
                break
    except csv.Error:
        pass  # a row further down, which the reader of the whole names
    return [record for record in records if nonblank(record.cells)]


def _with_quotes(dialect: Dialect, head: str) -> Dialect:
    if '"' not in head:
        return dialect
    if dialect.delimiter == "\t":
        return with_tab_quotes(dialect, head)
    if re.search(rf'{re.escape(dialect.delimiter)} +"', head):
        trimmed = replace(dialect, spaces=True)
        if _shape(trimmed, head) > _shape(dialect, head):
            return replace(trimmed, said=("blanks before a quote are no part of the cell",))
    return dialect


def with_tab_quotes(dialect: Dialect, text: str, first: int = 1) -> Dialect:
    """Return a dialect between whose tabs a quote is a character, unless each that opens a cell also closes it."""
    for found in dialect.quoted.finditer(text):
        after = text[found.end() : found.end() + 1]
        is_closed = found["end"] == '"' and after in {"", "\t", "\n", "\r"}
        if not is_closed or ("\n" in found["cell"] and "\t" in found["cell"]):
            line = text.count("\n", 0, found.start("cell")) + first
            sentence = f"quotes are read as characters, as the one that opens a cell in line {line} closes none"
            return replace(dialect, quoting=False, said=(sentence,))
    return dialect
