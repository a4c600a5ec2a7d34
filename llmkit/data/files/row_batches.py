"""Rows of data files a few at a time, with their cells as they are written: what is read is never all in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pyarrow as pa

from llmkit.data import files
from llmkit.data.files.batches import batches_of_arrow, batches_of_parquet, texts_of, whole_rows
from llmkit.data.formats import FileRow, binary, conll, tables
from llmkit.data.formats.annotations import read_annotations
from llmkit.data.formats.dialects import with_tab_quotes
from llmkit.data.formats.squad import read_squad
from llmkit.data.formats.tables import Layout
from llmkit.errors import DataError, EmptyError
from llmkit.options import FileOptions

Rows = list[FileRow]


def is_read_in_batches(path: Path, options: FileOptions) -> bool:
    """Tell whether `row_batches` reads a file; the layout of the others is told from all that they hold.

    Those are JSON that is one value, sheets, databases, and what the first lines show to be sentences in lines of
    words, annotations or SQuAD's questions.

    Raises:
        DataError: it is of no format that can be read, or in another encoding.
    """
    kind, where = files.known_format(path), str(path)
    if kind in {"parquet", "arrow"}:
        return path.suffix.lower() not in files.COMPRESSIONS
    if kind not in {"csv", "tsv", "txt", "jsonl"}:
        return False
    head = next(texts_of(path, options.encoding), "")
    if kind == "jsonl":
        rows = [] if head.lstrip()[:1] == "[" else files.json_lines(head, where)
        return bool(rows) and read_annotations(rows, where) is None and read_squad(rows, where) is None
    if kind == "txt" or not files.is_plain(options):
        return bool(head.strip())
    return bool(head.strip()) and conll.read_word_table(head, where, "\t" if kind == "tsv" else ",") is None


def row_batches(path: Path, options: FileOptions) -> Iterator[Rows]:
    """Yield the rows of a file that `is_read_in_batches`, as `read_rows` returns them.

    Raises:
        DataError: a row is broken, or the file is in another encoding.
        EmptyError: there is no row, or no text.
    """
    kind = files.known_format(path)
    if kind in {"parquet", "arrow"}:
        yield from _of_columns(path, kind)
        return
    if kind == "txt":
        head = next(texts_of(path, options.encoding), "")
        table_options = files.options_of_table(str(path), head, options)
        if table_options is None:
            yield from _of_lines(path, options)
            return
        kind, options = "csv", table_options
    if kind == "jsonl":
        yield from _of_json_lines(path, options)
        return
    yield from _of_table(path, _layout(path, kind, options), options)


def _of_columns(path: Path, kind: str) -> Iterator[Rows]:
    for batch in batches_of_parquet(path, None) if kind == "parquet" else batches_of_arrow(path):
        part = binary.part_of(str(path), binary.checked(pa.Table.from_batches([batch])))
        if part.mixed:
            raise DataError(next(iter(part.mixed.values())))
        yield part.table.to_pylist()


def _of_lines(path: Path, options: FileOptions) -> Iterator[Rows]:
    is_blank = True
    for text in texts_of(path, options.encoding):
        is_blank = is_blank and not text.strip()
        yield [{"text": line.removesuffix("\r")} for line in text.removesuffix("\n").split("\n")]
    if is_blank:
        raise EmptyError(f"{path} is empty")


def _of_json_lines(path: Path, options: FileOptions) -> Iterator[Rows]:
    number = 1
    for text in texts_of(path, options.encoding):
        yield files.json_lines(text, str(path), number)
        number += text.count("\n")


def _layout(path: Path, kind: str, options: FileOptions) -> Layout:
    """Tell how a table is laid out: from its first lines, and what quotes between tabs are from all lines."""
    pieces = texts_of(path, options.encoding)
    head = next(pieces, "")
    layout = tables.layout_of(str(path), kind, head, options)
    if layout.dialect.delimiter != "\t" or not layout.dialect.quoting:
        return layout
    line = layout.line
    for text in whole_rows(layout.dialect, chain([head[layout.start :]], pieces)):
        dialect = with_tab_quotes(layout.dialect, text, line) if '"' in text else layout.dialect
        if not dialect.quoting:
            return replace(layout, dialect=dialect)
        line += text.count("\n")
    return layout


def _of_table(path: Path, layout: Layout, options: FileOptions) -> Iterator[Rows]:
    pieces = texts_of(path, options.encoding)
    head = next(pieces, "")
    names, line = list[str](), layout.line
    for text in whole_rows(layout.dialect, chain([head[layout.start :]], pieces)):
        part = tables.part_of(str(path), layout, tables.cells_of(str(path), layout, text, line))
        if part.mixed:
            raise DataError(next(iter(part.mixed.values())))
        if names and part.table.column_names != names:
            raise DataError(f"{path}: from line {line} on the last column, which has no name, holds something")
        if part.table.num_rows:
            names = part.table.column_names
            yield part.table.to_pylist()
        line += text.count("\n")
