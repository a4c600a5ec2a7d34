"""Local data files into datasets: csv tsv json jsonl parquet txt arrow, plain or as .gz and .zst.

Each reader names the line at fault, which the libraries' own messages do not.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset
from datasets.table import InMemoryTable

from llmkit.errors import DataError, EmptyError, listing

FORMATS = ("csv", "tsv", "json", "jsonl", "parquet", "txt", "arrow")
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}


def format_of(path: Path) -> str | None:
    """Return the data format that the file's name ends in, without its compression, or None."""
    suffixes = [s for s in path.suffixes if s.lower() not in COMPRESSIONS]
    ending = suffixes[-1].lower().lstrip(".") if suffixes else ""
    return {"ndjson": "jsonl", "md": "txt", "text": "txt"}.get(ending, ending if ending in FORMATS else None)


def read_file(path: Path, encoding: str = "utf-8", lines: bool = False) -> Dataset:
    """Read one data file; a text file becomes one document, or with `lines` a row for each line.

    Raises:
        DataError: an unknown format, a broken row (its line is named), another encoding.
        EmptyError: the file holds no row.
    """
    kind = format_of(path)
    if kind is None:
        raise DataError(f"{path}: unknown format; llmkit reads {', '.join(FORMATS)}, also as .gz and .zst")
    if kind in {"parquet", "arrow"}:
        dataset = _binary(path, kind)
    else:
        text = _text(path, encoding)
        if not text.strip():
            raise EmptyError(f"{path} is empty")
        dataset = _parse(path, kind, text, lines)
    if not len(dataset):
        raise EmptyError(f"{path} holds no rows")
    return dataset


def _parse(path: Path, kind: str, text: str, lines: bool) -> Dataset:
    if kind == "txt":
        return Dataset.from_dict({"text": text.splitlines() if lines else [text]})
    if kind in {"csv", "tsv"}:
        return _table(path, text, "\t" if kind == "tsv" else None)
    return _json_lines(path, text) if kind == "jsonl" else _json(path, text)


def _bytes(path: Path) -> bytes:
    compression = COMPRESSIONS.get(path.suffix.lower())
    try:
        with pa.input_stream(str(path), compression=compression) as stream:
            return bytes(stream.read())
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _text(path: Path, encoding: str) -> str:
    data = _bytes(path)
    try:
        return data.decode("utf-8-sig" if encoding.lower().replace("_", "-") in {"utf-8", "utf8"} else encoding)
    except LookupError:
        raise DataError(f"--encoding {encoding!r} is not a known character encoding") from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {line}: byte {data[error.start] if error.start < len(data) else 0:#04x} is not {encoding}; "
            "name the file's encoding, for example --encoding latin-1, gb18030 or utf-16"
        ) from None


def _table(path: Path, text: str, delimiter: str | None) -> Dataset:
    import pyarrow.csv

    head = text.split("\n", 1)[0]
    delimiter = delimiter or max(",;\t|", key=head.count)
    try:
        table = pyarrow.csv.read_csv(
            io.BytesIO(text.encode()),
            read_options=pyarrow.csv.ReadOptions(
                use_threads=False, block_size=min(max(len(text) * 4, 1 << 20), 1 << 30)
            ),
            parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(null_values=[""], strings_can_be_null=False),
        )
    except pa.ArrowInvalid as error:
        raise _broken_row(path, text, delimiter) or DataError(f"{path}: {error}") from error
    names = [name.strip() for name in table.column_names]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path}: the header names {listing(twice)} twice")
    return Dataset(InMemoryTable(table.rename_columns(names)))


def _broken_row(path: Path, text: str, delimiter: str) -> DataError | None:
    """Find the first row that has not as many cells as the header, by its line."""
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    start = 1
    try:
        header = next(rows)
        for row in rows:
            start, previous = rows.line_num, start
            if row and len(row) != len(header):
                line = previous + 1
                return DataError(f"{path}, line {line}: {len(row)} cells where the header has {len(header)}")
    except csv.Error as error:
        return DataError(f"{path}, line {rows.line_num}: {error}")
    return None


def _json_lines(path: Path, text: str) -> Dataset:
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}, line {number}: not JSON: {error.msg} at column {error.colno}") from None
        if not isinstance(row, dict):
            raise DataError(f'{path}, line {number}: an object such as {{"text": ...}} is wanted, not {line[:40]}')
        rows.append(row)
    return from_rows(rows, path)


def _json(path: Path, text: str) -> Dataset:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        if text.lstrip().startswith("{") and error.msg == "Extra data":  # lines of objects under the name .json
            return _json_lines(path, text)
        raise DataError(f"{path}, line {error.lineno}: not JSON: {error.msg}") from None
    rows = [value] if isinstance(value, dict) else value
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path}: a list of objects is wanted")
    return from_rows(rows, path)


def from_rows(rows: list[dict[str, Any]], where: object = "the rows") -> Dataset:
    """Make a dataset of dictionaries; a key that some rows lack is null there."""
    names = dict.fromkeys(name for row in rows for name in row)
    columns: dict[str, pa.Array] = {}
    for name in names:
        values = [row.get(name) for row in rows]
        try:
            columns[name] = pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise DataError(f"{where}: column {name!r} mixes types: {_mixture(values)}") from error
    return Dataset(InMemoryTable(pa.table(columns)))


def _mixture(values: Iterable[Any]) -> str:
    first: dict[str, int] = {}
    for number, value in enumerate(values, start=1):
        if value is not None:
            first.setdefault(type(value).__name__, number)
    return listing(f"{kind} in row {number}" for kind, number in first.items())


def _binary(path: Path, kind: str) -> Dataset:
    import pyarrow.parquet

    try:
        if kind == "parquet":
            return Dataset(InMemoryTable(pyarrow.parquet.read_table(path)))
        source = pa.BufferReader(_bytes(path))
        try:
            return Dataset(InMemoryTable(pa.ipc.open_stream(source).read_all()))
        except pa.ArrowInvalid:
            return Dataset(InMemoryTable(pa.ipc.open_file(source).read_all()))
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} is not a readable {kind} file: {error}") from error
