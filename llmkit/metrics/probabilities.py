"""Metrics of predicted probabilities, on scikit-learn: how well they rank the classes, how far to trust them."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import numpy.typing as npt
from datasets import Sequence, Value
from scipy import sparse
from sklearn import metrics as sklearn_metrics

from llmkit.metrics.base import Metric, RowFeatures
from llmkit.metrics.measures import WeightedValues, safe_divide, weight_below, weighted_mean
from llmkit.metrics.observations import Bools, Classes, Floats, Ints, LabelSets, Observations
from llmkit.output.result_parts import CalibrationBin

CALIBRATION_BINS = 10
BIN_EDGES = np.linspace(0, 1, CALIBRATION_BINS + 1)


class ProbabilityMetric(Metric[Classes]):
    """A metric of a probability for each class and the true class. Probabilities that are not finite give NaN."""

    observed = Classes
    needs = "a probability for each class"
    source = "Pedregosa et al., Scikit-learn: Machine Learning in Python, JMLR 12, 2011."
    inputs = "predictions: a probability for each class; references: class ids, one integer per row"

    @classmethod
    def row_features(cls) -> RowFeatures:
        return {"predictions": Sequence(Value("float64")), "references": Value("int64")}

    def to_observations(
        self, *, predictions: npt.ArrayLike, references: npt.ArrayLike, positive: int | None = None
    ) -> Classes:
        probabilities = np.asarray(predictions, dtype=np.float64)
        names = tuple(map(str, range(probabilities.shape[1])))
        return Classes(np.asarray(references), probabilities.argmax(1), names, probabilities, positive)

    def fits(self, observations: Observations) -> bool:
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
        probabilities = _probabilities(observations)
        if np.isnan(probabilities).any():
            return float("nan")
        values = [
            self.value_of_class(truth, of_class)
            for truth, of_class in _sides(observations, probabilities)
            if 0 < truth.sum() < len(observations)
        ]
        return float(np.mean(values)) if values else float("nan")

    def weighted_values(self, observations: Classes | LabelSets) -> WeightedValues:
        probabilities = _probabilities(observations)
        classes = [self.weighted_values_of_class(*of_class) for of_class in _sides(observations, probabilities)]

        def weighted(weights: Floats) -> Floats:
            total, defined = np.zeros(len(weights)), np.zeros(len(weights))
            for of_class in classes:
                values = of_class(weights)
                total += np.nan_to_num(values)
                defined += ~np.isnan(values)
            return safe_divide(total, defined)

        return weighted if not np.isnan(probabilities).any() else lambda weights: np.full(len(weights), np.nan)

    def fits(self, observations: Observations) -> bool:
        sets = isinstance(observations, LabelSets) and observations.probabilities is not None
        return sets or super().fits(observations)

    def averaging(self, observations: Classes | LabelSets) -> str | None:
        if isinstance(observations, LabelSets):
            return "macro"
        targets = _targets(observations)
        return f"class {observations.names[targets[0]]!r}" if len(targets) == 1 else "one-vs-rest macro"

    @abstractmethod
    def value_of_class(self, truth: Bools, probabilities: Floats) -> float:
        """Return the metric of one class: whether each row is of it (n,), and its probability (n,)."""

    @abstractmethod
    def weighted_values_of_class(self, truth: Bools, probabilities: Floats) -> WeightedValues:
        """Return weights (B, n) -> values (B,) of one class; NaN where rows of it, or of others, weigh nothing."""


class RocAuc(RankingMetric):
    key = "roc_auc"
    about = "The area under the ROC curve: how often a row of the class is ranked above another, ties by half."

    def value_of_class(self, truth: Bools, probabilities: Floats) -> float:
        return float(sklearn_metrics.roc_auc_score(truth, probabilities))

    def weighted_values_of_class(self, truth: Bools, probabilities: Floats) -> WeightedValues:
        rows_of_class, other_rows = np.flatnonzero(truth), np.flatnonzero(~truth)
        rows_of_class = rows_of_class[
            np.argsort(probabilities[rows_of_class])
        ]  # in order, so that `weight_below` reads memory in order
        beaten = weight_below(probabilities[other_rows], probabilities[rows_of_class])

        def weighted(weights: Floats) -> Floats:
            positives, negatives = weights[:, rows_of_class], weights[:, other_rows]
            wins = np.einsum("bi,bi->b", positives, beaten(negatives))
            return safe_divide(wins, positives.sum(1) * negatives.sum(1))

        return weighted


class AveragePrecision(RankingMetric):
    key = "average_precision"
    about = "Average precision: the mean of the precision at each row of the class, from the most probable down."

    def value_of_class(self, truth: Bools, probabilities: Floats) -> float:
        return float(sklearn_metrics.average_precision_score(truth, probabilities))

    def weighted_values_of_class(self, truth: Bools, probabilities: Floats) -> WeightedValues:
        order = np.argsort(-probabilities, kind="stable")
        # rows of equal probability come together
        ends = np.flatnonzero(np.append(np.diff(probabilities[order]) != 0, True))
        correct = truth[order].astype(np.float64)

        def weighted(weights: Floats) -> Floats:
            taken = weights[:, order]
            reached = np.cumsum(taken, axis=1)[:, ends]
            recalled = np.cumsum(np.multiply(taken, correct, out=taken), axis=1)[:, ends]
            precision = safe_divide(recalled, reached, 0.0)
            gained = np.diff(recalled, axis=1, prepend=0)
            values = safe_divide(np.einsum("bi,bi->b", gained, precision), recalled[:, -1])
            return np.where(recalled[:, -1] < reached[:, -1], values, np.nan)

        return weighted


class Brier(ProbabilityMetric):
    """Of two classes: the mean of (probability of class 1 - whether it is class 1) squared, from 0 to 1.

    Of more: the mean over the rows of the sum over the classes, from 0 to 2 (Brier 1950), as scikit-learn.
    """

    key = "brier"
    about = "The Brier score: mean squared distance between probabilities and truth; lower is better."

    def value(self, observations: Classes) -> float:
        return float(self._losses(observations).mean())

    def weighted_values(self, observations: Classes) -> WeightedValues:
        return weighted_mean(self._losses(observations))

    def _losses(self, observations: Classes) -> Floats:
        probabilities = _probabilities(observations)
        if len(observations.names) == 2:
            target = _targets(observations)[0]
            return np.asarray((probabilities[:, target] - (observations.truth == target)) ** 2)
        return np.asarray(((probabilities - np.eye(len(observations.names))[observations.truth]) ** 2).sum(1))


class ExpectedCalibrationError(ProbabilityMetric):
    key = "ece"
    about = (
        "Expected calibration error: how far the confidence in the top class is from its accuracy, in 10 equal bins."
    )
    source = "Guo et al., On Calibration of Modern Neural Networks, ICML 2017."

    def weighted_values(self, observations: Classes) -> WeightedValues:
        confidence, correct, bins = _reliability(observations)
        rows = np.arange(len(bins))
        gaps = sparse.csr_array((correct - confidence, (rows, bins)), shape=(len(bins), CALIBRATION_BINS))
        return lambda weights: safe_divide(np.abs(weights @ gaps).sum(1), weights.sum(1))


def calibration_bins(observations: Classes) -> list[CalibrationBin]:
    """Return the rows by confidence in the top class, 10 bins: count, mean confidence, accuracy (None if empty)."""
    confidence, correct, bins = _reliability(observations)
    counts, confidences, hits = (
        np.bincount(bins, weights, CALIBRATION_BINS) for weights in (None, confidence, correct)
    )
    return [
        {
            "low": round(float(BIN_EDGES[index]), 1),
            "high": round(float(BIN_EDGES[index + 1]), 1),
            "count": int(counts[index]),
            "confidence": float(confidences[index] / counts[index]) if counts[index] else None,
            "accuracy": float(hits[index] / counts[index]) if counts[index] else None,
        }
        for index in range(CALIBRATION_BINS)
    ]


def _reliability(observations: Classes) -> tuple[Floats, Floats, Ints]:
    """Return the confidence of each row, whether its top class is right, and its bin: a bin holds its upper edge."""
    probabilities = _probabilities(observations)
    confidence = probabilities.max(1)
    correct = (probabilities.argmax(1) == observations.truth).astype(np.float64)
    bins = np.searchsorted(BIN_EDGES[1:-1], confidence, side="left")
    return confidence, correct, bins


def _probabilities(observations: Classes | LabelSets) -> Floats:
    """Return the probabilities (n, classes): all NaN if any is not finite, so that the figure is."""
    assert observations.probabilities is not None
    probabilities = observations.probabilities
    return probabilities if np.isfinite(probabilities).all() else np.full_like(probabilities, np.nan)


def _sides(observations: Classes | LabelSets, probabilities: Floats) -> list[tuple[Bools, Floats]]:
    """Return for each class that a figure is of, or each label: whether rows are of it (n,), and its probability."""
    if isinstance(observations, LabelSets):
        return [(observations.truth[:, label], probabilities[:, label]) for label in range(len(observations.names))]
    return [(np.asarray(observations.truth == target), probabilities[:, target]) for target in _targets(observations)]


def _targets(observations: Classes) -> list[int]:
    if observations.positive is not None:
        return [observations.positive]
    return [1] if len(observations.names) == 2 else list(range(len(observations.names)))
