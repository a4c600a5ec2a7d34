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
from llmkit.data.splits import ComponentRecord, TrainAndValidation, names_file, select, train_and_validation
from llmkit.errors import DataError, EmptyError, listing
from llmkit.options import CorpusOptions, DataOptions, SplitOptions
from llmkit.output.report import Report
from llmkit.tasks import Task
from llmkit.training.rows.streaming import Opened, open_stream


@dataclass(frozen=True)
class MixtureComponent:
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


def open_components(
    references: Sequence[str], data: CorpusOptions, splits: SplitOptions, report: Report
) -> tuple[list[MixtureComponent], Opened | None]:
    """Open every dataset of a mix, before anything is done with one of them; or one to be streamed, and its first rows.

    Raises:
        OptionError: as `weights_of`, or as `open_stream`.
        DataError, EmptyError, HubError: as `open_dataset`.
    """
    if splits.streaming:
        opened = open_stream(references, splits, data.limit, data.encoding, report)
        return [MixtureComponent(opened.source, 1.0)], opened
    named = weights_of(references)
    sources = {name: open_dataset(name, encoding=data.encoding, report=report) for name in named}
    return [MixtureComponent(source, named[name]) for name, source in sources.items()], None


def align_columns(
    components: Sequence[MixtureComponent],
    task: Task,
    columns: dict[str, str],
    data: DataOptions,
    splits: SplitOptions,
    config: PretrainedConfig,
) -> list[MixtureComponent]:
    """Return the portions with the columns of the first, by name and kind: `columns` says which role each has there.

    Raises:
        DataError: a dataset has no column for a role, or one of another kind.
    """
    if len(components) == 1:
        return list(components)
    renamed = [_only(components[0], columns, columns)]
    for component in components[1:]:
        train = select(component.source.splits, splits.train_split)
        given = {role: name for role, name in data.columns.items() if name in train.column_names}
        try:
            _, own = tasks.choose([task], train, given, "finetune", data, config)
        except DataError as error:
            raise DataError(f"{component.source.reference}: {error}") from error
        if own.keys() != columns.keys():
            raise DataError(
                f"{component.source.reference} has {listing(own)}, where {components[0].source.reference} has "
                f"{listing(columns)}: a mix wants the same of each"
            )
        renamed.append(_only(component, own, columns))
    return [_of_kinds(component, renamed) for component in renamed]


def _only(component: MixtureComponent, own: Mapping[str, str], names: Mapping[str, str]) -> MixtureComponent:
    """Return a portion with the columns that have a role alone, under the names that the first portion has."""
    renames = {own[role]: names[role] for role in names}
    parts = {
        name: part.select_columns(list(renames)).rename_columns(renames)
        for name, part in component.source.splits.items()
        if set(renames) <= set(part.column_names)
    }
    source = replace(component.source, splits=DatasetDict(parts), benchmark=None)
    return replace(component, source=source, own={here: name for name, here in renames.items()})


def _of_kinds(component: MixtureComponent, components: Sequence[MixtureComponent]) -> MixtureComponent:
    """Return a portion whose columns have the kinds of the first, classes as their names where not all have the same.

    Raises:
        DataError: a column is of another kind.
    """
    parts = dict(component.source.splits)
    for column, kind in components[0].source.any().features.items():
        kinds = [other.source.any().features[column] for other in components]
        for other, its in zip(components, kinds, strict=True):
            if _family(its) != _family(kind):
                raise DataError(
                    f"{other.source.reference}: its {column} is of another kind than that of "
                    f"{components[0].source.reference}, and a mix wants the same"
                )
        if all(its == kind for its in kinds):
            continue
        for name, part in parts.items():
            parts[name] = _spelled(part, column) if _family(kind) == "name" else part.cast_column(column, kind)
    return replace(component, source=replace(component.source, splits=DatasetDict(parts)))


def _family(feature: Any) -> str:
    """Return what a column holds, whatever its width: classes and texts are names."""
    if isinstance(feature, ClassLabel) or is_string(feature):
        return "name"
    return re.sub(r"^u?(int|float)\d+$", r"\1", getattr(feature, "dtype", "")) or str(feature)


