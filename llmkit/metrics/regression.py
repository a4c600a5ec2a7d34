"""Metrics of predicted numbers, on scipy and scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from datasets import Value
from scipy import stats
from sklearn import metrics as sklearn_metrics

from llmkit.metrics.base import Metric, RowFeatures
from llmkit.metrics.measures import WeightedValues, safe_divide, weight_below, weighted_mean
from llmkit.metrics.observations import Floats, Numbers


class NumberMetric(Metric[Numbers]):
    """A metric of two lists of numbers. Numbers that are not finite give NaN."""

    observed = Numbers
    needs = "a predicted number for each row"
    source = "Virtanen et al., SciPy 1.0, Nature Methods 17, 2020."
    inputs = "predictions, references: one number per row"

    @classmethod
    def row_features(cls) -> RowFeatures:
        return {"predictions": Value("float64"), "references": Value("float64")}

    def to_observations(self, *, predictions: npt.ArrayLike, references: npt.ArrayLike) -> Numbers:
        return Numbers(np.asarray(references, dtype=np.float64), np.asarray(predictions, dtype=np.float64))


class Correlation(NumberMetric):
    """A correlation; NaN where a side is constant."""

    statistic: ClassVar[Callable[..., tuple[float, float]]]

    def value(self, observations: Numbers) -> float:
        truth, predicted = observations.truth, observations.predicted
        if not _finite(observations) or np.ptp(predicted) == 0 or np.ptp(truth) == 0:
            return float("nan")
        return float(type(self).statistic(predicted, truth)[0])


class Pearson(Correlation):
    key = "pearson"
    about = "Pearson's linear correlation, from -1 to 1; NaN when a side is constant."
    statistic = stats.pearsonr

    def weighted_values(self, observations: Numbers) -> WeightedValues:
        if np.isnan(self.value(observations)):
            return _undefined
        x, y = (stats.zscore(side) for side in (observations.truth, observations.predicted))
        columns = np.stack([np.ones(len(x)), x, y, x * x, y * y, x * y], axis=1)

        def weighted(weights: Floats) -> Floats:
            sums = weights @ columns
            mean_x, mean_y, xx, yy, xy = safe_divide(sums[:, 1:], sums[:, :1]).T
            spread = (xx - mean_x**2) * (yy - mean_y**2)
            values = safe_divide(xy - mean_x * mean_y, np.sqrt(np.maximum(spread, 0)))
            for row in np.flatnonzero(~(spread > 1e-6)):  # too near constant for the short formula
                values[row] = _weighted_pearson(x, y, weights[row])
            return np.clip(values, -1, 1)

        return weighted


class Spearman(Correlation):
    key = "spearman"
    about = "Spearman's rank correlation, from -1 to 1; NaN when a side is constant."
    statistic = stats.spearmanr

    def weighted_values(self, observations: Numbers) -> WeightedValues:
        if np.isnan(self.value(observations)):
            return _undefined
        rank_x, rank_y = (weight_below(side, side) for side in (observations.truth, observations.predicted))

        def weighted(weights: Floats) -> Floats:
            # the ranks are those of the resample, less one half; their mean is half of the total weight
            middle = weights.sum(1, keepdims=True) / 2
            x, y = rank_x(weights) - middle, rank_y(weights) - middle
            xx, yy, xy = (np.einsum("bi,bi,bi->b", weights, a, b) for a, b in ((x, x), (y, y), (x, y)))
            return safe_divide(xy, np.sqrt(xx * yy))

        return weighted


class MeanSquaredError(NumberMetric):
    key = "mse"
    about = "The mean of the squared differences."

    def value(self, observations: Numbers) -> float:
        if not _finite(observations):
            return float("nan")
        return float(sklearn_metrics.mean_squared_error(observations.truth, observations.predicted))

    def weighted_values(self, observations: Numbers) -> WeightedValues:
        if not _finite(observations):
            return _undefined
        return weighted_mean((observations.truth - observations.predicted) ** 2)


def _finite(observations: Numbers) -> bool:
    return bool(np.isfinite(observations.truth).all() and np.isfinite(observations.predicted).all())


def _undefined(weights: Floats) -> Floats:
    return np.full(len(weights), np.nan)


def _weighted_pearson(x: Floats, y: Floats, weights: Floats) -> float:
    """Return the correlation by deviations from the mean, exact where few rows weigh anything."""
    drawn = weights > 0
    x, y, weights = x[drawn], y[drawn], weights[drawn]
    if len(x) == 0 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    x, y = x - np.average(x, weights=weights), y - np.average(y, weights=weights)
    return float((weights * x * y).sum() / np.sqrt((weights * x * x).sum() * (weights * y * y).sum()))
