"""Which rows to train on and which to measure on."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from datasets import Dataset, DatasetDict, ReadInstruction, concatenate_datasets

from llmkit.data.columns import string_columns
from llmkit.data.label_sets import holds_sets, sets_of
from llmkit.data.labels import names_of
from llmkit.data.loading import Source, open_dataset
from llmkit.errors import DataError, EmptyError, did_you_mean, listing
from llmkit.options import FileOptions, SplitOptions
from llmkit.options.urls import is_url

CUT_SHARE = 0.1
END_SHARE = 0.05  # of a document whose end is held out
VALIDATIONS = ("validation", "validation_matched", "valid", "val", "dev")


@dataclass(frozen=True)
class Cut:
    """How validation rows were cut from a split, so that eval finds the same ones."""

    split: str
    share: float
    seed: int
    limit: int | None = None
    column: str | None = None  # of the labels: no label's last training row is taken
    document: str | None = None  # the column of a single text, of which the end is taken

    def as_dict(self) -> dict[str, object]:
        """Return the fields for run.json."""
        return {name: value for name, value in asdict(self).items() if name != "document" or value is not None}

    @property
    def name(self) -> str:
        """What the rows are called."""
        return (
            f"{self.split}, {self.share:.0%} cut" if self.document is None else f"the last {self.share:.0%} of the text"
        )


@dataclass(frozen=True)
class ComponentRecord:
    """What one dataset of a mix gives to a training, and how often its rows come in an epoch."""

    reference: str
    commit: str | None
    weight: float
    train_rows: int
    validation_rows: int
    validation: str
    cut: Cut | None

    def as_dict(self) -> dict[str, object]:
        """Return the fields for run.json."""
        return {**asdict(self), "cut": self.cut.as_dict() if self.cut else None}


@dataclass(frozen=True)
class TrainAndValidation:
    """The rows of a training run."""

    train: Dataset
    validation: Dataset
    name: str  # of the validation rows: "validation", "train[:10%]", a file
    cut: Cut | None = None
    component_records: tuple[ComponentRecord, ...] = ()  # of a mix: in the order of its rows, which are here once each
    streamed: bool = False  # whether these are the first of many, of which some may be held out
    places: tuple[list[int], list[int]] | None = None  # of a single dataset: where its rows stood before the cut

    @property
    def numbered(self) -> bool:
        """Whether the numbers of the rows are those that a person finds in the dataset."""
        return self.cut is None and len(self.component_records) < 2 and not self.streamed

    @property
    def has_own_validation(self) -> bool:
        """Whether the rows to measure on are none that were cut from those to train on."""
        return (
            self.cut is None
            and all(component.cut is None for component in self.component_records)
            and not self.streamed
        )


def select(splits: DatasetDict, spec: str, limit: int | None = None) -> Dataset:
    """Return the rows that a split expression names: `test`, `train[:10%]`, `train+validation`.

    Raises:
        DataError: no such split, or not a split expression.
        EmptyError: it names no rows.
    """
    rows = concatenate_datasets([splits[part.splitname].select(_range(part, splits)) for part in _parts(splits, spec)])
    if not len(rows):
        raise EmptyError(f"the split {spec!r} holds no rows")
    return rows.select(range(min(limit, len(rows)))) if limit else rows


class _Slice(Protocol):
    """Rows of a split, as `datasets` reads a split expression; None is the first, or the last."""

    splitname: str
    from_: int | None
    to: int | None


def _parts(splits: DatasetDict, spec: str) -> list[_Slice]:
    sizes = {name: len(dataset) for name, dataset in splits.items()}
    name = spec.split("[")[0].split("+")[0].strip()
    if name not in sizes:
        advice = f": --train-split {next(iter(sizes))} trains on that one" if name == "train" else ""
        there = f"the dataset has {listing(sizes)}{advice}"
        raise DataError(f"there is no split {name!r}{did_you_mean(name, sizes)}; {there}")
    try:
        parts = list(ReadInstruction.from_spec(spec).to_absolute(sizes))
    except (ValueError, AssertionError) as error:
        raise DataError(f"{spec!r} is not a split or slice such as train[:10%]: {error}") from error
    for part in parts:
        if part.from_ and part.from_ >= sizes[part.splitname]:
            raise DataError(f"{spec!r} begins after the last of the {sizes[part.splitname]} rows of {part.splitname!r}")
    return parts


def train_and_validation(
    source: Source,
    splits: SplitOptions,
    limit: int | None,
    seed: int,
    options: FileOptions | None = None,
    column: str | None = None,
) -> TrainAndValidation:
    """Return training rows and the rows to measure on, cut from train when the dataset has none.

    The test split is never taken for validation unless `splits.validation` names it.

    Args:
        source: the dataset.
        splits: which of its rows; `validation` can be a file too.
        limit: rows of each at most.
        seed: of the cut.
        options: how to read a file that `splits.validation` names.
        column: of class labels, if any: no label's last training row is cut.

    Raises:
        DataError: there is no such split, or rows would be trained on and measured on.
        EmptyError: one of the two would hold no rows.
    """
    train, validation = select(source.splits, splits.train_split, limit), splits.validation
    if validation is not None and names_file(source.splits, validation):
        others = (
            open_dataset(validation, options, text_columns=string_columns(source.any()))
            .convert(source.conversions)
            .splits
        )
        name = next((name for name in (*VALIDATIONS, *others) if name in others), "train")
        return TrainAndValidation(train, select(others, name, limit), validation)
    name = validation or next((name for name in VALIDATIONS if name in source.splits), "")
    if name:
        _refuse_overlap(source.splits, splits.train_split, name)
        return TrainAndValidation(train, select(source.splits, name, limit), name)
    cut = Cut(splits.train_split, CUT_SHARE, seed, limit, column)
    places = cut_places(train, cut)
    kept, held_out = map(train.select, places)
    return TrainAndValidation(kept, held_out, cut.name, cut, places=places)


def beginning_and_end(
    source: Source, splits: SplitOptions, limit: int | None, seed: int, column: str
) -> TrainAndValidation | None:
    """Return the beginning and the end of the one text that a dataset holds, to train on and to measure on.

    None where it holds more rows, or others to measure on.

    Raises:
        EmptyError: the text is too short to be cut.
    """
    train = select(source.splits, splits.train_split, limit)
    if len(train) != 1 or splits.validation is not None or any(name in source.splits for name in VALIDATIONS):
        return None
    cut = Cut(splits.train_split, END_SHARE, seed, limit, document=column)
    return TrainAndValidation(*cut_rows(train, cut), cut.name, cut)


def cut_end(text: str) -> tuple[str, str]:
    """Cut the last part off a document, at a paragraph, a line or a word, whichever is near."""
    near = int(len(text) * (1 - END_SHARE))
    for mark in ("\n\n", "\n", " "):
        place = text.find(mark, near, near + len(text) // 20 + 1)
        if place > 0:
            return text[:place], text[place + len(mark) :]
    return text[:near], text[near:]


def names_file(splits: DatasetDict, validation: str) -> bool:
    """Tell whether `--validation` names a file or a folder; a split of the dataset that is called so comes first."""
    return re.split(r"[\[+]", validation)[0] not in splits and (is_url(validation) or Path(validation).exists())


def _refuse_overlap(splits: DatasetDict, train: str, validation: str) -> None:
    """Refuse to measure on rows that are trained on."""
    chosen = {f"{part.splitname} {row}" for part in _parts(splits, train) for row in _range(part, splits)}
    if any(f"{part.splitname} {row}" in chosen for part in _parts(splits, validation) for row in _range(part, splits)):
        raise DataError(f"--validation {validation} takes rows that --train-split {train} trains on; part them")


def _range(part: _Slice, splits: DatasetDict) -> range:
    size = len(splits[part.splitname])
    return range(min(part.from_ or 0, size), size if part.to is None else min(part.to, size))


def cut_rows(rows: Dataset, cut: Cut) -> tuple[Dataset, Dataset]:
    """Split rows in two, see `cut_places`; or the one text that they are.

    Raises:
        EmptyError: there are too few, or the text is too short.
    """
    if cut.document is not None and len(rows) == 1:
        row = rows[0]
        parts = cut_end(str(row[cut.document] or "").rstrip())
        if not all(map(str.strip, parts)):
            raise EmptyError("the one text is too short to train on and to measure on; give --validation, or more text")
        start, end = (Dataset.from_list([{**row, cut.document: part}], features=rows.features) for part in parts)
        return start, end
    kept, held_out = map(rows.select, cut_places(rows, cut))
    return kept, held_out


def cut_places(rows: Dataset, cut: Cut) -> tuple[list[int], list[int]]:
    """Return the places of two parts of rows, seeded; the second holds the given share, and at least one row.

    Raises:
        EmptyError: there are fewer than two rows.
    """
    if len(rows) < 2:
        raise EmptyError("one row is too few to train on and to measure on; give --validation, or more rows")
    order = np.random.default_rng(cut.seed).permutation(len(rows)).tolist()
    count = max(1, round(len(rows) * cut.share))
    if cut.column is None:
        held_out = order[:count]
    else:
        labels = label_sets_of(rows, cut.column)
        left = Counter(name for names in labels for name in names)
        held_out = []
        for row in order:
            if len(held_out) < count and all(left[name] > 1 for name in labels[row]):
                held_out.append(row)
                left.subtract(labels[row])
    if not held_out:
        raise EmptyError("no row can be spared to measure on: each label has one row; give --validation, or more rows")
    chosen = set(held_out)
    return [row for row in range(len(rows)) if row not in chosen], sorted(chosen)


def label_sets_of(rows: Dataset, column: str) -> list[tuple[str, ...]]:
    """Return the labels of each row: one or none, or where the column holds lists any number."""
    if holds_sets(rows, column):
        return [tuple(dict.fromkeys(names or ())) for names in sets_of(rows, column)]  # tags of words come again
    return [() if name is None else (name,) for name in names_of(rows, column)]


def evaluation_rows(
    source: Source, split: str | None, limit: int | None, labelled: Callable[[Dataset], bool], cut: Cut | None = None
) -> tuple[str, Dataset]:
    """Return the rows that eval takes, by name: the one asked for, else validation, else test, if labelled.

    `cut` is how the model's own training run cut its validation rows from this dataset.

    Raises:
        DataError: there is no such split, or none has labels.
        EmptyError: it holds no rows, or is a file of which no row has labels.
    """
    if split is not None:
        return split, select(source.splits, split, limit)
    if cut is not None and not any(name in source.splits for name in VALIDATIONS):
        rows = cut_rows(select(source.splits, cut.split, cut.limit), cut)[1]
        return cut.name, rows.select(range(min(limit, len(rows)))) if limit else rows
    for name in (*VALIDATIONS, "test"):
        if name in source.splits and labelled(source.splits[name]):
            return name, select(source.splits, name, limit)
    if source.is_file:  # one file: it is what the user wants measured
        name = next(iter(source.splits))
        if labelled(source.splits[name]):
            return name, select(source.splits, name, limit)
        if len(source.splits) == 1:
            raise EmptyError(f"no row of {source.reference!r} has a label to measure by")
    raise DataError(
        f"no validation or test split of {source.reference!r} has labels; it has {listing(source.splits)}: "
        "name one with --split"
    )
