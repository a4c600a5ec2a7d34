"""Rows of a split from its first to its last, a few at a time: what is read is never all in memory.

A text file has a row for each 64,000 characters or so, cut at the end of a line.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset, Features, concatenate_datasets
from datasets.table import InMemoryTable

from llmkit import hub
from llmkit.data import files, loading
from llmkit.errors import DataError, EmptyError, OptionError, brief
from llmkit.errors.libraries import translated
from llmkit.output.report import Report

ROWS = 1000  # of a batch at most, where the format does not say
BLOCK = 1 << 20  # bytes that are read at a time
PIECE = 64_000  # characters of a row that is cut from a text file


@dataclass(frozen=True)
class RowStream:
    """The rows of a split, read anew each time they are asked for; `whole` yields them in batches of its own sizes."""

    whole: Callable[[], Iterator[Dataset]]

    def batches(self, skip: int = 0, limit: int | None = None) -> Iterator[Dataset]:
        """Yield the rows after the first `skip`, up to the row `limit`, with the features of the first batch."""
        features: Features | None = None
        start = 0
        for batch in self.whole():
            features = features or batch.features
            end = start + len(batch)
            first, last = max(start, skip), min(end, end if limit is None else limit)
            if first < last:
                yield _as(batch.select(range(first - start, last - start)), features, start)
            start = end
            if limit is not None and start >= limit:
                return

    def head(self, rows: int, characters: int) -> Dataset:
        """Return the first rows: so many, or fewer where they hold so many characters.

        Raises:
            EmptyError: there is none.
        """
        kept, left = list[Dataset](), float(characters)
        for batch in self.batches(limit=rows):
            sizes = [sum(len(value) for value in row.values() if isinstance(value, str)) for row in batch.to_list()]
            sums = list(accumulate(sizes))
            fitting = min(bisect_left(sums, left) + 1, len(sums))
            kept.append(batch.select(range(fitting)))
            left -= sums[fitting - 1]
            if left <= 0:
                break
        if not kept:
            raise EmptyError("there is no row")
        return concatenate_datasets(kept)


def _as(batch: Dataset, features: Features, start: int) -> Dataset:
    """Return rows with these features, which rows that were read earlier have."""
    if batch.features == features:
        return batch
    try:
        wanted = {name: batch[name][:] if name in batch.column_names else [None] * len(batch) for name in features}
        return Dataset.from_dict(wanted, features=features)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise DataError(
            f"rows {start + 1} to {start + len(batch)} have other columns than the first: {brief(error)}"
        ) from error


@dataclass(frozen=True)
class Streams:
    """A dataset that is read as it is needed: its splits, and where it came from."""

    reference: str
    splits: dict[str, RowStream]
    commit: str | None = None


def open_streams(reference: str, encoding: str, report: Report) -> Streams:
    """Open a dataset without reading it.

    Raises:
        OptionError: it cannot be read twice, as standard input.
        DataError: there is no such dataset, or its format cannot be read in parts.
        HubError: the Hub cannot be reached or refuses access.
    """
    if reference == "-":
        raise OptionError("--streaming reads rows again and again, which standard input cannot give; save it to a file")
    path, config = loading.local_path(reference)
    if path is not None and path.is_file():
        return Streams(reference, {loading.split_of(Path(path.name)): of_files([path], encoding)})
    if path is not None and not config and not (path / "README.md").is_file():
        groups = loading.files_by_split(path)
        return Streams(reference, {split: of_files(found, encoding) for split, found in groups.items()})
    name, config = (str(path), config) if path is not None else loading.hub_name(reference)
    commit = hub.commit("dataset", name, None, report) if path is None else None
    with translated("dataset", name):
        loaded = loading.load_splits(name, config, streaming=True)
    return Streams(reference, {split: RowStream(partial(_of_library, part)) for split, part in loaded.items()}, commit)


def _of_library(part: Any) -> Iterator[Dataset]:
    for batch in part.iter(batch_size=ROWS):
        yield loading.unfolded(Dataset.from_dict(batch, features=part.features))


def of_files(paths: Iterable[Path], encoding: str) -> RowStream:
    """Return the rows of data files, one file after the other.

    Raises:
        DataError: a format that cannot be read in parts.
    """
    found = list(paths)
    for path in found:
        kind = files.format_of(path)
        if kind == "json":
            raise DataError(f"{path} is one JSON value, which is read whole; --streaming takes lines of JSON (.jsonl)")
        if kind in {"parquet", "arrow"} and path.suffix.lower() in files.COMPRESSIONS:
            raise DataError(f"{path} is compressed as a whole; --streaming takes {kind} files as they are")
    return RowStream(lambda: (loading.unfolded(batch) for path in found for batch in _of_file(path, encoding)))


def _of_file(path: Path, encoding: str) -> Iterator[Dataset]:
    kind = files.format_of(path)
    if kind in {"parquet", "arrow"}:
        batches = _of_parquet(path) if kind == "parquet" else _of_arrow(path)
    elif kind in {"csv", "tsv"}:
        batches = _of_table(path, kind, encoding)
    else:
        yield from _of_lines(path, encoding) if kind == "jsonl" else _of_text(path, encoding)
        return
    try:
        for batch in batches:
            yield Dataset(InMemoryTable(pa.Table.from_batches([batch])))
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: {brief(error)}") from error


def _of_parquet(path: Path) -> Iterator[pa.RecordBatch]:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        yield from file.iter_batches(batch_size=ROWS)


def _of_arrow(path: Path) -> Iterator[pa.RecordBatch]:
    with pa.OSFile(str(path)) as source:
        try:
            yield from pa.ipc.open_stream(source)
        except pa.ArrowInvalid:
            reader = pa.ipc.open_file(source)
            yield from (reader.get_batch(number) for number in range(reader.num_record_batches))


def _of_table(path: Path, kind: str, encoding: str) -> Iterator[pa.RecordBatch]:
    import pyarrow.csv

    delimiter = files.delimiter_of(kind, next(_texts(path, encoding), ""))
    with _opened(path) as stream:
        reader = pyarrow.csv.open_csv(
            stream,
            read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=BLOCK, encoding=encoding),
            parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=files.conversion(),
        )
        names = files.checked_header(path, reader.schema.names)
        yield from (pa.RecordBatch.from_arrays(batch.columns, names) for batch in reader)


def _of_lines(path: Path, encoding: str) -> Iterator[Dataset]:
    number = 1
    for text in _texts(path, encoding):
        rows = files.json_lines(text, str(path), number)
        for start in range(0, len(rows), ROWS):
            yield files.from_rows(rows[start : start + ROWS], path)
        number += text.count("\n")


def _of_text(path: Path, encoding: str) -> Iterator[Dataset]:
    for text in _texts(path, encoding):
        piece, pieces, size = list[str](), list[str](), 0
        for line in text.splitlines(keepends=True):
            piece.append(line)
            size += len(line)
            if size >= PIECE:
                pieces.append("".join(piece))
                piece, size = [], 0
        pieces.append("".join(piece))
        yield Dataset.from_dict({"text": [one for one in pieces if one]})


def _opened(path: Path) -> pa.NativeFile:
    try:
        return pa.input_stream(str(path), compression=files.COMPRESSIONS.get(path.suffix.lower()))
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{path} cannot be read: {brief(error)}") from error


def _texts(path: Path, encoding: str) -> Iterator[str]:
    """Yield the text of a file in pieces of whole lines, of about a block each."""
    decoder, rest = files.decoder_of(encoding), ""
    with _opened(path) as stream:
        while True:
            block = stream.read(BLOCK)
            try:
                text = rest + decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{path}: byte {block[error.start]:#04x} is not {encoding}; name the file's encoding, for example "
                    "--encoding latin-1, gb18030 or utf-16"
                ) from None
            if not block:
                break
            end = text.rfind("\n") + 1
            rest = text[end:]
            if end:
                yield text[:end]
    if text:
        yield text
