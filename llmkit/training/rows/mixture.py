"""Several datasets trained on together, each as often as its weight says: `llmkit finetune a.jsonl@2 b.csv`.

A weight is how often each row of a dataset comes in one epoch: 2 is twice, 0.5 a random half of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, concatenate_datasets
from transformers import PretrainedConfig

from llmkit import tasks
from llmkit.data import Source, open_dataset, weights_of
from llmkit.data.columns import is_string
from llmkit.data.conversions import Conversion
from llmkit.data.labels import names_of
from llmkit.data.parts import Part
from llmkit.data.splits import (
    ComponentRecord,
    TrainAndValidation,
    beginning_and_end,
    names_file,
    select,
    train_and_validation,
)
from llmkit.errors import DataError, EmptyError, OptionError, listing
from llmkit.options import CorpusOptions, DataOptions, FinetuneRequest, SplitOptions
from llmkit.output.report import Report
from llmkit.tasks import Task
from llmkit.training.rows.streaming import StreamedDataset, open_stream

MOST_WEIGHT = 1000  # of a dataset: its rows are copied so often


@dataclass(frozen=True)
class MixtureComponent:
    """One dataset of a mix, and how often its rows come in an epoch."""

    source: Source
    weight: float
    original_names: Mapping[str, str] = field(default_factory=dict)  # of its columns, by those that they have here

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
) -> tuple[list[MixtureComponent], StreamedDataset | None]:
    """Open every dataset of a mix, before anything is done with one of them; or one to be streamed, and its first rows.

    Raises:
        OptionError: as `weights_of`, or several datasets or a weight where rows are streamed.
        DataError, EmptyError, HubError: as `open_dataset`, or as `open_stream`.
    """
    weights = weights_of(references)
    heavy = next((name for name, weight in weights.items() if weight > MOST_WEIGHT), None)
    if heavy is not None:
        raise OptionError(f"{heavy}@{weights[heavy]:g}: a weight is at most {MOST_WEIGHT}")
    if splits.streaming:
        if list(weights.values()) != [1.0]:
            raise OptionError("--streaming takes one dataset without a weight; a folder of several files is one")
        streamed = open_stream(next(iter(weights)), splits, data, report)
        return [MixtureComponent(streamed.source, 1.0)], streamed
    sources = {name: open_dataset(name, data, report=report) for name in weights}
    return [MixtureComponent(source, weights[name]) for name, source in sources.items()], None


def converted(components: Sequence[MixtureComponent], conversions: Sequence[Conversion]) -> list[MixtureComponent]:
    """Return the components with the rows of the first read in other ways."""
    first, *others = components
    return [replace(first, source=first.source.convert(conversions)), *others]


def align_columns(
    components: Sequence[MixtureComponent],
    task: Task,
    columns: dict[str, str],
    data: DataOptions,
    splits: SplitOptions,
    config: PretrainedConfig,
) -> list[MixtureComponent]:
    """Return the components with the columns of the first, by name and kind: `columns` says which role each has there.

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
            evidence = tasks.Evidence.of(component.source, train)
            resolution = tasks.resolve_task([task], evidence, given, "finetune", data, config)
            component = replace(component, source=component.source.convert(resolution.conversions))
        except DataError as error:
            raise DataError(f"{component.source.reference}: {error}") from error
        original = resolution.columns
        if original.keys() != columns.keys():
            raise DataError(
                f"{component.source.reference} has {listing(original)}, where {components[0].source.reference} has "
                f"{listing(columns)}: a mix wants the same of each"
            )
        renamed.append(_only(component, original, columns))
    return [_of_kinds(component, renamed) for component in renamed]


def _only(component: MixtureComponent, original: Mapping[str, str], columns: Mapping[str, str]) -> MixtureComponent:
    """Return a component with the columns that have a role alone, under the names that the first component has.

    `original` are its columns by role, and `columns` those of the first.
    """
    renames = {original[role]: columns[role] for role in columns}
    parts = {
        name: part.select_columns(list(renames)).rename_columns(renames)
        for name, part in component.source.splits.items()
        if set(renames) <= set(part.column_names)
    }
    source = replace(component.source, splits=DatasetDict(parts), benchmark=None)
    return replace(component, source=source, original_names={here: name for name, here in renames.items()})


def _of_kinds(component: MixtureComponent, components: Sequence[MixtureComponent]) -> MixtureComponent:
    """Return a component whose columns have the kinds of the first, classes as their names where not all have the same.

    Raises:
        DataError: a column is of another kind.
    """
    parts = dict(component.source.splits)
    for column, kind in components[0].source.any().features.items():
        kinds = [each.source.any().features[column] for each in components]
        for each, its_kind in zip(components, kinds, strict=True):
            if _family(its_kind) != _family(kind):
                raise DataError(
                    f"{each.source.reference}: its {column} is of another kind than that of "
                    f"{components[0].source.reference} ({_held(its_kind)}, not {_held(kind)}), and a mix wants the "
                    "same: write it in one way in both files"
                )
        if all(its_kind == kind for its_kind in kinds):
            continue
        for name, part in parts.items():
            parts[name] = _spelled(part, column) if _family(kind) == "name" else part.cast_column(column, kind)
    return replace(component, source=replace(component.source, splits=DatasetDict(parts)))


