"""Local data files into datasets: csv tsv json jsonl parquet txt arrow, plain or as .gz and .zst.

Each reader names the line at fault, which the libraries' own messages do not.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset
from datasets.table import InMemoryTable

from llmkit.data.formats import conll
from llmkit.data.formats.annotations import read_annotations, span_objects
from llmkit.data.formats.squad import read_squad
from llmkit.errors import DataError, EmptyError, listing
from llmkit.options import FileOptions

FORMATS = ("csv", "tsv", "json", "jsonl", "parquet", "txt", "arrow")
csv.field_size_limit((1 << 31) - 1)  # the module's own limit, 128 KiB, is less than a document
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
FileRow = dict[str, Any]  # the cells of a row of a file by column, which can be written again


def format_of(path: Path) -> str | None:
    """Return the data format that the file's name ends in, without its compression, or None."""
    suffixes = [s for s in path.suffixes if s.lower() not in COMPRESSIONS]
    ending = suffixes[-1].lower().lstrip(".") if suffixes else ""
    others = {"ndjson": "jsonl", "md": "txt", "text": "txt", **dict.fromkeys(conll.ENDINGS, "txt")}
    return others.get(ending, ending if ending in FORMATS else None)


def read_file(path: Path, options: FileOptions | None = None) -> Dataset:
    """Read one data file as a dataset with typed columns; a text file becomes one document.

    Raises:
        DataError: an unknown format, a broken row (its line is named), another encoding.
        EmptyError: the file holds no row.
    """
    kind = _format(path)
    if kind in {"parquet", "arrow"}:
        dataset = _binary(path, kind)
    else:
        text = _text(path, (options or FileOptions()).encoding)
        if kind == "txt":
            sentences = conll.read_conll(text, str(path), certain=conll.is_named_so(path.name))
            dataset = Dataset.from_dict({"text": [text]}) if sentences is None else sentences
        elif kind in {"csv", "tsv"}:
            dataset = _table(path, text, delimiter_of(kind, text))
        else:
            dataset = from_rows(_objects(path, kind, text), path)
    if not len(dataset):
        raise EmptyError(f"{path} holds no rows")
    return dataset


def read_rows(path: Path, options: FileOptions | None = None) -> list[FileRow]:
    """Read one data file as rows that can be written again as they were: cells of a table stay text.

    A text file has a row for each line, in the column `text`.

    Raises:
        DataError, EmptyError: as `read_file`.
    """
    kind = _format(path)
    if kind in {"parquet", "arrow"}:
        rows: list[FileRow] = _binary(path, kind).to_list()
    else:
        text = _text(path, (options or FileOptions()).encoding)
        if kind == "txt":
            lines = text.removesuffix("\n").split("\n")
            rows = [{"text": line.removesuffix("\r")} for line in lines]
        elif kind in {"csv", "tsv"}:
            rows = _cells(path, text, delimiter_of(kind, text))
        else:
            rows = _objects(path, kind, text)
    if not rows:
        raise EmptyError(f"{path} holds no rows")
    return rows


def _format(path: Path) -> str:
    kind = format_of(path)
    if kind is None:
        raise DataError(f"{path}: unknown format; llmkit reads {', '.join(FORMATS)}, also as .gz and .zst")
    return kind


def _bytes(path: Path) -> bytes:
    compression = COMPRESSIONS.get(path.suffix.lower())
    try:
        with pa.input_stream(str(path), compression=compression) as stream:
            return bytes(stream.read())
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _text(path: Path, encoding: str) -> str:
    text = decode(_bytes(path), encoding, str(path))
    if not text.strip():
        raise EmptyError(f"{path} is empty")
    return text


def decode(data: bytes, encoding: str, where: str) -> str:
    """Return the text of some bytes; a byte-order mark is no part of it.

    Raises:
        DataError: the bytes are in another encoding, which names the line, or there is no such encoding.
    """
    decoder = decoder_of(encoding)
    try:
        return decoder.decode(data, final=True)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise wrong_encoding(f"{where}, line {line}", data, error.start, encoding) from None


def wrong_encoding(where: str, data: bytes, place: int, encoding: str) -> DataError:
    """Return the error of bytes that are no text in an encoding from some place on."""
    byte = f"byte {data[place]:#04x}" if place < len(data) else "the end"
    return DataError(
        f"{where}: {byte} is not {encoding}; "
        "name the file's encoding, for example --encoding latin-1, gb18030 or utf-16"
    )


def decoder_of(encoding: str) -> codecs.IncrementalDecoder:
    """Return a decoder of bytes that come in parts; a byte-order mark is no part of the text.

    Raises:
        DataError: there is no such encoding.
    """
    is_utf8 = encoding.lower().replace("_", "-") in {"utf-8", "utf8"}
    try:
        return codecs.getincrementaldecoder("utf-8-sig" if is_utf8 else encoding)()
    except LookupError:
        raise DataError(f"--encoding {encoding!r} is not a known character encoding") from None


