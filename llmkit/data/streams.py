"""Rows of a split from its first to its last, a few at a time: what is read is never all in memory.

A text file has a row for each 64,000 characters or so, cut at the end of a line.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, zip_longest
from pathlib import Path

import pyarrow as pa
from datasets import Dataset, Features, IterableDataset, concatenate_datasets

from llmkit import hub
from llmkit.data import files, loading
from llmkit.data.conversions import Conversion, converted
from llmkit.data.conversions.languages import unfolded
from llmkit.data.files.batches import ROWS_PER_BATCH, batches_of, texts_of
from llmkit.data.folders import class_folders, files_by_split, split_of
from llmkit.data.formats import Part, tables
from llmkit.data.formats.text import DataFile
from llmkit.data.remote import listed, outline
from llmkit.data.remote.hub_datasets import hub_name, load_splits
from llmkit.errors import DataError, EmptyError, OptionError, brief
from llmkit.errors.libraries import translated
from llmkit.options import FileOptions
from llmkit.options.urls import is_url, unsigned
from llmkit.output.report import Report


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

    paths: tuple[DataFile, ...]
    options: FileOptions

    def read(self) -> Iterator[Dataset]:
        kinds: dict[str, str] = {}  # of the columns of tables, as the first rows tell them
        for path in self.paths:
            for batch in batches_of(path, self.options, kinds):
                yield unfolded(batch)


@dataclass(frozen=True)
class ClassStream(RowStream):
    """The texts of a folder per class, in turns."""

    by_class: Mapping[str, tuple[DataFile, ...]]
    options: FileOptions

    def read(self) -> Iterator[Dataset]:
        turns = zip_longest(*([(path, name) for path in self.by_class[name]] for name in sorted(self.by_class)))
        pairs = [pair for turn in turns for pair in turn if pair is not None]
        for start in range(0, len(pairs), ROWS_PER_BATCH):
            rows = pairs[start : start + ROWS_PER_BATCH]
            texts = [files.decode(files.bytes_of(path), self.options.encoding, str(path)) for path, _ in rows]
            yield Dataset.from_dict({"text": texts, "label": [name for _, name in rows]})


@dataclass(frozen=True)
class LibraryStream(RowStream):
    """The rows of a split that the library of datasets streams."""

    rows: IterableDataset

    def read(self) -> Iterator[Dataset]:
        for batch in self.rows.iter(batch_size=ROWS_PER_BATCH):
            yield unfolded(Dataset.from_dict(batch, features=self.rows.features))


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
    rows = f"rows {start + 1} to {start + len(batch)}"
    for name in features:
        before, after = (_kind(part.get(name)) for part in (features, batch.features))
        if before and after and before != after:
            raise DataError(
                f"{rows} hold {after} in the column {name!r} where the first rows hold {before}; write it alike in all "
                "rows, or leave --streaming out, so that all rows are read before the type is told"
            )
    try:
        columns = {name: batch[name][:] if name in batch.column_names else [None] * len(batch) for name in features}
        return Dataset.from_dict(columns, features=features)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise DataError(f"{rows} have other columns than the first: {brief(error)}") from error


def _kind(feature: object) -> str | None:
    """Return what a column holds where that is one value, or None."""
    kind = getattr(feature, "dtype", None)
    if not isinstance(kind, str):
        return None
    if kind in {"string", "large_string"}:
        return "text"
    return {"bool": "true or false"}.get(kind, "numbers" if kind.startswith(("int", "uint", "float")) else None)


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
    reference = unsigned(reference)
    if is_url(reference):
        return _of_store(reference, options, report)
    path, config = loading.local_path(reference)
    if path is not None and path.is_file():
        return Streams(reference, {split_of(Path(path.name)): stream_files([path], options, report)})
    if path is not None and not config and not (path / "README.md").is_file():
        return Streams(reference, _of_folder(path, options, report))
    name, config = (str(path), config) if path is not None else hub_name(reference)
    commit = hub.commit("dataset", name, None, report) if path is None else None
    with translated("dataset", name):
        loaded = load_splits(name, config, streaming=True)
    return Streams(reference, {split: LibraryStream(rows) for split, rows in loaded.items()}, commit)


def _of_store(reference: str, options: FileOptions, report: Report) -> Streams:
    """Return the splits of remote files, of which none is read yet.

    Which file is of which split is told as in a folder here: from one of empty files with the same names and sizes.
    """
    listing = listed(reference)
    if not listing.is_folder:
        (file,) = listing.objects.values()
        return Streams(reference, {split_of(Path(file.name)): stream_files([file], options, report)})
    with outline(listing) as names:
        splits = _of_folder(names.path, options, names.report(report), listing.objects)
    return Streams(reference, splits)


def _of_folder(
    folder: Path, options: FileOptions, report: Report, elsewhere: Mapping[str, DataFile] | None = None
) -> dict[str, RowStream]:
    """Return the splits of a folder; `elsewhere` holds its files by name where these are only their names."""

    def found(paths: Iterable[Path]) -> tuple[DataFile, ...]:
        return tuple(elsewhere[path.relative_to(folder).as_posix()] if elsewhere else path for path in paths)

    classes = class_folders(folder)
    if classes is None:
        groups = files_by_split(folder, report)
        return {split: stream_files(found(paths), options, report) for split, paths in groups.items()}
    report.say(classes.sentence)
    return {
        split: ClassStream({name: found(paths) for name, paths in by_class.items()}, options)
        for split, by_class in classes.splits.items()
    }


def stream_files(paths: Iterable[DataFile], options: FileOptions, report: Report | None = None) -> RowStream:
    """Return the rows of data files, one file after the other; how tables are read is said.

    Raises:
        DataError: a format that cannot be read in parts, or a table whose layout cannot be told.
    """
    stream = FileStream(tuple(paths), options)
    for path in stream.paths:
        kind = files.known_format(path)
        if kind == "json":
            raise DataError(f"{path} is one JSON value, which is read whole; --streaming takes lines of JSON (.jsonl)")
        if kind in files.HOLDERS:
            raise DataError(f"{path} is read whole; leave --streaming out, or save it as .csv or .jsonl")
        if kind in {"parquet", "arrow"} and path.suffix.lower() in files.COMPRESSIONS:
            raise DataError(f"{path} is compressed as a whole; --streaming takes {kind} files as they are")
        if kind in {"csv", "tsv"} and report is not None:
            head = next(texts_of(path, options.encoding), "")
            layout = tables.layout_of(str(path), kind, head, options)
            Part(str(path), pa.table({}), said=layout.dialect.said).tell(report)
            report = report if isinstance(path, Path) else None  # one is enough: each is fetched for it
    return stream
