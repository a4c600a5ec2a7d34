"""Rows of a split from its first to its last, a few at a time: what is read is never all in memory.

A text file has a row for each 64,000 characters or so, cut at the end of a line.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import accumulate, zip_longest
from typing import TYPE_CHECKING

import pyarrow as pa

from llmkit.data import files
from llmkit.data.conversions import Conversion, converted
from llmkit.data.conversions.languages import unfolded
from llmkit.data.files.batches import ROWS_PER_BATCH, Piece, batches_of
from llmkit.data.files.pieces import pieces_of
from llmkit.data.formats.text import DataFile
from llmkit.errors import DataError, EmptyError, brief
from llmkit.options import FileOptions

if TYPE_CHECKING:
    from datasets import Dataset, Features, IterableDataset

MANY = 64  # files, which are not read in pieces


class RowStream(ABC):
    """The rows of a split, read anew each time they are asked for."""

    @property
    def name(self) -> str:
        """What tells a part of a split from the others."""
        return ""

    def shards(self) -> tuple[RowStream, ...]:
        """Return the parts that can be read for themselves, which together hold each row once."""
        return (self,)

    def features(self) -> Features:
        """Return the features of the first rows.

        Raises:
            EmptyError: there is none.
        """
        first = next(self.batches(), None)
        if first is None:
            raise EmptyError("there is no row")
        return first.features

    @abstractmethod
    def read(self) -> Iterator[Dataset]:
        """Yield all rows, in batches of sizes that the format gives."""

    def batches(self, skip: int = 0, limit: int | None = None, features: Features | None = None) -> Iterator[Dataset]:
        """Yield the rows after the first `skip`, up to the row `limit`, with these features, or the first batch's.

        Raises:
            DataError: a row has other columns than the first, or the file is broken.
        """
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
        from datasets import Dataset, concatenate_datasets

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
    kinds: Mapping[str, str] = field(default_factory=dict)  # of the columns of tables, as the first rows tell them
    piece: Piece | None = None  # of the one file

    @property
    def name(self) -> str:
        """What tells a part of a split from the others."""
        return ", ".join(map(str, (*self.paths, *([self.piece] if self.piece else []))))

    def shards(self) -> tuple[RowStream, ...]:
        """Return the files, or the pieces of large ones."""
        whole = len(self.paths) >= MANY
        pieces = [
            (path, piece) for path in self.paths for piece in ([None] if whole else pieces_of(path, self.options))
        ]
        kinds: dict[str, str] = {}
        if len(pieces) > 1 and files.format_of(self.paths[0]) in {"csv", "tsv", "txt"}:
            next(batches_of(self.paths[0], self.options, kinds), None)
        return tuple(replace(self, paths=(path,), piece=piece, kinds=kinds) for path, piece in pieces)

    def read(self) -> Iterator[Dataset]:
        kinds = dict(self.kinds)
        for path in self.paths:
            for batch in batches_of(path, self.options, kinds, self.piece):
                yield unfolded(batch)


@dataclass(frozen=True)
class ClassStream(RowStream):
    """The texts of a folder per class, in turns."""

    by_class: Mapping[str, tuple[DataFile, ...]]
    options: FileOptions
    batch: int | None = None  # the one that is read

    @property
    def name(self) -> str:
        """What tells a part of a split from the others."""
        return "" if self.batch is None else f"batch {self.batch + 1}"

    def shards(self) -> tuple[RowStream, ...]:
        """Return batches of files."""
        files = sum(map(len, self.by_class.values()))
        return tuple(replace(self, batch=number) for number in range(-(-files // ROWS_PER_BATCH)))

    def read(self) -> Iterator[Dataset]:
        from datasets import Dataset

        turns = zip_longest(*([(path, name) for path in self.by_class[name]] for name in sorted(self.by_class)))
        pairs = [pair for turn in turns for pair in turn if pair is not None]
        batches = range(-(-len(pairs) // ROWS_PER_BATCH)) if self.batch is None else [self.batch]
        for batch in batches:
            rows = pairs[batch * ROWS_PER_BATCH : (batch + 1) * ROWS_PER_BATCH]
            texts = [files.decode(files.bytes_of(path), self.options.encoding, str(path)) for path, _ in rows]
            yield Dataset.from_dict({"text": texts, "label": [name for _, name in rows]})


@dataclass(frozen=True)
class LibraryStream(RowStream):
    """The rows of a split that the library of datasets streams."""

    rows: IterableDataset
    number: int | None = None  # of a part

    @property
    def name(self) -> str:
        """What tells a part of a split from the others."""
        return "" if self.number is None else f"shard {self.number + 1}"

    def shards(self) -> tuple[RowStream, ...]:
        """Return the parts that the library reads for themselves, which are files for the most part."""
        shards = self.rows.num_shards
        return tuple(LibraryStream(self.rows.shard(shards, number), number) for number in range(shards))

    def read(self) -> Iterator[Dataset]:
        from datasets import Dataset

        for batch in self.rows.iter(batch_size=ROWS_PER_BATCH):
            yield unfolded(Dataset.from_dict(batch, features=self.rows.features))


@dataclass(frozen=True)
class ConvertedStream(RowStream):
    """The rows of a stream, read in other ways."""

    rows: RowStream
    conversions: tuple[Conversion, ...]

    @property
    def name(self) -> str:
        """What tells a part of a split from the others."""
        return self.rows.name

    def shards(self) -> tuple[RowStream, ...]:
        """Return the parts that can be read for themselves, read in the same ways."""
        return tuple(ConvertedStream(part, self.conversions) for part in self.rows.shards())

    def read(self) -> Iterator[Dataset]:
        for batch in self.rows.batches():
            yield converted(batch, self.conversions)


def _with_features(batch: Dataset, features: Features, start: int) -> Dataset:
    """Return rows with these features, which rows that were read earlier have."""
    from datasets import Dataset

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
