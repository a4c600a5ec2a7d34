"""Predictions that are right or wrong, or off by so much: classes, sets of labels, numbers, choices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from llmkit.metrics.observations.base import Bools, Columns, Floats, Ints, Observations, floats, ints
from llmkit.output.result_parts import Label, RowColumns


@dataclass(frozen=True, eq=False)
class Classes(Observations):
    """One class for each row: ids into `names`."""

    kind = "classes"
    per_unit = ("truth", "predicted", "probabilities")

    truth: Ints  # (n,)
    predicted: Ints  # (n,)
    names: tuple[str, ...]
    probabilities: Floats | None = None  # (n, classes); None where a system gave labels alone
    positive: int | None = None  # the class that precision, recall and F1 are of; None: the mean over the classes

    def labels(self) -> list[Label]:
        return [self.names[i] for i in self.truth]

    def predictions(self) -> list[Label]:
        return [self.names[i] for i in self.predicted]

    def to_columns(self) -> RowColumns:
        scores = None if self.probabilities is None else self.probabilities.tolist()
        positive = None if self.positive is None else self.names[self.positive]
        return {**super().to_columns(), "names": list(self.names), "scores": scores, "positive": positive}

    @classmethod
    def from_columns(cls, columns: Columns) -> Self:
        names, positive = tuple(columns["names"]), columns["positive"]
        ids = {name: i for i, name in enumerate(names)}
        truth, predicted = (np.array([ids[name] for name in columns[key]], np.int64) for key in ("label", "prediction"))
        return cls(truth, predicted, names, floats(columns["scores"]), None if positive is None else ids[positive])


@dataclass(frozen=True, eq=False)
class LabelSets(Observations):
    """The labels that hold of each row, any number of `names`."""

    kind = "labelsets"
    per_unit = ("truth", "predicted", "probabilities")

    truth: Bools  # (n, labels)
    predicted: Bools  # (n, labels)
    names: tuple[str, ...]
    probabilities: Floats | None = None  # (n, labels), each for itself; None where a system gave labels alone

    def labels(self) -> list[Label]:
        return self._named(self.truth)

    def predictions(self) -> list[Label]:
        return self._named(self.predicted)

    def _named(self, holds: Bools) -> list[Label]:
        return [[name for name, held in zip(self.names, row, strict=True) if held] for row in holds.tolist()]

    def to_columns(self) -> RowColumns:
        scores = None if self.probabilities is None else self.probabilities.tolist()
        return {**super().to_columns(), "names": list(self.names), "scores": scores}

    @classmethod
    def from_columns(cls, columns: Columns) -> Self:
        names = tuple(columns["names"])
        ids = {name: i for i, name in enumerate(names)}
        truth, predicted = (np.zeros((len(columns["id"]), len(names)), dtype=bool) for _ in range(2))
        for key, holds in (("label", truth), ("prediction", predicted)):
            for row, labels in enumerate(columns[key]):
                holds[row, [ids[name] for name in labels]] = True
        return cls(truth, predicted, names, floats(columns["scores"]))


@dataclass(frozen=True, eq=False)
class Numbers(Observations):
    """One number for each row."""

    kind = "numbers"

    truth: Floats  # (n,)
    predicted: Floats  # (n,)

    @classmethod
    def from_columns(cls, columns: Columns) -> Self:
        return cls(*(np.array(columns[key], dtype=np.float64) for key in ("label", "prediction")))


@dataclass(frozen=True, eq=False)
class ChoiceIds(Observations):
    """The number of the choice that was taken in each row, from 0."""

    kind = "choices"
    per_unit = ("truth", "predicted", "normalised", "scores")

    truth: Ints  # (n,)
    predicted: Ints  # (n,)
    normalised: Ints | None = None  # (n,): taken by the likelihood per character, where likelihoods were compared
    scores: tuple[tuple[float, ...], ...] | None = None  # of the choices of each row, which may differ in number

    def to_columns(self) -> RowColumns:
        normalised = None if self.normalised is None else self.normalised.tolist()
        return {
            **super().to_columns(),
            "normalised": normalised,
            "scores": None if self.scores is None else [list(row) for row in self.scores],
        }

    @classmethod
    def from_columns(cls, columns: Columns) -> Self:
        truth, predicted = (np.array(columns[key], dtype=np.int64) for key in ("label", "prediction"))
        scores = None if columns["scores"] is None else tuple(map(tuple, columns["scores"]))
        return cls(truth, predicted, ints(columns["normalised"]), scores)


def softmax(logits: npt.ArrayLike) -> Floats:
    """Return the probabilities of logits (..., classes) in float64."""
    from scipy import special

    return np.asarray(special.softmax(np.asarray(logits, dtype=np.float64), axis=-1))
