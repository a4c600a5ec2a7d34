"""Excel workbooks: one sheet, with its cells as text, of which the types are told as those of a CSV."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from llmkit.data.formats.dialects import Dialect
from llmkit.data.formats.headers import Record, nonblank, refuse_data, refuse_lines_above
from llmkit.data.formats.part import Part
from llmkit.data.formats.tables import Layout, part_of
from llmkit.errors import DataError, EmptyError, brief, did_you_mean, listing
from llmkit.errors.extras import require_extra
from llmkit.options import FileOptions


def read(path: Path, sheet: str | None, options: FileOptions) -> Part:
    """Return the rows of a sheet: the named one, or the first.

    Raises:
        DataError: it is no workbook, has no such sheet, or openpyxl is missing.
        EmptyError: the sheet holds no row.
    """
    require_extra(str(path), "excel", "openpyxl", error=DataError)
    from openpyxl import load_workbook

    try:
        book = load_workbook(path, read_only=True, data_only=True)
    except Exception as error:  # a damaged workbook fails in zipfile's, the XML parser's or openpyxl's way
        raise DataError(f"{path} is not a readable xlsx file: {brief(error)}") from error
    try:
        names = [one.title for one in book.worksheets]
        if sheet is not None and sheet not in names:
            raise DataError(f"{path} has no sheet {sheet!r}{did_you_mean(sheet, names)}; it has {listing(names)}")
        name = sheet or names[0]
        records = list(_records(book[name].iter_rows(min_row=options.skip_rows + 1, values_only=True), options))
    finally:
        book.close()
    others = [other for other in names if other != name]
    said = (f"sheet {name!r} is read; {path}:{others[0]} reads another ({listing(others)})",) if others else ()
    return _part(str(path), records, options, said if sheet is None else ())


def _records(rows: Iterable[tuple[object, ...]], options: FileOptions) -> Iterable[Record]:
    for number, row in enumerate(rows, start=options.skip_rows + 1):
        cells = [_text(value) for value in row]
        is_comment = options.comment is not None and bool(cells) and cells[0].lstrip().startswith(options.comment)
        if nonblank(cells) and not is_comment:
            yield Record(number, cells)


def _text(value: object) -> str:
    if value is None:
        return ""
    isoformat = getattr(value, "isoformat", None)
    return isoformat() if isoformat is not None else str(value)


def _part(where: str, records: list[Record], options: FileOptions, said: tuple[str, ...]) -> Part:
    if not records:
        raise EmptyError(f"{where} holds no rows")
    width = max(len(record.cells) for record in records)
    records = [Record(record.line, [*record.cells, *[""] * (width - len(record.cells))]) for record in records]
    if options.header:
        refuse_lines_above(where, records)
        refuse_data(where, records[0], records[1:])
        names = tuple(cell.strip() for cell in records[0].cells)
        records = records[1:]
    else:
        names = tuple(f"column_{number}" for number in range(1, width + 1))
    columns = {str(place): pa.array([record.cells[place] for record in records], pa.string()) for place in range(width)}
    return part_of(where, Layout(Dialect(",", said=said), names, 0, 1), pa.table(columns))
