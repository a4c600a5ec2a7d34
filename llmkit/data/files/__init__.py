"""Local data files into datasets: csv tsv json jsonl parquet txt arrow xlsx sqlite, text and columns as .gz and .zst.

Each reader names the line at fault, which the libraries' own messages do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from llmkit.data.formats import FileRow, Part, binary, conll, databases, spreadsheets, tables
from llmkit.data.formats.dialects import delimiter_in_text, delimiter_of
from llmkit.data.formats.json_values import json_lines, json_rows
from llmkit.data.formats.rows import fasttext_rows, part_of_rows
from llmkit.data.formats.schemas import unified
from llmkit.data.formats.text import COMPRESSIONS, DataFile, bytes_of, decode, decoder_of, warning_of, wrong_encoding
from llmkit.errors import DataError, EmptyError
from llmkit.options import FileOptions
from llmkit.output.report import Report

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = [
    "COMPRESSIONS",
    "FORMATS",
    "DataFile",
    "FileRow",
    "bytes_of",
    "decode",
    "decoder_of",
    "delimiter_of",
    "format_of",
    "from_rows",
    "json_lines",
    "known_format",
    "read_file",
    "read_part",
    "read_rows",
    "wrong_encoding",
]

FORMATS = ("csv", "tsv", "json", "jsonl", "parquet", "txt", "arrow", "xlsx", "sqlite")
ENDINGS = {
    **{name: name for name in FORMATS},
    "ndjson": "jsonl",
    "md": "txt",
    "text": "txt",
    "feather": "arrow",
    "xlsm": "xlsx",
    "db": "sqlite",
    "sqlite3": "sqlite",
    **dict.fromkeys(conll.ENDINGS, "txt"),
}
HOLDERS = {"xlsx": "sheet", "sqlite": "table"}  # formats that hold several tables
OTHERS = {
    "pkl": "is a Python pickle, which can run any code when it is read; write it again where it comes from, "
    "for example pandas.read_pickle(...).to_parquet(...)",
    "xls": "is an old Excel workbook; save it as .xlsx or .csv",
    "h5": "is an HDF5 file; write it again as .parquet or .csv",
}
OTHERS |= {"pickle": OTHERS["pkl"], "hdf5": OTHERS["h5"]}


def format_of(path: DataFile) -> str | None:
    """Return the data format that the file's name ends in, without its compression, or None."""
    return ENDINGS.get(_ending(path))


def _ending(path: DataFile) -> str:
    suffixes = [suffix for suffix in path.suffixes if suffix.lower() not in COMPRESSIONS]
    return suffixes[-1].lower().lstrip(".") if suffixes else ""


def read_file(path: Path, options: FileOptions | None = None, report: Report | None = None) -> Dataset:
    """Read one data file as a dataset with typed columns; a text file becomes one document.

    Raises:
        DataError: an unknown format, a broken row (its line is named), another encoding, a column of mixed types.
        EmptyError: the file holds no row.
    """
    part = read_part(path, options)
    if report is not None:
        part.tell(report)
    return _unmixed(part)


def _unmixed(part: Part) -> Dataset:
    splits, mixed = unified({"train": [part]})
    if mixed:
        raise DataError(next(iter(mixed.values())))
    return splits["train"]


def read_part(path: Path, options: FileOptions | None = None, inside: str | None = None) -> Part:
    """Read one data file, or the sheet or table `inside` it, with its cells as they are written.

    Raises:
        DataError: an unknown format, a broken row (its line is named), another encoding.
        EmptyError: the file holds no row.
    """
    options, kind, where = options or FileOptions(), known_format(path), str(path)
    if inside is not None and kind not in HOLDERS:
        raise DataError(f"{where!r} is a file, which has no configuration {inside!r}")
    if kind == "xlsx":
        part = spreadsheets.read(path, inside, options)
    elif kind == "sqlite":
        part = databases.read(path, inside)
    elif kind in {"parquet", "arrow"}:
        part = binary.read(where, kind, bytes_of(path))
    else:
        part = _of_text(path, kind, options)
    if not part.table.num_rows:
        raise EmptyError(f"{path} holds no rows")
    return part


def _of_text(path: Path, kind: str, options: FileOptions) -> Part:
    text, warning = _text(path, options.encoding)
    part = part_of_text(str(path), kind, text, options)
    return replace(part, warnings=(*part.warnings, warning)) if warning else part


