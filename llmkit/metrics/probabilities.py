"""Metrics of predicted probabilities, on scikit-learn: how well they rank the classes, how far to trust them."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from datasets import Sequence, Value
from scipy import sparse
from sklearn import metrics as sklearn_metrics

from llmkit.metrics.base import Metric
from llmkit.metrics.measures import Weigher, below, mean_weigher, quotient
from llmkit.metrics.observations import Bools, Classes, Floats, Ints, LabelSets

BINS = 10
EDGES = np.linspace(0, 1, BINS + 1)


class ProbabilityMetric(Metric[Classes]):
    """A metric of a probability for each class and the true class. Probabilities that are not finite give NaN."""

    kind = Classes
    needs = "a probability for each class"
    source = "Pedregosa et al., Scikit-learn: Machine Learning in Python, JMLR 12, 2011."
    inputs = "predictions: a probability for each class; references: class ids, one integer per row"

    @classmethod
    def columns(cls) -> dict[str, Any]:
        return {"predictions": Sequence(Value("float64")), "references": Value("int64")}

    def observe(self, *, predictions: Any, references: Any, positive: int | None = None) -> Classes:
        probabilities = np.asarray(predictions, dtype=np.float64)
        names = tuple(map(str, range(probabilities.shape[1])))
        return Classes(np.asarray(references), probabilities.argmax(1), names, probabilities, positive)

    def fits(self, observations: Any) -> bool:
        return (
            isinstance(observations, Classes) and observations.probabilities is not None and len(observations.names) > 1
        )


class RankingMetric(ProbabilityMetric):
    """A metric of how well the probability of a class ranks its rows above the others.

    Of the positive class, of class 1 where there are two, else the mean over the classes that occur in the truth (one
    against the rest, as scikit-learn's multi_class="ovr"); of sets of labels, the mean over those that hold of some
    rows and not of others. NaN where no class has both rows of it and rows of another.
    """

    def value(self, observations: Classes | LabelSets) -> float:
        chances = _chances(observations)
        if np.isnan(chances).any():
            return float("nan")
        found = [
            self.of_one(truth, chance)
            for truth, chance in _sides(observations, chances)
            if 0 < truth.sum() < len(observations)
        ]
        return float(np.mean(found)) if found else float("nan")

    def weigher(self, observations: Classes | LabelSets) -> Weigher:
        chances = _chances(observations)
        each = [self.weigher_of_one(truth, chance) for truth, chance in _sides(observations, chances)]

        def weigh(weights: Floats) -> Floats:
            total, defined = np.zeros(len(weights)), np.zeros(len(weights))
            for weigh_one in each:
                values = weigh_one(weights)
                total += np.nan_to_num(values)
                defined += ~np.isnan(values)
            return quotient(total, defined)

        return weigh if not np.isnan(chances).any() else lambda weights: np.full(len(weights), np.nan)

    def fits(self, observations: Any) -> bool:
        sets = isinstance(observations, LabelSets) and observations.probabilities is not None
        return sets or super().fits(observations)

    def note(self, observations: Classes | LabelSets) -> str | None:
        if isinstance(observations, LabelSets):
            return "macro"
        targets = _targets(observations)
        return f"class {observations.names[targets[0]]!r}" if len(targets) == 1 else "one-vs-rest macro"

    @abstractmethod
    def of_one(self, truth: Any, chances: Floats) -> float:
        """Return the metric of one class: whether each row is of it (n,), and its probability (n,)."""

    @abstractmethod
    def weigher_of_one(self, truth: Any, chances: Floats) -> Weigher:
        """Return the weigher of one class; NaN where rows of it, or of others, weigh nothing."""


class RocAuc(RankingMetric):
    key = "roc_auc"
    about = "The area under the ROC curve: how often a row of the class is ranked above another, ties by half."

    def of_one(self, truth: Any, chances: Floats) -> float:
        return float(sklearn_metrics.roc_auc_score(truth, chances))

    def weigher_of_one(self, truth: Any, chances: Floats) -> Weigher:
        inside, outside = np.flatnonzero(truth), np.flatnonzero(~truth)
        inside = inside[np.argsort(chances[inside])]  # in order, so that `below` reads memory in order
        beaten = below(chances[outside], chances[inside])

        def weigh(weights: Floats) -> Floats:
            ours, others = weights[:, inside], weights[:, outside]
            wins = np.einsum("bi,bi->b", ours, beaten(others))
            return quotient(wins, ours.sum(1) * others.sum(1))

        return weigh


class AveragePrecision(RankingMetric):
    key = "average_precision"
    about = "Average precision: the mean of the precision at each row of the class, from the most probable down."

    def of_one(self, truth: Any, chances: Floats) -> float:
        return float(sklearn_metrics.average_precision_score(truth, chances))

    def weigher_of_one(self, truth: Any, chances: Floats) -> Weigher:
        order = np.argsort(-chances, kind="stable")
        ends = np.flatnonzero(np.append(np.diff(chances[order]) != 0, True))  # rows of equal probability come together
        right = truth[order].astype(np.float64)

        def weigh(weights: Floats) -> Floats:
            taken = weights[:, order]
            reached = np.cumsum(taken, axis=1)[:, ends]
            found = np.cumsum(np.multiply(taken, right, out=taken), axis=1)[:, ends]
            precision = quotient(found, reached, 0.0)
            gained = np.diff(found, axis=1, prepend=0)
            value = quotient(np.einsum("bi,bi->b", gained, precision), found[:, -1])
            return np.where(found[:, -1] < reached[:, -1], value, np.nan)

        return weigh


class Brier(ProbabilityMetric):
    """Of two classes: the mean of (probability of class 1 - whether it is class 1) squared, from 0 to 1.

    Of more: the mean over the rows of the sum over the classes, from 0 to 2 (Brier 1950), as scikit-learn.
    """

    key = "brier"
    about = "The Brier score: mean squared distance between probabilities and truth; lower is better."

    def value(self, observations: Classes) -> float:
        return float(self._losses(observations).mean())

    def weigher(self, observations: Classes) -> Weigher:
        return mean_weigher(self._losses(observations))

    def _losses(self, observations: Classes) -> Floats:
        chances = _chances(observations)
        if len(observations.names) == 2:
            target = _targets(observations)[0]
            return np.asarray((chances[:, target] - (observations.truth == target)) ** 2)
        return np.asarray(((chances - np.eye(len(observations.names))[observations.truth]) ** 2).sum(1))


class ExpectedCalibrationError(ProbabilityMetric):
    key = "ece"
    about = (
        "Expected calibration error: how far the confidence in the top class is from its accuracy, in 10 equal bins."
    )
    source = "Guo et al., On Calibration of Modern Neural Networks, ICML 2017."

    def weigher(self, observations: Classes) -> Weigher:
        confidence, right, bins = _reliability(observations)
        rows = np.arange(len(bins))
        gaps = sparse.csr_array((right - confidence, (rows, bins)), shape=(len(bins), BINS))
        return lambda weights: quotient(np.abs(weights @ gaps).sum(1), weights.sum(1))


def calibration_bins(observations: Classes) -> list[dict[str, float | None]]:
    """Return the rows by confidence in the top class, 10 bins: count, mean confidence, accuracy (None if empty)."""
    confidence, right, bins = _reliability(observations)
    counts, sure, hits = (np.bincount(bins, some, BINS) for some in (None, confidence, right))
    return [
        {
            "low": round(float(EDGES[index]), 1),
            "high": round(float(EDGES[index + 1]), 1),
            "count": int(counts[index]),
            "confidence": float(sure[index] / counts[index]) if counts[index] else None,
            "accuracy": float(hits[index] / counts[index]) if counts[index] else None,
        }
        for index in range(BINS)
    ]


def _reliability(observations: Classes) -> tuple[Floats, Floats, Ints]:
    """Return the confidence of each row, whether its top class is right, and its bin: a bin holds its upper edge."""
    chances = _chances(observations)
    confidence = chances.max(1)
    right = (chances.argmax(1) == observations.truth).astype(np.float64)
    bins = np.searchsorted(EDGES[1:-1], confidence, side="left")
    return confidence, right, bins


def _chances(observations: Classes | LabelSets) -> Floats:
    """Return the probabilities (n, classes): all NaN if any is not finite, so that the figure is."""
    assert observations.probabilities is not None
    chances = observations.probabilities
    return chances if np.isfinite(chances).all() else np.full_like(chances, np.nan)


def _sides(observations: Classes | LabelSets, chances: Floats) -> list[tuple[Bools, Floats]]:
    """Return for each class that a figure is of, or each label: whether rows are of it (n,), and its probability."""
    if isinstance(observations, LabelSets):
        return [(observations.truth[:, label], chances[:, label]) for label in range(len(observations.names))]
    return [(np.asarray(observations.truth == target), chances[:, target]) for target in _targets(observations)]


def _targets(observations: Classes) -> list[int]:
    if observations.positive is not None:
        return [observations.positive]
    return [1] if len(observations.names) == 2 else list(range(len(observations.names)))
