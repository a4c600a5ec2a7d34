"""Tables written as text: their cells as they are written, from a whole file or from pieces of whole rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pyarrow as pa

from llmkit.data.formats.dialects import (
    Dialect,
    dialect_of,
    excel_line,
    head_records,
    with_tab_quotes,
    without_comments,
)
from llmkit.data.formats.headers import Record, nonblank, refuse_data, refuse_lines_above
from llmkit.data.formats.part import FileRow, Part
from llmkit.data.formats.quotes import odd_quotes, refuse_swallowed_rows
from llmkit.data.formats.values import as_json
from llmkit.errors import DataError, EmptyError, listing
from llmkit.options import FileOptions

HEAD = 1 << 18  # characters that a table's layout is told from


@dataclass(frozen=True)
class Layout:
    """How a table is laid out: what its cells are called and where its rows begin."""

    dialect: Dialect
    names: tuple[str, ...]  # of all columns, those without a name too
    start: int  # characters above the first row
    line: int  # that the first row begins in


def layout_of(where: str, kind: str, text: str, options: FileOptions) -> Layout:
    """Tell how a table is laid out from its first lines.

    Raises:
        DataError: that cannot be told, lines stand above its header, or it has none.
        EmptyError: there is no line.
    """
    above, line, options, said = _above(text, options)
    head = _head(text[above:])
    dialect = dialect_of(where, kind, head, options)
    dialect = replace(dialect, said=(*said, *dialect.said))
    records = head_records(dialect, head)
    if not records:
        raise EmptyError(f"{where} holds no rows")
    records = [Record(record.line + line - 1, record.cells) for record in records]
    if options.header:
        refuse_lines_above(where, records)
        refuse_data(where, records[0], records[1:])
    names = _names(records, options.header)
    if not options.header:
        return Layout(dialect, names, above, line)
    rows, lines = _after_header(text, above, dialect)
    return Layout(dialect, names, rows, line + lines)


def _above(text: str, options: FileOptions) -> tuple[int, int, FileOptions, tuple[str, ...]]:
    """Return how many characters stand above the table, its first line, and what they say of it."""
    start, line = 0, 1
    for _ in range(options.skip_rows):
        start, line = text.find("\n", start) + 1 or len(text), line + 1
    found = excel_line(text[start : start + 16])
    if found is None:
        return start, line, options, ()
    said = (f"line {line}, {found[0].strip()!r}, tells what stands between the cells",) if not options.delimiter else ()
    return start + found.end(), line + 1, replace(options, delimiter=options.delimiter or found[1]), said


def _head(text: str) -> str:
    if len(text) <= HEAD:
        return text
    return text[: text.rfind("\n", 0, HEAD) + 1] or text


def _names(records: list[Record], has_header: bool) -> tuple[str, ...]:
    cells = records[0].cells
    if not has_header:
        width = len(cells) - (not cells[-1].strip() and all(not record.cells[-1].strip() for record in records))
        names = [f"column_{number}" for number in range(1, max(width, 1) + 1)]
    else:
        names = [cell.strip() for cell in cells]
    after = records[1].cells if len(records) > 1 else cells
    beyond = after[len(names) :]  # a delimiter at the end of each row
    return (*names, *("" for cell in beyond if not nonblank(beyond)))


def _after_header(text: str, above: int, dialect: Dialect) -> tuple[int, int]:
    """Return the characters and the lines to the end of the header."""
    lines = io.StringIO(_head(text[above : above + 2 * HEAD]), newline="")
    size = 0

    def counted() -> Iterator[str]:
        nonlocal size
        for line in lines:
            size += len(line)
            is_comment = dialect.comment is not None and line.lstrip().startswith(dialect.comment)
            yield "\n" if is_comment else line

    rows = dialect.reader(counted())
    next((row for row in rows if nonblank(row)), None)
    return above + size, rows.line_num


def read(where: str, kind: str, text: str, options: FileOptions) -> Part:
    """Return the cells of a table as they are written.

    Raises:
        DataError: its layout cannot be told, or a row is broken, which names its line.
        EmptyError: there is no row.
    """
    layout = layout_of(where, kind, text, options)
    body = text[layout.start :]
    if layout.dialect.delimiter == "\t" and layout.dialect.quoting and '"' in body:
        layout = replace(layout, dialect=with_tab_quotes(layout.dialect, body, layout.line))
    return part_of(where, layout, cells_of(where, layout, body, layout.line))


def cells_of(where: str, layout: Layout, text: str, line: int) -> pa.Table:
    """Return the cells of whole rows, of which the first begins in a line.

    Raises:
        DataError: a row is broken, or a quote takes rows into a cell; its line is named.
    """
    from pyarrow import csv as arrow_csv

    dialect, width = layout.dialect, len(layout.names)
    text = without_comments(text, dialect)
    names = [str(place) for place in range(width)]
    if not text.strip("\r\n"):
        return pa.table({name: pa.array([], pa.string()) for name in names})
    has_quotes = dialect.quoting and '"' in text
    long_cells = odd_quotes(where, dialect, text, line) if has_quotes else []
    if dialect.spaces and has_quotes:
        text = dialect.quoted.sub(lambda found: f'{found["before"]}"{found["cell"]}{found["end"]}', text)
    size = min(max(len(text) * 4, 1 << 20), 1 << 30)
    try:
        table = arrow_csv.read_csv(
            io.BytesIO(text.encode("utf-8", "surrogatepass")),
            read_options=arrow_csv.ReadOptions(use_threads=False, block_size=size, column_names=names),
            parse_options=arrow_csv.ParseOptions(
                delimiter=dialect.delimiter, newlines_in_values=True, quote_char='"' if dialect.quoting else False
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        raise _broken_row(where, layout, text, line) or DataError(f"{where}: {error}") from error
    refuse_swallowed_rows(where, dialect, long_cells, table)
    return _left_trimmed(table) if dialect.spaces else table


def _left_trimmed(table: pa.Table) -> pa.Table:
    import pyarrow.compute as pc

    return pa.table({name: pc.utf8_ltrim(table[name], " ") for name in table.column_names})


def _broken_row(where: str, layout: Layout, text: str, first: int) -> DataError | None:
    """Find the first row that has not as many cells as the header, by its line."""
    dialect, width = layout.dialect, len(layout.names)
    is_longer = width > 1 and not layout.names[-1]  # than the names, by a delimiter at the end of the first row
    wanted = f"the first row has {width}, with an empty last one" if is_longer else f"the header has {width}"
    line = first
    try:
        for record in dialect.records(text, first):
            line = record.line
            if len(record.cells) != width:
                more, mark = len(record.cells) > width, dialect.delimiter
                hint = f"; write a cell that holds {mark!r} in quotes" if more and dialect.quoting else ""
                hint = hint or ("" if more else "; write the cells that it lacks, which can be blank")
                if record.cells[0].startswith("#"):
                    hint = "; --comment '#' leaves out lines that begin with #"
                return DataError(f"{where}, line {record.line}: {len(record.cells)} cells where {wanted}{hint}")
    except csv.Error as error:
        return DataError(f"{where}, line {line}: {error}")
    return None


def part_of(where: str, layout: Layout, table: pa.Table) -> Part:
    """Return the cells with the names of their columns; a last column without name and cells is none.

    A name that two columns have is one column of both cells, as JSON.
    """
    names = list(layout.names)
    arrays = list(table.columns)
    while len(names) > 1 and not names[-1] and _is_blank(arrays[-1]):
        names.pop()
        arrays.pop()
    columns: dict[str, pa.ChunkedArray] = {}
    mixed: dict[str, str] = {}
    for name, array in zip(names, arrays, strict=True):
        if name not in columns:
            columns[name] = array
    for name in twice(names):
        places = [place for place, other in enumerate(names) if other == name]
        cells = zip(*(arrays[place].to_pylist() for place in places), strict=True)
        columns[name] = pa.chunked_array([pa.array([as_json(list(row)) for row in cells], pa.string())])
        numbers = listing(str(place + 1) for place in places)
        mixed[name] = f"{where}: the header names {name!r} twice (columns {numbers}); rename one in the first line"
    return Part(where, pa.table(columns), written=True, mixed=mixed, said=layout.dialect.said)


def _is_blank(array: pa.ChunkedArray) -> bool:
    import pyarrow.compute as pc

    return pc.all(pc.equal(pc.utf8_trim_whitespace(array), "")).as_py() is not False


def twice(names: list[str]) -> list[str]:
    """Return the names that several columns have."""
    return sorted({name for name in names if names.count(name) > 1})


def rows_of(where: str, kind: str, text: str, options: FileOptions) -> list[FileRow]:
    """Return the rows of a table with their cells as text.

    Raises:
        DataError, EmptyError: as `read`, and where two columns have one name.
    """
    part = read(where, kind, text, options)
    if part.mixed:
        raise DataError(next(iter(part.mixed.values())))
    rows: list[FileRow] = part.table.to_pylist()
    return rows
