"""Data files a few rows at a time: what is read is never all in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

import pyarrow as pa
import pyarrow.compute as pc

from llmkit.data import files
from llmkit.data.formats import binary, tables
from llmkit.data.formats.dialects import Dialect
from llmkit.data.formats.rows import fasttext_rows
from llmkit.data.formats.schemas import KINDS as HELD
from llmkit.data.formats.schemas import TYPES as ARROW_TYPES
from llmkit.data.formats.table_types import converted_cells, written_kind
from llmkit.data.formats.text import DataFile, Remote, marked, refuse_unmarked_utf16, stream_of
from llmkit.errors import DataError, brief
from llmkit.options import FileOptions

if TYPE_CHECKING:
    from datasets import Dataset


ROWS_PER_BATCH = 1000  # at most, where the format does not say
BYTES_PER_READ = 1 << 20
CHARACTERS_PER_ROW = 64_000  # of a text file
LONGEST_ROW = 1 << 26  # characters of a row of a table, over which a quote that nothing closes is looked for


@dataclass(frozen=True)
class Piece:
    """A part of a data file that can be read without what is before it."""

    start: int
    end: int
    unit: str = "bytes"

    def __str__(self) -> str:
        return f"{self.unit} {self.start + 1} to {self.end}"


def batches_of(
    path: DataFile, options: FileOptions, kinds: dict[str, str], piece: Piece | None = None
) -> Iterator[Dataset]:
    """Yield the rows of a data file, or of a piece of it.

    Args:
        path: the file.
        options: how it is read.
        kinds: what the columns of tables hold, as the first rows tell; it is added to.
        piece: one of `pieces_of`.

    Raises:
        DataError: the file is broken, or a column holds something else than its first rows.
    """
    from datasets import Dataset
    from datasets.table import InMemoryTable

    kind = files.format_of(path)
    if kind in {"csv", "tsv"}:
        yield from _of_table(path, kind, options, kinds)
        return
    if kind == "txt":
        head = next(texts_of(path, options.encoding), "")
        table_options = files.options_of_table(str(path), head, options)
        if fasttext_rows(head):
            yield from _of_labelled_lines(path, options.encoding, piece)
            return
        if table_options is not None:
            yield from _of_table(path, "csv", table_options, kinds)
            return
    if kind not in {"parquet", "arrow"}:
        of_kind = _of_lines if kind == "jsonl" else _of_text
        yield from of_kind(path, options.encoding, piece)
        return
    try:
        for batch in batches_of_parquet(path, piece) if kind == "parquet" else batches_of_arrow(path):
            part = binary.part_of(str(path), binary.checked(pa.Table.from_batches([batch])))
            yield Dataset(InMemoryTable(part.table))
    except (OSError, pa.ArrowException, UnicodeError) as error:
        raise DataError(f"{path}: {brief(error)}") from error


def batches_of_parquet(path: DataFile, piece: Piece | None) -> Iterator[pa.RecordBatch]:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(_seekable(path)) as file:
        groups = range(piece.start, piece.end) if piece else None
        yield from file.iter_batches(batch_size=ROWS_PER_BATCH, row_groups=groups)


def _seekable(path: DataFile) -> Path | IO[bytes]:
    """Return a file of which parts are read."""
    if isinstance(path, Path):
        return path
    opened = cast("Remote", path).open()
    if not opened.seekable():
        raise DataError(f"{path}: its server sends it whole alone; leave --streaming out, which copies it first")
    return opened


def batches_of_arrow(path: DataFile) -> Iterator[pa.RecordBatch]:
    opened = _seekable(path)
    with pa.OSFile(str(path)) if isinstance(opened, Path) else pa.PythonFile(opened, mode="r") as source:
        try:
            yield from pa.ipc.open_stream(source)
        except pa.ArrowInvalid:
            reader = pa.ipc.open_file(source)
            yield from (reader.get_batch(number) for number in range(reader.num_record_batches))


def _of_table(path: DataFile, kind: str, options: FileOptions, kinds: dict[str, str]) -> Iterator[Dataset]:
    from datasets import Dataset
    from datasets.table import InMemoryTable

    pieces = texts_of(path, options.encoding)
    head = next(pieces, "")
    layout = tables.layout_of(str(path), kind, head, options)
    columns: list[str] = []
    line = layout.line
    for text in whole_rows(layout.dialect, chain([head[layout.start :]], pieces)):
        part = tables.part_of(str(path), layout, tables.cells_of(str(path), layout, text, line))
        mixed = next((sentence for name, sentence in part.mixed.items() if name.strip()), None)
        if mixed is not None:
            raise DataError(mixed)
        if columns and part.table.column_names != columns:
            raise DataError(f"{path}: from line {line} on the last column, which has no name, holds something")
        columns = part.table.column_names
        if part.table.num_rows:
            yield Dataset(InMemoryTable(_typed(f"{path}, from line {line} on", part.table, kinds)))
        line += text.count("\n")


def _typed(where: str, table: pa.Table, kinds: dict[str, str]) -> pa.Table:
    """Return cells with the types that the first rows told; the types of columns that are new are told from these."""
    columns = {}
    for name in table.column_names:
        kind = "text" if kinds.get(name) == "text" else written_kind(table[name])
        before = kinds.setdefault(name, kind)
        if kind != before and kind != "null" and (kind, before) != ("int", "float"):
            raise DataError(
                f"{where}: the column {name!r} does not hold {HELD[before]} alone, as the first rows do; write it "
                "alike in all rows, or leave --streaming out, so that all rows are read before the type is told"
            )
        cells = converted_cells(table[name], kind)
        columns[name] = cells if kind == before or before == "text" else pc.cast(cells, ARROW_TYPES[before])
    return pa.table(columns)


def whole_rows(dialect: Dialect, pieces: Iterable[str]) -> Iterator[str]:
    """Yield the pieces of a table's text cut at the end of a row, and not in a cell that goes over lines."""
    rest = ""
    for piece in pieces:
        text = rest + piece
        end = len(text)
        if dialect.quoting and len(text) < LONGEST_ROW and _is_open(dialect, text):
            line = max((record.line for record in dialect.records(text)), default=1)
            end = 0
            for _ in range(line - 1):
                end = text.find("\n", end) + 1
        rest = text[end:]
        if end:
            yield text[:end]
    if rest:
        yield rest


