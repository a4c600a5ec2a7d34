"""Datasets that are read as they are needed: their splits, by name, file, folder or URL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from llmkit import hub
from llmkit.data import files, loading
from llmkit.data.files.batches import texts_of
from llmkit.data.folders import class_folders, files_by_split, split_of
from llmkit.data.formats import Part, tables
from llmkit.data.formats.text import DataFile
from llmkit.data.remote import listed, outline
from llmkit.data.remote.hub_datasets import hub_name, load_splits
from llmkit.data.streams.rows import ClassStream, FileStream, LibraryStream, RowStream
from llmkit.errors import DataError, OptionError
from llmkit.errors.libraries import translated
from llmkit.options import FileOptions
from llmkit.options.urls import is_url, unsigned
from llmkit.output.report import Report


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
