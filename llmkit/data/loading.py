"""Open a dataset by what the user typed: a benchmark, a Hub name, a file, a folder, or `-` for stdin."""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from llmkit import hub
from llmkit.data import files
from llmkit.data.conversions import Conversion, converted
from llmkit.data.conversions.languages import unfolded
from llmkit.data.folders import WHOLE_NAMES, read_folder, split_of
from llmkit.data.formats import Part
from llmkit.data.formats.json_values import is_json
from llmkit.data.formats.schemas import between_splits, unified
from llmkit.data.remote import copied
from llmkit.data.remote.hub_datasets import hub_name, load_splits
from llmkit.errors import DataError, EmptyError, OptionError, did_you_mean
from llmkit.errors.libraries import translated
from llmkit.options import FileOptions
from llmkit.options.urls import STORES, folder_name, is_url, unsigned
from llmkit.output.report import Report

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict


@dataclass(frozen=True)
class Source:
    """An opened dataset and where it came from."""

    reference: str
    splits: DatasetDict
    benchmark: str | None = None  # "glue/mrpc": the name that benchmarks' own metrics go by
    commit: str | None = None
    conversions: tuple[Conversion, ...] = ()  # that its rows went through
    mixed: Mapping[str, str] = field(default_factory=dict)  # columns without one type: what is wrong, and what to do

    @property
    def slug(self) -> str:
        """A short name for folders: mrpc, reviews."""
        if is_url(self.reference):
            return folder_name(self.reference)
        name = "stdin" if self.reference == "-" else self.reference.rstrip("/").replace(":", "/").split("/")[-1]
        return name.split(".")[0] or "data"

    @property
    def is_file(self) -> bool:
        """Whether it is one file."""
        if is_url(self.reference):
            return files.format_of(Path(folder_name(self.reference, whole=True))) is not None
        return self.reference == "-" or Path(self.reference).is_file()

    def any(self) -> Dataset:
        """The split that columns and features are read from: train if there is one."""
        return self.splits.get("train", next(iter(self.splits.values())))

    def convert(self, conversions: Iterable[Conversion]) -> Source:
        """Return the dataset with its rows read in other ways."""
        from datasets import DatasetDict

        new = tuple(conversions)
        splits = DatasetDict({name: converted(part, new) for name, part in self.splits.items()})
        written = {name for one in new for name in one.writes}
        mixed = {name: sentence for name, sentence in self.mixed.items() if name not in written}
        return replace(self, splits=splits, conversions=(*self.conversions, *new), mixed=mixed) if new else self


def weights_of(references: Iterable[str]) -> dict[str, float]:
    """Return the weight of each dataset that `a.jsonl@2` and the like name: how often its rows come in an epoch.

    Raises:
        OptionError: a weight is no number above 0, or a dataset is named twice.
    """
    weights: dict[str, float] = {}
    for reference in references:
        name, weight = _weight_of(reference)
        if name in weights:
            raise OptionError(f"{name} is named twice; a weight, as in {name}@2, lets its rows come more often")
        weights[name] = weight
    return weights


def _weight_of(reference: str) -> tuple[str, float]:
    name, mark, weight = reference.rpartition("@")
    if not mark or not name or Path(reference).expanduser().exists():
        return reference, 1.0
    try:
        value = float(weight)
    except ValueError:
        if is_url(reference):  # hf://datasets/owner/name@revision
            return reference, 1.0
        value = math.nan
    if not 0 < value < math.inf:
        raise OptionError(f"{reference}: a weight is a number above 0, as in {name}@2, not {weight!r}")
    return name, value


def open_dataset(
    reference: str,
    options: FileOptions | None = None,
    *,
    revision: str | None = None,
    report: Report | None = None,
    text_columns: Collection[str] = (),
) -> Source:
    """Open `reference` and return its splits, with one type for each column; `Source.mixed` names those without one.

    Args:
        reference: a benchmark, a Hub name, a file, a sheet or table of a file, a folder, or `-` for stdin.
        options: how files are read.
        revision: of a dataset on the Hub.
        report: where it is said how files were read.
        text_columns: columns of files that are text whatever they look like, as they are in other rows of the same use.

    Raises:
        DataError: there is no such dataset, configuration or file, or a row is broken.
        EmptyError: it holds no rows.
        HubError: the Hub cannot be reached or refuses access.
    """
    from datasets import DatasetDict

    reference = unsigned(reference)
    source = _opened(reference, revision, Reading(options or FileOptions(), report or Report(), text_columns))
    return replace(source, splits=DatasetDict({name: unfolded(part) for name, part in source.splits.items()}))


@dataclass(frozen=True)
class Reading:
    """How files are read, and where that is said."""

    options: FileOptions
    report: Report
    text_columns: Collection[str]

    def source(self, reference: str, parts: Mapping[str, Sequence[Part]], benchmark: str | None = None) -> Source:
        """Return files as a dataset."""
        splits, mixed = unified(parts, self.text_columns)
        return Source(reference, splits, benchmark, mixed=mixed)


