"""Rows of a split from its first to its last, a few at a time: what is read is never all in memory.

A text file has a row for each 64,000 characters or so, cut at the end of a line.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import pyarrow as pa
from datasets import Dataset, Features, IterableDataset, concatenate_datasets
from datasets.table import InMemoryTable

from llmkit import hub
from llmkit.data import files, loading
from llmkit.data.conversions import Conversion, converted
from llmkit.errors import DataError, EmptyError, OptionError, brief
from llmkit.errors.libraries import translated
from llmkit.options import FileOptions
from llmkit.output.report import Report

ROWS_PER_BATCH = 1000  # at most, where the format does not say
BYTES_PER_READ = 1 << 20
CHARACTERS_PER_ROW = 64_000  # of a text file


class RowStream(ABC):
    """The rows of a split, read anew each time they are asked for."""

    @abstractmethod
    def read(self) -> Iterator[Dataset]:
        """Yield all rows, in batches of sizes that the format gives."""

    def batches(self, skip: int = 0, limit: int | None = None) -> Iterator[Dataset]:
        """Yield the rows after the first `skip`, up to the row `limit`, with the features of the first batch.

        Raises:
            DataError: a row has other columns than the first, or the file is broken.
        """
        features: Features | None = None
        start = 0
        for batch in self.read():
            features = features or batch.features
            end = start + len(batch)
            first, last = max(start, skip), min(end, end if limit is None else limit)
            if first < last:
                yield _with_features(batch.select(range(first - start, last - start)), features, start)
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


@dataclass(frozen=True)
class FileStream(RowStream):
    """The rows of data files, one file after the other."""

    paths: tuple[Path, ...]
    options: FileOptions

    def read(self) -> Iterator[Dataset]:
        for path in self.paths:
            for batch in _of_file(path, self.options.encoding):
                yield loading.unfolded(batch)


@dataclass(frozen=True)
class LibraryStream(RowStream):
    """The rows of a split that the library of datasets streams."""

    rows: IterableDataset

    def read(self) -> Iterator[Dataset]:
        for batch in self.rows.iter(batch_size=ROWS_PER_BATCH):
            yield loading.unfolded(Dataset.from_dict(batch, features=self.rows.features))


@dataclass(frozen=True)
class ConvertedStream(RowStream):
    """The rows of a stream, read in other ways."""

    rows: RowStream
    conversions: tuple[Conversion, ...]

    def read(self) -> Iterator[Dataset]:
        for batch in self.rows.batches():
            yield converted(batch, self.conversions)


def _with_features(batch: Dataset, features: Features, start: int) -> Dataset:
    """Return rows with these features, which rows that were read earlier have."""
    if batch.features == features:
        return batch
    try:
        columns = {name: batch[name][:] if name in batch.column_names else [None] * len(batch) for name in features}
        return Dataset.from_dict(columns, features=features)
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


def open_streams(reference: str, options: FileOptions, report: Report) -> Streams:
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
        return Streams(reference, {loading.split_of(Path(path.name)): stream_files([path], options)})
    if path is not None and not config and not (path / "README.md").is_file():
        groups = loading.files_by_split(path)
        return Streams(reference, {split: stream_files(paths, options) for split, paths in groups.items()})
    name, config = (str(path), config) if path is not None else loading.hub_name(reference)
    commit = hub.commit("dataset", name, None, report) if path is None else None
    with translated("dataset", name):
        loaded = loading.load_splits(name, config, streaming=True)
    return Streams(reference, {split: LibraryStream(rows) for split, rows in loaded.items()}, commit)


def stream_files(paths: Iterable[Path], options: FileOptions) -> RowStream:
    """Return the rows of data files, one file after the other.

    Raises:
        DataError: a format that cannot be read in parts.
    """
    stream = FileStream(tuple(paths), options)
    for path in stream.paths:
        kind = files.format_of(path)
        if kind == "json":
            raise DataError(f"{path} is one JSON value, which is read whole; --streaming takes lines of JSON (.jsonl)")
        if kind in {"parquet", "arrow"} and path.suffix.lower() in files.COMPRESSIONS:
            raise DataError(f"{path} is compressed as a whole; --streaming takes {kind} files as they are")
    return stream


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
        yield from file.iter_batches(batch_size=ROWS_PER_BATCH)


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
        options = files.table_options(delimiter, BYTES_PER_READ, encoding)
        reader = pyarrow.csv.open_csv(stream, **options)
        names = files.checked_header(path, reader.schema.names)
        yield from (pa.RecordBatch.from_arrays(batch.columns, names) for batch in reader)


def _of_lines(path: Path, encoding: str) -> Iterator[Dataset]:
    number = 1
    for text in _texts(path, encoding):
        rows = files.json_lines(text, str(path), number)
        for start in range(0, len(rows), ROWS_PER_BATCH):
            yield files.from_rows(rows[start : start + ROWS_PER_BATCH], path)
        number += text.count("\n")


def _of_text(path: Path, encoding: str) -> Iterator[Dataset]:
    for text in _texts(path, encoding):
        lines, rows, size = list[str](), list[str](), 0
        for line in text.splitlines(keepends=True):
            lines.append(line)
            size += len(line)
            if size >= CHARACTERS_PER_ROW:
                rows.append("".join(lines))
                lines, size = [], 0
        rows.append("".join(lines))
        yield Dataset.from_dict({"text": [row for row in rows if row]})


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
            block = stream.read(BYTES_PER_READ)
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