def delimiter_of(kind: str, text: str) -> str:
    """Return what stands between the cells of a table: what its first line has most of."""
    return "\t" if kind == "tsv" else max(",;\t|", key=text.split("\n", 1)[0].count)


def _table(path: Path, text: str, delimiter: str) -> Dataset:
    import pyarrow.csv

    options = table_options(delimiter, block_size=min(max(len(text) * 4, 1 << 20), 1 << 30))
    try:
        table = pyarrow.csv.read_csv(io.BytesIO(text.encode()), **options)
    except pa.ArrowInvalid as error:
        raise _broken_row(path, text, delimiter) or DataError(f"{path}: {error}") from error
    return Dataset(InMemoryTable(table.rename_columns(checked_header(path, table.column_names))))


def table_options(delimiter: str, block_size: int, encoding: str = "utf-8") -> dict[str, object]:
    """Return how pyarrow reads a table, block by block in bytes; an empty cell is null where it is no text."""
    from pyarrow import csv as arrow_csv

    return {
        "read_options": arrow_csv.ReadOptions(use_threads=False, block_size=block_size, encoding=encoding),
        "parse_options": arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        "convert_options": arrow_csv.ConvertOptions(null_values=[""], strings_can_be_null=False),
    }


def checked_header(path: Path, cells: list[str]) -> list[str]:
    """Return the names of a table's columns.

    Raises:
        DataError: two are the same.
    """
    names = [name.strip() for name in cells]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path}: the header names {listing(twice)} twice")
    return names


def _cells(path: Path, text: str, delimiter: str) -> list[FileRow]:
    broken = _broken_row(path, text, delimiter)
    if broken is not None:
        raise broken
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    names = checked_header(path, next(rows))
    return [dict(zip(names, row, strict=True)) for row in rows if row]


def _broken_row(path: Path, text: str, delimiter: str) -> DataError | None:
    """Find the first row that has not as many cells as the header, by its line."""
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        header = next(rows)
        before = rows.line_num
        for row in rows:
            if row and len(row) != len(header):
                return DataError(f"{path}, line {before + 1}: {len(row)} cells where the header has {len(header)}")
            before = rows.line_num
    except csv.Error as error:
        return DataError(f"{path}, line {rows.line_num}: {error}")
    return None


def _objects(path: Path, kind: str, text: str) -> list[FileRow]:
    if kind == "jsonl":
        rows = json_lines(text, str(path))
        return read_squad(rows, str(path)) or rows
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        if text.lstrip().startswith("{") and error.msg == "Extra data":  # lines of objects under the name .json
            return json_lines(text, str(path))
        raise DataError(f"{path}, line {error.lineno}: not JSON: {error.msg}") from None
    claimed = read_annotations(value, str(path)) or read_squad(value, str(path))
    if claimed is not None:
        return claimed
    rows = [value] if isinstance(value, dict) else value
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path}: a list of objects is wanted")
    return rows


def json_lines(text: str, where: str, first: int = 1) -> list[FileRow]:
    """Return the objects of JSON lines, of which the first has that number.

    Raises:
        DataError: a line is not an object in JSON; its number is named.
    """
    rows = []
    for number, line in enumerate(text.split("\n"), start=first):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{where}, line {number}: not JSON: {error.msg} at column {error.colno}") from None
        if not isinstance(row, dict):
            raise DataError(f'{where}, line {number}: an object such as {{"text": ...}} is wanted, not {line[:40]}')
        rows.append(row)
    return rows


def from_rows(rows: list[FileRow], where: object = "the rows") -> Dataset:
    """Make a dataset of dictionaries; a key that some rows lack is null there.

    Raises:
        DataError: a column mixes types, or holds what arrow cannot.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    columns: dict[str, pa.Array] = {}
    for name in names:
        cells = [row.get(name) for row in rows]
        values = span_objects(cells) or cells  # arrow cannot hold [start, end, label]
        try:
            columns[name] = pa.array(values)
        except (pa.ArrowException, UnicodeError, OverflowError) as error:
            types = _types_of(values)
            reason = f"mixes types: {types}" if "," in types else f"holds a value that cannot be kept: {error}"
            raise DataError(f"{where}: column {name!r} {reason}") from error
    return Dataset(InMemoryTable(pa.table(columns)))


def _types_of(values: Iterable[object]) -> str:
    first: dict[str, int] = {}
    for number, value in enumerate(values, start=1):
        if value is not None:
            first.setdefault(type(value).__name__, number)
    return listing(f"{kind} in row {number}" for kind, number in first.items())


def _binary(path: Path, kind: str) -> Dataset:
    import pyarrow.parquet

    try:
        if kind == "parquet":
            return Dataset(InMemoryTable(pyarrow.parquet.read_table(pa.BufferReader(_bytes(path)))))
        source = pa.BufferReader(_bytes(path))
        try:
            return Dataset(InMemoryTable(pa.ipc.open_stream(source).read_all()))
        except pa.ArrowInvalid:
            return Dataset(InMemoryTable(pa.ipc.open_file(source).read_all()))
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} is not a readable {kind} file: {error}") from error