def _opened(reference: str, revision: str | None, reading: Reading) -> Source:
    if reference == "-":
        return reading.source(reference, {"train": [_stdin(reading.options, reading.report)]})
    if is_url(reference):
        return _from_store(reference, reading)
    path, config = local_path(reference)
    if path is None:
        return _from_hub(reference, revision, reading.report)
    return _from_disk(reference, path, config, reading)


def _from_store(reference: str, reading: Reading) -> Source:
    copy = copied(reference)
    with copy.named():
        source = _from_disk(reference, copy.path, copy.inside, replace(reading, report=copy.report(reading.report)))
    mixed = {name: copy.renamed(sentence) for name, sentence in source.mixed.items()}
    return replace(source, mixed=mixed)


def _from_disk(reference: str, path: Path, config: str | None, reading: Reading) -> Source:
    if path.is_file():
        part = files.read_part(path, reading.options, config)
        part.tell(reading.report)
        return reading.source(reference, {split_of(Path(path.name)): [part]})
    return _folder(reference, path, config, reading)


def _stdin(options: FileOptions, report: Report) -> Part:
    """Read standard input as a file of what it holds: JSON, lines of it, a table, or a text."""
    where, data = "standard input", sys.stdin.buffer.read()
    text = files.decode(data, options.encoding, where)
    if not text.strip():
        raise EmptyError(f"{where} is empty")
    part = files.part_of_text(where, "json" if is_json(text) else "txt", text, options)
    part.tell(report)
    return part


def local_path(reference: str) -> tuple[Path | None, str | None]:
    """Return the path (and configuration) when the reference is one; never ask the Hub for a path that exists.

    Raises:
        DataError: it reads as a path or a URL, and there is none.
    """
    scheme, is_other_url, _ = reference.partition("://")
    if is_other_url and scheme.isalnum():
        known = ", ".join(f"{name}://" for name in STORES if name != "memory")
        raise DataError(f"{scheme}:// is not read; a file here is named by its path, and others by {known}")
    path = Path(reference).expanduser()
    if path.exists():
        return path, None
    base, _, config = reference.rpartition(":")
    if base and Path(base).expanduser().exists():
        return Path(base).expanduser(), config
    looks_like_path = reference.startswith((".", "/", "~")) or files.format_of(path) is not None or path.suffix != ""
    if looks_like_path and not _could_be_hub_name(reference):
        raise DataError(f"there is no file or folder {reference!r}{_near_file(path)}")
    return None, None


def _could_be_hub_name(reference: str) -> bool:
    """Tell whether a name with a dot (`org/name-v1.5`) is likely meant for the Hub."""
    is_owner_and_name = not reference.startswith((".", "/", "~")) and reference.count("/") == 1
    return is_owner_and_name and files.format_of(Path(reference)) is None


def _near_file(path: Path) -> str:
    folder = path.parent
    return did_you_mean(path.name, [p.name for p in folder.iterdir()]) if folder.is_dir() else ""


def _folder(reference: str, path: Path, config: str | None, reading: Reading) -> Source:
    benchmark = f"{path.name}/{config}" if config else None
    if (path / "dataset_dict.json").exists() or (path / "state.json").exists():
        splits = _saved(path, reading.report)
        return Source(reference, splits, benchmark, mixed=between_splits(splits))
    if "configs:" in _read_if_there(path / "README.md") or config:
        with translated("dataset", str(path)):
            splits = load_splits(str(path), config)
        return Source(reference, splits, benchmark, mixed=between_splits(splits))
    return reading.source(reference, read_folder(path, reading.options, reading.report), benchmark)


def _saved(path: Path, report: Report) -> DatasetDict:
    """Return the splits that `datasets` saved, under the names that splits have here."""
    from datasets import DatasetDict, load_from_disk

    try:
        loaded = load_from_disk(str(path))
        splits = loaded if isinstance(loaded, DatasetDict) else DatasetDict(train=loaded)
        for part in splits.values():
            part.data.validate(full=True)  # to read a damaged table can end the process
    except Exception as error:  # a damaged folder fails in arrow's, json's or the file system's way
        raise DataError(f"the dataset saved in {str(path)!r} cannot be read: {error}") from error
    names = {name: WHOLE_NAMES.get(name.lower(), name) for name in splits}
    if len(set(names.values())) < len(names):
        return splits
    for name, usual in names.items():
        if name != usual:
            report.say(f"{path}: the split {name!r} is read as {usual}")
    return DatasetDict({names[name]: part for name, part in splits.items()})


def _read_if_there(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _from_hub(reference: str, revision: str | None, report: Report) -> Source:
    name, config = hub_name(reference)
    sha = hub.commit("dataset", name, revision, report)
    with translated("dataset", name):
        splits = load_splits(name, config, revision=revision)
    benchmark = f"{name.split('/')[-1]}/{config}" if config else name.split("/")[-1]
    return Source(reference, splits, benchmark, sha, mixed=between_splits(splits))


def fingerprint(dataset: Dataset) -> str:
    """Return the SHA-256 of the rows in their order, as JSON."""
    digest = hashlib.sha256()
    for batch in dataset.with_format(None).iter(batch_size=1000):
        digest.update(json.dumps(batch, ensure_ascii=False, default=str, sort_keys=True).encode())
    return digest.hexdigest()
