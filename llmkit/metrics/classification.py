"""Metrics of predicted classes, on scikit-learn.

They are functions of how often each pair (truth, predicted) occurs, so rows are first counted into such cells: a figure
of a million rows costs no more than one of a thousand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
from datasets import Value
from scipy import sparse
from sklearn import metrics as sklearn_metrics

from llmkit.metrics.base import Metric, RowFeatures
from llmkit.metrics.measures import CorrectShare, WeightedValues, memoized, safe_divide
from llmkit.metrics.observations import Classes, Floats, Ints
from llmkit.metrics.probabilities import calibration_bins
from llmkit.output.result_parts import ClassResult, ConfusionMatrix

__all__ = [
    "WeightedCounts",
    "calibration_bins",
    "confusion",
    "confusion_cells",
    "per_class",
    "scores",
    "weighted_counts",
]


@memoized
def confusion_cells(observations: Classes) -> tuple[Classes, Ints]:
    """Return one row for each pair (truth, predicted) that occurs, and how often each does, (cells,)."""
    width = len(observations.names)
    codes, counts = np.unique(observations.truth * width + observations.predicted, return_counts=True)
    return Classes(codes // width, codes % width, observations.names, positive=observations.positive), counts


class WeightedCounts(NamedTuple):
    """By class, (B, K) each: the weight of its rows predicted right, of its rows, of the rows predicted as it."""

    true_positives: Floats
    support: Floats
    predicted: Floats


def weighted_counts(observations: Classes) -> Callable[[Floats], WeightedCounts]:
    """Return sample weights (B, n) -> what they sum to by class, (B, K) each."""
    rows, shape = np.arange(len(observations)), (len(observations), len(observations.names))
    correct = (observations.truth == observations.predicted).astype(np.float64)
    sums = [
        sparse.csr_array((entries, (rows, column)), shape=shape)
        for entries, column in (
            (correct, observations.truth),
            (np.ones(len(rows)), observations.truth),
            (np.ones(len(rows)), observations.predicted),
        )
    ]
    return lambda weights: WeightedCounts(*(weights @ matrix for matrix in sums))


def scores(counts: WeightedCounts) -> dict[str, Floats]:
    """Return precision, recall and F1 of each class, (B, K); 0 where there is nothing to divide by, as scikit-learn."""
    true_positives, support, predicted = counts
    return {
        "precision": safe_divide(true_positives, predicted, 0.0),
        "recall": safe_divide(true_positives, support, 0.0),
        "f1": safe_divide(2 * true_positives, support + predicted, 0.0),
    }


class ClassMetric(Metric[Classes]):
    """A metric of two lists of class ids."""

    observed = Classes
    needs = "a predicted class for each row"
    of_cells = True
    source = "Pedregosa et al., Scikit-learn: Machine Learning in Python, JMLR 12, 2011."
    inputs = "predictions, references: class ids, one integer per row"

    @classmethod
    def row_features(cls) -> RowFeatures:
        return {"predictions": Value("int64"), "references": Value("int64")}

    def to_observations(
        self, *, predictions: npt.ArrayLike, references: npt.ArrayLike, positive: int | None = None
    ) -> Classes:
        truth, predicted = np.asarray(references, dtype=np.int64), np.asarray(predictions, dtype=np.int64)
        classes = 1 + max(truth.max(initial=0), predicted.max(initial=0), positive or 0)
        return Classes(truth, predicted, tuple(map(str, range(classes))), positive=positive)


class Accuracy(CorrectShare[Classes], ClassMetric):
    key = "accuracy"
    about = "The share of rows whose predicted class is the right one."

    def value(self, observations: Classes) -> float:
        pairs, counts = confusion_cells(observations)
        return float(sklearn_metrics.accuracy_score(pairs.truth, pairs.predicted, sample_weight=counts))

    def correctness(self, observations: Classes) -> Floats:
        return np.asarray(observations.truth == observations.predicted, dtype=np.float64)


class BalancedAccuracy(ClassMetric):
    key = "balanced_accuracy"
    about = "The mean over the classes of the share of their rows that are predicted as them."

    def value(self, observations: Classes) -> float:
        pairs, counts = confusion_cells(
            observations
        )  # scikit-learn's own function warns of a class that is only predicted
        labels = np.unique(pairs.truth)
        return float(
            sklearn_metrics.recall_score(
                pairs.truth, pairs.predicted, labels=labels, average="macro", sample_weight=counts, zero_division=0
            )
        )

    def weighted_values(self, observations: Classes) -> WeightedValues:
        count = weighted_counts(observations)

        def weighted(weights: Floats) -> Floats:
            counts = count(weights)
            return safe_divide(scores(counts)["recall"].sum(1), (counts.support > 0).sum(1))

        return weighted


class MatthewsCorrelation(ClassMetric):
    key = "matthews_correlation"
    about = "Matthews' correlation coefficient, from -1 to 1; CoLA's metric. 0 where a side is constant."

    def value(self, observations: Classes) -> float:
        pairs, counts = confusion_cells(observations)
        if len(pairs) == 1:  # scikit-learn says 0 too, and warns
            return 0.0
        return float(sklearn_metrics.matthews_corrcoef(pairs.truth, pairs.predicted, sample_weight=counts))

    def weighted_values(self, observations: Classes) -> WeightedValues:
        count = weighted_counts(observations)

        def weighted(weights: Floats) -> Floats:
            true_positives, support, predicted = count(weights)
            total = support.sum(1)
            shared = true_positives.sum(1) * total - (support * predicted).sum(1)
            spread = (total**2 - (support**2).sum(1)) * (total**2 - (predicted**2).sum(1))
            return safe_divide(shared, np.sqrt(np.maximum(spread, 0)), 0.0)

        return weighted


class AveragedMetric(ClassMetric):
    """Precision, recall or F1: of the positive class; macro without one; or as the configuration's name says.

    Macro is the mean over the classes that occur in the truth or among the predictions (scikit-learn's default).
    """

    score: ClassVar[Callable[..., float]]

    def value(self, observations: Classes) -> float:
        pairs, counts = confusion_cells(observations)
        options = {"sample_weight": counts, "zero_division": 0}
        positive = self._positive(observations)
        if positive is None:
            average = "macro" if self.config_name == "default" else self.config_name
            return float(type(self).score(pairs.truth, pairs.predicted, average=average, **options))
        return float(type(self).score(pairs.truth == positive, pairs.predicted == positive, **options))

    def weighted_values(self, observations: Classes) -> WeightedValues:
        count, average = weighted_counts(observations), AVERAGES.get(self.config_name, _macro)
        positive = self._positive(observations)

        def weighted(weights: Floats) -> Floats:
            counts = count(weights)
            if positive is None:
                return average(scores(counts)[type(self).key], counts)
            return scores(counts)[type(self).key][:, positive]

        return weighted

    def proportion(self, observations: Classes) -> tuple[int, int] | None:
        pairs, counts = confusion_cells(observations)
        correct = pairs.truth == pairs.predicted
        if self.config_name == "micro":  # of single-label rows it is the accuracy
            return int(counts[correct].sum()), int(counts.sum())
        positive = self._positive(observations)
        if positive is None or self.key == "f1":
            return None
        return int(counts[correct & (pairs.truth == positive)].sum()), self.size(observations)

    def size(self, observations: Classes) -> int:
        positive = self._positive(observations)
        side = {"precision": observations.predicted, "recall": observations.truth}.get(self.key)
        return len(observations) if positive is None or side is None else int((side == positive).sum())

    def averaging(self, observations: Classes) -> str | None:
        positive = self._positive(observations)
        if self.config_name != "default":
            return None
        return "macro" if positive is None else f"class {observations.names[positive]!r}"

    def _positive(self, observations: Classes) -> int | None:
        return observations.positive if self.config_name == "default" else None


def _macro(values: Floats, counts: WeightedCounts) -> Floats:
    return safe_divide(values.sum(1), (counts.support + counts.predicted > 0).sum(1))


def _micro(values: Floats, counts: WeightedCounts) -> Floats:
    return safe_divide(counts.true_positives.sum(1), counts.support.sum(1))


def _by_support(values: Floats, counts: WeightedCounts) -> Floats:
    return safe_divide((values * counts.support).sum(1), counts.support.sum(1))


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


def per_class(observations: Classes) -> dict[str, ClassResult]:
    """Return precision, recall, F1 and support (rows) of each class by its name, in the order of the names."""
    pairs, counts = confusion_cells(observations)
    precision, recall, f1, support = sklearn_metrics.precision_recall_fscore_support(
        pairs.truth, pairs.predicted, labels=list(range(len(observations.names))), sample_weight=counts, zero_division=0
    )
    return {
        name: {
            "precision": float(precision[index]),
            "recall": float(recall[index]),
            "f1": float(f1[index]),
            "support": int(support[index]),
        }
        for index, name in enumerate(observations.names)
    }


def confusion(observations: Classes) -> ConfusionMatrix:
    """Return the class names and how many rows of each class (outer list) were predicted as each (inner list)."""
    pairs, counts = confusion_cells(observations)
    table = np.zeros((len(observations.names), len(observations.names)), dtype=np.int64)
    table[pairs.truth, pairs.predicted] = counts
    return {"labels": list(observations.names), "counts": table.tolist()}