def _family(feature: object) -> str:
    """Return what a column holds, whatever its width: classes and texts are names."""
    if isinstance(feature, ClassLabel) or is_string(feature):
        return "name"
    return re.sub(r"^u?(int|float)\d+$", r"\1", getattr(feature, "dtype", "")) or str(feature)


def _held(feature: object) -> str:
    """Return what a column holds, as a person says it."""
    family = _family(feature)
    kinds = {"name": "text", "int": "whole numbers", "float": "numbers", "bool": "true or false"}
    return kinds.get(family, "lists or objects")


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
    request: FinetuneRequest,
    report: Report,
) -> TrainAndValidation:
    """Return the rows to train on and to measure on of all components; each is cut where it has no validation split.

    Raises:
        DataError: a row contradicts itself, or --validation lacks a column.
    """
    split = [_split(components, number, task, columns, request) for number in range(len(components))]
    if len(split) == 1 and components[0].weight == 1:
        return split[0]
    component_records = []
    for component, rows in zip(components, split, strict=True):
        source, sizes = component.source, (len(rows.train), len(rows.validation))
        cut = rows.cut
        if cut is not None:
            cut = replace(cut, column=component.original_names.get(cut.column or "", cut.column))
        component_records.append(
            ComponentRecord(source.reference, source.commit, component.weight, *sizes, rows.name, cut)
        )
        report.say(
            f"{source.reference}: {sizes[0]} rows to train on{component.times}, {sizes[1]} to measure on ({rows.name})"
        )
    return TrainAndValidation(
        concatenate_datasets([rows.train for rows in split]),
        concatenate_datasets([rows.validation for rows in split]),
        listing(dict.fromkeys(rows.name for rows in split)),
        split[0].cut if len(split) == 1 else None,
        tuple(component_records),
    )


def _split(
    components: Sequence[MixtureComponent], number: int, task: Task, columns: dict[str, str], request: FinetuneRequest
) -> TrainAndValidation:
    """Return the rows of one component of a mix."""
    source, splits, data, several = components[number].source, request.splits, request.data, len(components) > 1
    of_dataset = f" of {source.reference}" if several else ""
    train = select(source.splits, splits.train_split, data.limit)
    tasks.require_valid_rows(
        task, train, columns, f"training{of_dataset}"
    )  # before a cut, which gives rows other numbers
    first = components[0].source.splits
    if number and splits.validation is not None and names_file(first, splits.validation):  # it counts once
        return TrainAndValidation(train, train.select([]), splits.validation)
    column = task.columns.class_column(train, columns)
    document, seed = columns["text"] if task.architectures and "text" in columns else None, request.training.seed
    rows = beginning_and_end(source, splits, data.limit, seed, document) if document is not None else None
    rows = rows or train_and_validation(source, splits, data.limit, seed, data, column)
    if rows.cut is None:
        tasks.require_split_columns(task, columns, rows.validation, f"--validation {rows.name}")
        tasks.require_valid_rows(task, rows.validation, columns, f"validation{of_dataset}")
    return replace(rows, validation=rows.validation.select_columns(train.column_names)) if several else rows


def weighted(part: Part, component_records: Sequence[ComponentRecord], seed: int) -> Dataset:
    """Return training rows as often as the weights of their datasets say: whole copies, and a seeded draw of the rest.

    Raises:
        EmptyError: a weight leaves no row of its dataset.
    """
    if all(component.weight == 1 for component in component_records):
        return part.rows
    kept = np.arange(len(part.rows)) if part.numbers is None else np.asarray(part.numbers) - 1
    ends = np.cumsum([component.train_rows for component in component_records])
    owners = np.searchsorted(ends, kept, side="right")  # the component that each row is of
    generator, picked = np.random.default_rng(seed), list[np.ndarray]()
    for owner, component in enumerate(component_records):
        places = np.flatnonzero(owners == owner)
        copies, fraction = divmod(component.weight, 1)
        drawn = generator.permutation(places)[: round(fraction * len(places))]
        if not copies and not len(drawn):
            name = f"{component.reference}@{component.weight:g}"
            raise EmptyError(f"{name} leaves none of its {len(places)} rows to train on")
        picked += [*[places] * int(copies), np.sort(drawn)]
    return part.rows.select(np.concatenate(picked))