def part_of_text(where: str, kind: str, text: str, options: FileOptions) -> Part:
    """Read a text of some format: csv, tsv, json, jsonl, or txt, whose lines can be rows of a table too.

    Raises:
        DataError: a broken row; its line is named.
    """
    if kind == "txt":
        return _of_lines(where, text, options)
    if kind in {"csv", "tsv"}:
        sentences = conll.read_word_table(text, where, "\t" if kind == "tsv" else ",") if is_plain(options) else None
        return tables.read(where, kind, text, options) if sentences is None else _of_sentences(where, sentences)
    rows, said = json_rows(text, kind, where)
    return part_of_rows(rows, where, said)


def is_plain(options: FileOptions) -> bool:
    """Tell whether nothing is said of how tables are read."""
    return options.delimiter is None and options.header and not options.skip_rows and options.comment is None


def _of_sentences(where: str, sentences: Dataset) -> Part:
    said = f"lines of words and tags are read as CoNLL has them; sentences: {len(sentences)}"
    return Part(where, sentences.data.table, said=(said,))


def _of_lines(where: str, text: str, options: FileOptions) -> Part:
    labelled = fasttext_rows(text)
    sentences = None if labelled else conll.read_conll(text, where, certain=conll.is_named_so(Path(where).name))
    if sentences is not None:
        return _of_sentences(where, sentences)
    if labelled:
        said = (
            "each line is a text, with the __label__NAME that it begins with; to train a classifier, write a table "
            "with the columns text and label"
        )
        return part_of_rows(labelled, where, (said,))
    table_options = options_of_table(where, text, options)
    if table_options is None:
        return Part(where, pa.table({"text": pa.array([text], pa.string())}))
    part = tables.read(where, "csv", text, table_options)
    return replace(part, said=(_table_sentence(table_options), *part.said))


def options_of_table(where: str, text: str, options: FileOptions) -> FileOptions | None:
    """Return how a text file is read whose lines are rows of a table, by a flag or by its first lines; None: prose."""
    if where.lower().endswith(".md"):
        return None
    if options.delimiter is None and not options.header:
        return options
    delimiter = options.delimiter or delimiter_in_text(text)
    return None if delimiter is None else replace(options, delimiter=delimiter)


def _table_sentence(options: FileOptions) -> str:
    mark = "tabs" if options.delimiter == "\t" else repr(options.delimiter)
    between = f" with {mark} between the cells" if options.delimiter else ""
    return f"its lines are rows of a table{between} (in a file called .md, they are one text)"


def read_rows(path: Path, options: FileOptions | None = None, report: Report | None = None) -> list[FileRow]:
    """Read one data file as rows that can be written again as they were: cells of a table stay text.

    A text file has a row for each line, in the column `text`.

    Raises:
        DataError, EmptyError: as `read_file`.
    """
    options, kind, where = options or FileOptions(), known_format(path), str(path)
    if kind in {"txt", "json", "jsonl"}:
        text, _ = _text(path, options.encoding)
        table_options = options_of_table(where, text, options) if kind == "txt" else None
        if table_options is not None:
            return tables.rows_of(where, "csv", text, table_options)
        if kind == "txt":
            lines = text.removesuffix("\n").split("\n")
            return [{"text": line.removesuffix("\r")} for line in lines]
        rows, said = json_rows(text, kind, where)
        part = Part(where, pa.table({}), said=said)
    elif kind == "sqlite":
        rows, part = databases.rows_of(path, None), Part(where, pa.table({}))
    else:
        part = read_part(path, options)
        if part.mixed:
            raise DataError(next(iter(part.mixed.values())))
        rows = part.table.to_pylist()
    if report is not None:
        part.tell(report)
    if not rows:
        raise EmptyError(f"{path} holds no rows")
    return rows


def known_format(path: DataFile) -> str:
    """Return the format of a data file.

    Raises:
        DataError: it is of none that can be read.
    """
    kind, ending = format_of(path), _ending(path)
    if kind is None and ending in OTHERS:
        raise DataError(f"{path} {OTHERS[ending]}")
    if kind is None:
        raise DataError(f"{path}: unknown format; llmkit reads {', '.join(FORMATS)}, also as .gz and .zst")
    if kind in HOLDERS and path.suffix.lower() in COMPRESSIONS:
        raise DataError(f"{path} is compressed; unpack it first, as {kind} is read from the disk")
    return kind


def _text(path: Path, encoding: str) -> tuple[str, str | None]:
    data = bytes_of(path)
    text = decode(data, encoding, str(path))
    if not text.strip():
        raise EmptyError(f"{path} is empty")
    return text, warning_of(data, encoding)


def from_rows(rows: Sequence[FileRow], where: object = "the rows") -> Dataset:
    """Make a dataset of dictionaries; a key that some rows lack is null there.

    Raises:
        DataError: a column mixes types, or holds what arrow cannot.
    """
    return _unmixed(part_of_rows(rows, where))
