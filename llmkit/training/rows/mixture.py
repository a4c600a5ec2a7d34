"""Several datasets trained on together, each as often as its weight says: `llmkit finetune a.jsonl@2 b.csv`.

A weight is how often each row of a dataset comes in one epoch: 2 is twice, 0.5 a random half of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, concatenate_datasets
from transformers import PretrainedConfig

from llmkit import tasks
from llmkit.data import Source, open_dataset, weights_of
from llmkit.data.columns import is_string
from llmkit.data.labels import names_of
from llmkit.data.parts import Part
from llmkit.data.splits import Drawn, TrainAndValidation, names_file, select, train_and_validation
from llmkit.errors import DataError, EmptyError, listing
from llmkit.options import CorpusOptions, DataOptions, SplitOptions
from llmkit.output.report import Report
from llmkit.tasks import Task
from llmkit.training.rows.streaming import Opened, open_stream


@dataclass(frozen=True)
class Portion:
    """One dataset of a mix, and how often its rows come in an epoch."""

    source: Source
    weight: float
    own: Mapping[str, str] = field(default_factory=dict)  # what its columns are called in it, by their names here

    @property
    def name(self) -> str:
        """As the user types it."""
        return self.source.reference if self.weight == 1 else f"{self.source.reference}@{self.weight:g}"

    @property
    def times(self) -> str:
        """What is said of its rows, where they do not come once."""
        return "" if self.weight == 1 else f", each {self.weight:g} times an epoch"


def open_portions(
    references: Sequence[str], data: CorpusOptions, splits: SplitOptions, report: Report
) -> tuple[list[Portion], Opened | None]:
    """Open every dataset of a mix, before anything is done with one of them; or one to be streamed, and its first rows.

    Raises:
        OptionError: as `weights_of`, or as `open_stream`.
        DataError, EmptyError, HubError: as `open_dataset`.
    """
    if splits.streaming:
        opened = open_stream(references, splits, data.limit, data.encoding, report)
        return [Portion(opened.source, 1.0)], opened
    named = weights_of(references)
    sources = {name: open_dataset(name, encoding=data.encoding, report=report) for name in named}
    return [Portion(source, named[name]) for name, source in sources.items()], None


def alike(
    portions: Sequence[Portion],
    task: Task,
    columns: dict[str, str],
    data: DataOptions,
    splits: SplitOptions,
    config: PretrainedConfig,
) -> list[Portion]:
    """Return the portions with the columns of the first, by name and kind: `columns` says which role each has there.

    Raises:
        DataError: a dataset has no column for a role, or one of another kind.
    """
    if len(portions) == 1:
        return list(portions)
    renamed = [_only(portions[0], columns, columns)]
    for portion in portions[1:]:
        train = select(portion.source.splits, splits.train_split)
        given = {role: name for role, name in data.columns.items() if name in train.column_names}
        try:
            _, own = tasks.choose([task], train, given, "finetune", data, config)
        except DataError as error:
            raise DataError(f"{portion.source.reference}: {error}") from error
        if own.keys() != columns.keys():
            raise DataError(
                f"{portion.source.reference} has {listing(own)}, where {portions[0].source.reference} has "
                f"{listing(columns)}: a mix wants the same of each"
            )
        renamed.append(_only(portion, own, columns))
    return [_of_kinds(portion, renamed) for portion in renamed]


def _only(portion: Portion, own: Mapping[str, str], names: Mapping[str, str]) -> Portion:
    """Return a portion with the columns that have a role alone, under the names that the first portion has."""
    renames = {own[role]: names[role] for role in names}
    parts = {
        name: part.select_columns(list(renames)).rename_columns(renames)
        for name, part in portion.source.splits.items()
        if set(renames) <= set(part.column_names)
    }
    source = replace(portion.source, splits=DatasetDict(parts), benchmark=None)
    return replace(portion, source=source, own={here: name for name, here in renames.items()})


def _of_kinds(portion: Portion, portions: Sequence[Portion]) -> Portion:
    """Return a portion whose columns have the kinds of the first, classes as their names where not all have the same.

    Raises:
        DataError: a column is of another kind.
    """
    parts = dict(portion.source.splits)
    for column, kind in portions[0].source.any().features.items():
        kinds = [other.source.any().features[column] for other in portions]
        for other, its in zip(portions, kinds, strict=True):
            if _family(its) != _family(kind):
                raise DataError(
                    f"{other.source.reference}: its {column} is of another kind than that of "
                    f"{portions[0].source.reference}, and a mix wants the same"
                )
        if all(its == kind for its in kinds):
            continue
        for name, part in parts.items():
            parts[name] = _spelled(part, column) if _family(kind) == "name" else part.cast_column(column, kind)
    return replace(portion, source=replace(portion.source, splits=DatasetDict(parts)))


def _family(feature: Any) -> str:
    """Return what a column holds, whatever its width: classes and texts are names."""
    if isinstance(feature, ClassLabel) or is_string(feature):
        return "name"
    return re.sub(r"^u?(int|float)\d+$", r"\1", getattr(feature, "dtype", "")) or str(feature)


def _spelled(part: Dataset, column: str) -> Dataset:
    """Return rows whose classes are strings."""
    names = names_of(part, column)
    return part.remove_columns(column).add_column(column, names).select_columns(part.column_names)


def joined(portions: Sequence[Portion]) -> Source:
    """Return the datasets as one, each split the rows of all that have it; without weights."""
    if len(portions) == 1:
        return portions[0].source
    splits: dict[str, list[Dataset]] = {}
    for portion in portions:
        for name, part in portion.source.splits.items():
            splits.setdefault(name, []).append(part)
    parts = DatasetDict({name: concatenate_datasets(several) for name, several in splits.items()})
    return Source(listing(portion.name for portion in portions), parts)


def slug(portions: Sequence[Portion]) -> str:
    """Return a short name for folders: reviews, reviews+tweets."""
    return "+".join(portion.source.slug for portion in portions)


def divide(
    portions: Sequence[Portion],
    task: Task,
    columns: dict[str, str],
    data: DataOptions,
    splits: SplitOptions,
    seed: int,
    report: Report,
) -> TrainAndValidation:
    """Return the rows to train on and to measure on of all portions; each is cut where it has no validation split.

    Raises:
        DataError: a row contradicts itself, or --validation lacks a column.
    """
    divided = [_divided(portions, number, task, columns, data, splits, seed) for number in range(len(portions))]
    if len(divided) == 1 and portions[0].weight == 1:
        return divided[0]
    drawn = []
    for portion, rows in zip(portions, divided, strict=True):
        source, sizes = portion.source, (len(rows.train), len(rows.validation))
        cut = rows.cut and replace(rows.cut, column=portion.own.get(rows.cut.column or "", rows.cut.column))
        drawn.append(Drawn(source.reference, source.commit, portion.weight, *sizes, rows.name, cut))
        report.say(
            f"{source.reference}: {sizes[0]} rows to train on{portion.times}, {sizes[1]} to measure on ({rows.name})"
        )
    return TrainAndValidation(
        concatenate_datasets([rows.train for rows in divided]),
        concatenate_datasets([rows.validation for rows in divided]),
        listing(dict.fromkeys(rows.name for rows in divided)),
        divided[0].cut if len(divided) == 1 else None,
        tuple(drawn),
    )


def _divided(
    portions: Sequence[Portion],
    number: int,
    task: Task,
    columns: dict[str, str],
    data: DataOptions,
    splits: SplitOptions,
    seed: int,
) -> TrainAndValidation:
    source, several = portions[number].source, len(portions) > 1
    of = f" of {source.reference}" if several else ""
    chosen = select(source.splits, splits.train_split, data.limit)
    tasks.require_sound(task, chosen, columns, f"training{of}")  # before a cut, which gives rows other numbers
    first = portions[0].source.splits
    if number and splits.validation is not None and names_file(first, splits.validation):  # it counts once
        return TrainAndValidation(chosen, chosen.select([]), splits.validation)
    found = train_and_validation(
        source,
        splits.train_split,
        splits.validation,
        data.limit,
        seed,
        data.encoding,
        task.class_column(chosen, columns),
    )
    if found.cut is None:
        tasks.require_columns(columns, found.validation, f"--validation {found.name}")
        tasks.require_sound(task, found.validation, columns, f"validation{of}")
    return replace(found, validation=found.validation.select_columns(chosen.column_names)) if several else found


def weighted(part: Part, drawn: Sequence[Drawn], seed: int) -> Dataset:
    """Return training rows as often as the weights of their datasets say: whole copies, and a seeded draw of the rest.

    Raises:
        EmptyError: a weight leaves no row of its dataset.
    """
    if all(one.weight == 1 for one in drawn):
        return part.rows
    kept = np.arange(len(part.rows)) if part.numbers is None else np.asarray(part.numbers) - 1
    owners = np.searchsorted(np.cumsum([one.train_rows for one in drawn]), kept, side="right")
    dice, picked = np.random.default_rng(seed), list[np.ndarray]()
    for owner, one in enumerate(drawn):
        places = np.flatnonzero(owners == owner)
        copies, rest = divmod(one.weight, 1)
        some = dice.permutation(places)[: round(rest * len(places))]
        if not copies and not len(some):
            raise EmptyError(f"{one.reference}@{one.weight:g} leaves none of its {len(places)} rows to train on")
        picked += [*[places] * int(copies), np.sort(some)]
    return part.rows.select(np.concatenate(picked))
