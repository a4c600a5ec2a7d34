"""Label names: found in a dataset, kept in a model's config, matched by name and never by position."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from datasets import ClassLabel, Dataset
from transformers import PretrainedConfig

from llmkit.errors import DataError, listing


@dataclass(frozen=True)
class Labels:
    """The classes of a classifier in the order of their ids; none for a regression."""

    names: tuple[str, ...]

    @property
    def regression(self) -> bool:
        """Whether the label is a number to be predicted."""
        return not self.names

    def config(self) -> dict[str, Any]:
        """Return what the model's config holds of them."""
        if self.regression:
            return {"num_labels": 1, "problem_type": "regression"}
        return {
            "id2label": dict(enumerate(self.names)),
            "label2id": {name: number for number, name in enumerate(self.names)},
            "problem_type": "single_label_classification",
        }

    @classmethod
    def of_model(cls, config: PretrainedConfig) -> Labels:
        """Read the labels from a model's config."""
        if config.num_labels == 1 or config.problem_type == "regression":
            return cls(())
        return cls(tuple(str(config.id2label[number]) for number in range(config.num_labels)))


def natural(name: str) -> tuple[tuple[tuple[int, int | str], ...], str]:
    """A sort key that puts "10" after "2"; no two names have the same."""
    pieces = [name] if re.fullmatch(r"-?\d+", name) else re.split(r"(\d+)", name)
    key = ((0, int(piece)) if re.fullmatch(r"-?\d+", piece) else (1, piece) for piece in pieces if piece)
    return tuple(key), name


def is_number(dataset: Dataset, column: str) -> bool:
    """Tell whether the label column holds floats: a regression."""
    return str(getattr(dataset.features[column], "dtype", "")).startswith("float")


def names_of(dataset: Dataset, column: str) -> list[str | None]:
    """Return the label name of each row; None where a row has none (null, empty, or -1 of a class label)."""
    feature, values = dataset.features[column], dataset[column]
    if isinstance(feature, ClassLabel):
        return [feature.names[value] if value is not None and value >= 0 else None for value in values]
    if feature.dtype == "bool":
        return [None if value is None else str(value).lower() for value in values]
    if feature.dtype.startswith(("int", "uint")):
        return [None if value is None else str(value) for value in values]
    return [(value or "").strip() or None for value in values]


def found_in(dataset: Dataset, column: str) -> Labels:
    """Return the labels of a dataset: declared ones as declared, others in natural order.

    Raises:
        DataError: no row has a label, or all rows have the same.
    """
    if is_number(dataset, column):
        return Labels(())
    present = {name for name in names_of(dataset, column) if name is not None}
    if len(present) < 2:
        only = f"only the label {next(iter(present))!r}" if present else "no label at all"
        hint = "; the first rows of a sorted dataset can be all of one class" if present else ""
        raise DataError(f"the training rows have {only} in column {column!r}; a classifier needs two or more{hint}")
    feature = dataset.features[column]
    return Labels(tuple(feature.names) if isinstance(feature, ClassLabel) else tuple(sorted(present, key=natural)))


def refuse_unseen(labels: Labels, dataset: Dataset, column: str, where: str) -> None:
    """Refuse rows whose label the training rows do not have.

    Raises:
        DataError: naming the labels and the first such row.
    """
    if labels.regression:
        return
    names = names_of(dataset, column)
    unseen = sorted({name for name in names if name is not None} - set(labels.names), key=natural)
    if unseen:
        row = next(number for number, name in enumerate(names, start=1) if name == unseen[0])
        raise DataError(
            f"{where}: label {listing(map(repr, unseen))} (first in row {row}) does not occur in training, "
            f"which has {listing(map(repr, labels.names))}"
        )


def match(dataset: Dataset, column: str, config: PretrainedConfig) -> Labels:
    """Return the model's labels in the dataset's spelling, matched by name; case is ignored where it can be.

    Raises:
        DataError: the dataset has labels that the model lacks, or one of them is a number and the other a class.
    """
    model = Labels.of_model(config)
    feature = dataset.features[column]
    whole = not isinstance(feature, ClassLabel) and getattr(feature, "dtype", "").startswith(("int", "uint"))
    number = is_number(dataset, column) or (model.regression and whole)  # stars as integers are numbers too
    if model.regression != number:
        kinds = ("numbers", "classes") if number else ("classes", "numbers")
        raise DataError(f"column {column!r} holds {kinds[0]} and the model predicts {kinds[1]}")
    if number:
        return model
    wanted = sorted({name for name in names_of(dataset, column) if name is not None}, key=natural)
    declared: Sequence[str] = feature.names if isinstance(feature, ClassLabel) else wanted
    respelled = _respell(model.names, declared)
    missing = [name for name in wanted if name not in respelled]
    if missing:
        raise DataError(
            f"the model has no label {listing(map(repr, missing))}: the dataset's labels are "
            f"{listing(map(repr, declared))}, the model's {listing(map(repr, model.names))}"
        )
    return Labels(respelled)


def _respell(model: tuple[str, ...], declared: Sequence[str]) -> tuple[str, ...]:
    """Write the model's names as the dataset does, where only case tells them apart."""
    if len({name.casefold() for name in model}) < len(model):
        return model
    spelled = {name.casefold(): name for name in declared}
    return tuple(name if name in declared else spelled.get(name.casefold(), name) for name in model)