def _is_open(dialect: Dialect, text: str) -> bool:
    """Tell whether a text ends in a quoted cell that goes on."""
    return '"' in text and any(not cell["end"] for cell in dialect.quoted.finditer(text))


def _of_lines(path: DataFile, encoding: str, piece: Piece | None) -> Iterator[Dataset]:
    number, place = 1, f"{path}, after {piece.start} bytes" if piece else str(path)
    for text in texts_of(path, encoding, piece):
        try:
            rows = files.json_lines(text, str(path), number)
        except DataError:
            if piece is None:
                raise
            rows = files.json_lines(text, str(path), number + _lines_before(path, piece))  # which says the line
        for start in range(0, len(rows), ROWS_PER_BATCH):
            where = f"{place}, from line {number} on"
            yield files.from_rows(rows[start : start + ROWS_PER_BATCH], where)
        number += text.count("\n")


def _lines_before(path: DataFile, piece: Piece) -> int:
    lines, left = 0, piece.start
    with _opened(path) as stream:
        while left and (block := stream.read(min(left, BYTES_PER_READ))):
            lines += block.count(b"\n")
            left -= len(block)
    return lines


def _of_labelled_lines(path: DataFile, encoding: str, piece: Piece | None) -> Iterator[Dataset]:
    from datasets import Dataset

    for text in texts_of(path, encoding, piece):
        lines = [line for line in text.splitlines() if line.strip()]
        for start in range(0, len(lines), ROWS_PER_BATCH):
            yield Dataset.from_dict({"text": lines[start : start + ROWS_PER_BATCH]})


def _of_text(path: DataFile, encoding: str, piece: Piece | None) -> Iterator[Dataset]:
    from datasets import Dataset

    for text in texts_of(path, encoding, piece):
        lines, rows, size = list[str](), list[str](), 0
        for line in text.splitlines(keepends=True):
            lines.append(line)
            size += len(line)
            if size >= CHARACTERS_PER_ROW:
                rows.append("".join(lines))
                lines, size = [], 0
        rows.append("".join(lines))
        yield Dataset.from_dict({"text": [row for row in rows if row]})


def _opened(path: DataFile) -> pa.NativeFile:
    try:
        return stream_of(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{path} cannot be read: {brief(error)}") from error


def texts_of(path: DataFile, encoding: str, piece: Piece | None = None) -> Iterator[str]:
    """Yield the text of a file, or of a piece of it, in parts of whole lines, of about a block each."""
    decoder, rest = None, ""
    with _opened(path) as stream:
        if piece is not None:
            stream.seek(piece.start)
        while True:
            block = stream.read(BYTES_PER_READ if piece is None else min(BYTES_PER_READ, piece.end - stream.tell()))
            if decoder is None:
                encoding = marked(block, encoding)
                refuse_unmarked_utf16(block, encoding, str(path))
                decoder = files.decoder_of(encoding)
            try:
                text = rest + decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                raise files.wrong_encoding(str(path), error.object, error.start, encoding) from None
            if not block:
                break
            end = text.rfind("\n") + 1
            rest = text[end:]
            if end:
                yield text[:end]
    if text:
        yield text