def _spelled(part: Dataset, column: str) -> Dataset:
    """Return rows whose classes are strings."""
    names = names_of(part, column)
    return part.remove_columns(column).add_column(column, names).select_columns(part.column_names)


def joined(components: Sequence[MixtureComponent]) -> Source:
    """Return the datasets as one, each split the rows of all that have it; without weights."""
    if len(components) == 1:
        return components[0].source
    splits: dict[str, list[Dataset]] = {}
    for component in components:
        for name, part in component.source.splits.items():
            splits.setdefault(name, []).append(part)
    parts = DatasetDict({name: concatenate_datasets(several) for name, several in splits.items()})
    return Source(listing(component.name for component in components), parts)


def slug(components: Sequence[MixtureComponent]) -> str:
    """Return a short name for folders: reviews, reviews+tweets."""
    return "+".join(component.source.slug for component in components)


def split_components(
    components: Sequence[MixtureComponent],
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
    divided = [_divided(components, number, task, columns, data, splits, seed) for number in range(len(components))]
    if len(divided) == 1 and components[0].weight == 1:
        return divided[0]
    component_records = []
    for component, rows in zip(components, divided, strict=True):
        source, sizes = component.source, (len(rows.train), len(rows.validation))
        cut = rows.cut and replace(rows.cut, column=component.own.get(rows.cut.column or "", rows.cut.column))
        component_records.append(
            ComponentRecord(source.reference, source.commit, component.weight, *sizes, rows.name, cut)
        )
        report.say(
            f"{source.reference}: {sizes[0]} rows to train on{component.times}, {sizes[1]} to measure on ({rows.name})"
        )
    return TrainAndValidation(
        concatenate_datasets([rows.train for rows in divided]),
        concatenate_datasets([rows.validation for rows in divided]),
        listing(dict.fromkeys(rows.name for rows in divided)),
        divided[0].cut if len(divided) == 1 else None,
        tuple(component_records),
    )


def _divided(
    components: Sequence[MixtureComponent],
    number: int,
    task: Task,
    columns: dict[str, str],
    data: DataOptions,
    splits: SplitOptions,
    seed: int,
) -> TrainAndValidation:
    source, several = components[number].source, len(components) > 1
    of = f" of {source.reference}" if several else ""
    chosen = select(source.splits, splits.train_split, data.limit)
    tasks.require_sound(task, chosen, columns, f"training{of}")  # before a cut, which gives rows other numbers
    first = components[0].source.splits
    if number and splits.validation is not None and names_file(first, splits.validation):  # it counts once
        return TrainAndValidation(chosen, chosen.select([]), splits.validation)
    column = task.columns.class_column(chosen, columns)
    found = train_and_validation(source, splits, data.limit, seed, data.encoding, column)
    if found.cut is None:
        tasks.require_columns(columns, found.validation, f"--validation {found.name}")
        tasks.require_sound(task, found.validation, columns, f"validation{of}")
    return replace(found, validation=found.validation.select_columns(chosen.column_names)) if several else found


def weighted(part: Part, component_records: Sequence[ComponentRecord], seed: int) -> Dataset:
    """Return training rows as often as the weights of their datasets say: whole copies, and a seeded draw of the rest.

    Raises:
        EmptyError: a weight leaves no row of its dataset.
    """
    if all(one.weight == 1 for one in component_records):
        return part.rows
    kept = np.arange(len(part.rows)) if part.numbers is None else np.asarray(part.numbers) - 1
    owners = np.searchsorted(np.cumsum([one.train_rows for one in component_records]), kept, side="right")
    dice, picked = np.random.default_rng(seed), list[np.ndarray]()
    for owner, one in enumerate(component_records):
        places = np.flatnonzero(owners == owner)
        copies, rest = divmod(one.weight, 1)
        some = dice.permutation(places)[: round(rest * len(places))]
        if not copies and not len(some):
            raise EmptyError(f"{one.reference}@{one.weight:g} leaves none of its {len(places)} rows to train on")
        picked += [*[places] * int(copies), np.sort(some)]
    return part.rows.select(np.concatenate(picked))
