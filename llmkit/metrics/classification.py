"""Metrics of predicted classes, on scikit-learn.

They are functions of how often each pair (truth, predicted) occurs, so rows are first counted into such cells: a figure
of a million rows costs no more than one of a thousand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np
from datasets import Value
from scipy import sparse
from sklearn import metrics as sklearn_metrics

from llmkit.metrics.base import Metric
from llmkit.metrics.measures import HitShare, Weigher, quotient, remembered
from llmkit.metrics.observations import Classes, Floats, Ints
from llmkit.metrics.probabilities import calibration_bins

__all__ = ["Tallies", "calibration_bins", "cells", "confusion", "per_class", "scores", "tallier"]


@remembered
def cells(observations: Classes) -> tuple[Classes, Ints]:
    """Return one row for each pair (truth, predicted) that occurs, and how often each does, (cells,)."""
    width = len(observations.names)
    codes, counts = np.unique(observations.truth * width + observations.predicted, return_counts=True)
    return Classes(codes // width, codes % width, observations.names, positive=observations.positive), counts


class Tallies(NamedTuple):
    """Weights by class, (B, K) each: of its rows guessed right, of its rows, of the rows predicted as it."""

    right: Floats
    truth: Floats
    predicted: Floats


def tallier(observations: Classes) -> Callable[[Floats], Tallies]:
    """Return weights (B, n) -> their `Tallies`."""
    rows, shape = np.arange(len(observations)), (len(observations), len(observations.names))
    right = (observations.truth == observations.predicted).astype(np.float64)
    sums = [
        sparse.csr_array((entries, (rows, column)), shape=shape)
        for entries, column in (
            (right, observations.truth),
            (np.ones(len(rows)), observations.truth),
            (np.ones(len(rows)), observations.predicted),
        )
    ]
    return lambda weights: Tallies(*(weights @ matrix for matrix in sums))


def scores(tallies: Tallies) -> dict[str, Floats]:
    """Return precision, recall and F1 of each class, (B, K); 0 where there is nothing to divide by, as scikit-learn."""
    right, truth, predicted = tallies
    return {
        "precision": quotient(right, predicted, 0.0),
        "recall": quotient(right, truth, 0.0),
        "f1": quotient(2 * right, truth + predicted, 0.0),
    }


class ClassMetric(Metric[Classes]):
    """A metric of two lists of class ids."""

    kind = Classes
    needs = "a predicted class for each row"
    of_cells = True
    source = "Pedregosa et al., Scikit-learn: Machine Learning in Python, JMLR 12, 2011."
    inputs = "predictions, references: class ids, one integer per row"

    @classmethod
    def columns(cls) -> dict[str, Any]:
        return {"predictions": Value("int64"), "references": Value("int64")}

    def observe(self, *, predictions: Any, references: Any, positive: int | None = None) -> Classes:
        truth, predicted = np.asarray(references, dtype=np.int64), np.asarray(predictions, dtype=np.int64)
        classes = 1 + max(truth.max(initial=0), predicted.max(initial=0), positive or 0)
        return Classes(truth, predicted, tuple(map(str, range(classes))), positive=positive)


class Accuracy(HitShare[Classes], ClassMetric):
    key = "accuracy"
    about = "The share of rows whose predicted class is the right one."

    def value(self, observations: Classes) -> float:
        pairs, counts = cells(observations)
        return float(sklearn_metrics.accuracy_score(pairs.truth, pairs.predicted, sample_weight=counts))

    def hits(self, observations: Classes) -> Floats:
        return np.asarray(observations.truth == observations.predicted, dtype=np.float64)


class BalancedAccuracy(ClassMetric):
    key = "balanced_accuracy"
    about = "The mean over the classes of the share of their rows that are predicted as them."

    def value(self, observations: Classes) -> float:
        pairs, counts = cells(observations)  # scikit-learn's own function warns of a class that is only predicted
        labels = np.unique(pairs.truth)
        return float(
            sklearn_metrics.recall_score(
                pairs.truth, pairs.predicted, labels=labels, average="macro", sample_weight=counts, zero_division=0
            )
        )

    def weigher(self, observations: Classes) -> Weigher:
        tally = tallier(observations)

        def weigh(weights: Floats) -> Floats:
            tallies = tally(weights)
            return quotient(scores(tallies)["recall"].sum(1), (tallies.truth > 0).sum(1))

        return weigh


class MatthewsCorrelation(ClassMetric):
    key = "matthews_correlation"
    about = "Matthews' correlation coefficient, from -1 to 1; CoLA's metric. 0 where a side is constant."

    def value(self, observations: Classes) -> float:
        pairs, counts = cells(observations)
        if len(pairs) == 1:  # scikit-learn says 0 too, and warns
            return 0.0
        return float(sklearn_metrics.matthews_corrcoef(pairs.truth, pairs.predicted, sample_weight=counts))

    def weigher(self, observations: Classes) -> Weigher:
        tally = tallier(observations)

        def weigh(weights: Floats) -> Floats:
            right, truth, predicted = tally(weights)
            total = truth.sum(1)
            shared = right.sum(1) * total - (truth * predicted).sum(1)
            spread = (total**2 - (truth**2).sum(1)) * (total**2 - (predicted**2).sum(1))
            return quotient(shared, np.sqrt(np.maximum(spread, 0)), 0.0)

        return weigh


class AveragedMetric(ClassMetric):
    """Precision, recall or F1: of the positive class; macro without one; or as the configuration's name says.

    Macro is the mean over the classes that occur in the truth or among the predictions (scikit-learn's default).
    """

    score: ClassVar[Callable[..., Any]]

    def value(self, observations: Classes) -> float:
        pairs, counts = cells(observations)
        options = {"sample_weight": counts, "zero_division": 0}
        positive = self._positive(observations)
        if positive is None:
            average = "macro" if self.config_name == "default" else self.config_name
            return float(type(self).score(pairs.truth, pairs.predicted, average=average, **options))
        return float(type(self).score(pairs.truth == positive, pairs.predicted == positive, **options))

    def weigher(self, observations: Classes) -> Weigher:
        tally, average = tallier(observations), AVERAGES.get(self.config_name, _macro)
        positive = self._positive(observations)

        def weigh(weights: Floats) -> Floats:
            tallies = tally(weights)
            if positive is None:
                return average(scores(tallies)[type(self).key], tallies)
            return scores(tallies)[type(self).key][:, positive]

        return weigh

    def proportion(self, observations: Classes) -> tuple[int, int] | None:
        pairs, counts = cells(observations)
        right = pairs.truth == pairs.predicted
        if self.config_name == "micro":  # of single-label rows it is the accuracy
            return int(counts[right].sum()), int(counts.sum())
        positive = self._positive(observations)
        if positive is None or self.key == "f1":
            return None
        return int(counts[right & (pairs.truth == positive)].sum()), self.size(observations)

    def size(self, observations: Classes) -> int:
        positive = self._positive(observations)
        side = {"precision": observations.predicted, "recall": observations.truth}.get(self.key)
        return len(observations) if positive is None or side is None else int((side == positive).sum())

    def note(self, observations: Classes) -> str | None:
        positive = self._positive(observations)
        if self.config_name != "default":
            return None
        return "macro" if positive is None else f"class {observations.names[positive]!r}"

    def _positive(self, observations: Classes) -> int | None:
        return observations.positive if self.config_name == "default" else None


def _macro(values: Floats, tallies: Tallies) -> Floats:
    return quotient(values.sum(1), (tallies.truth + tallies.predicted > 0).sum(1))


def _micro(values: Floats, tallies: Tallies) -> Floats:
    return quotient(tallies.right.sum(1), tallies.truth.sum(1))


def _by_support(values: Floats, tallies: Tallies) -> Floats:
    return quotient((values * tallies.truth).sum(1), tallies.truth.sum(1))


AVERAGES = {"macro": _macro, "micro": _micro, "weighted": _by_support}


class F1(AveragedMetric):
    key = "f1"
    about = "The harmonic mean of precision and recall: of one class, or the mean over the classes (macro)."
    score = sklearn_metrics.f1_score


class Precision(AveragedMetric):
    key = "precision"
    about = "The share of the rows predicted as a class that belong to it: of one class, or macro."
    score = sklearn_metrics.precision_score


class Recall(AveragedMetric):
    key = "recall"
    about = "The share of a class's rows that are predicted as it: of one class, or macro."
    score = sklearn_metrics.recall_score


def per_class(observations: Classes) -> dict[str, dict[str, float]]:
    """Return precision, recall, F1 and support (rows) of each class by its name, in the order of the names."""
    pairs, counts = cells(observations)
    columns = sklearn_metrics.precision_recall_fscore_support(
        pairs.truth, pairs.predicted, labels=list(range(len(observations.names))), sample_weight=counts, zero_division=0
    )
    keys = ("precision", "recall", "f1")
    return {
        name: {key: float(column[index]) for key, column in zip(keys, columns, strict=False)}
        | {"support": int(columns[3][index])}
        for index, name in enumerate(observations.names)
    }


def confusion(observations: Classes) -> dict[str, Any]:
    """Return the class names and how many rows of each class (outer list) were predicted as each (inner list)."""
    pairs, counts = cells(observations)
    table = np.zeros((len(observations.names), len(observations.names)), dtype=np.int64)
    table[pairs.truth, pairs.predicted] = counts
    return {"labels": list(observations.names), "counts": table.tolist()}
