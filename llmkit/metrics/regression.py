"""Metrics of predicted numbers, on scipy and scikit-learn."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from datasets import Value
from scipy import stats
from sklearn import metrics as sklearn_metrics

from llmkit.metrics.base import Metric
from llmkit.metrics.measures import Weigher, below, mean_weigher, quotient
from llmkit.metrics.observations import Floats, Numbers


class NumberMetric(Metric[Numbers]):
    """A metric of two lists of numbers. Numbers that are not finite give NaN."""

    kind = Numbers
    needs = "a predicted number for each row"
    source = "Virtanen et al., SciPy 1.0, Nature Methods 17, 2020."
    inputs = "predictions, references: one number per row"

    @classmethod
    def columns(cls) -> dict[str, Any]:
        return {"predictions": Value("float64"), "references": Value("float64")}

    def observe(self, *, predictions: Any, references: Any) -> Numbers:
        return Numbers(np.asarray(references, dtype=np.float64), np.asarray(predictions, dtype=np.float64))


class Correlation(NumberMetric):
    """A correlation; NaN where a side is constant."""

    statistic: ClassVar[Any]

    def value(self, observations: Numbers) -> float:
        truth, predicted = observations.truth, observations.predicted
        if not _finite(observations) or np.ptp(predicted) == 0 or np.ptp(truth) == 0:
            return float("nan")
        return float(type(self).statistic(predicted, truth)[0])


class Pearson(Correlation):
    key = "pearson"
    about = "Pearson's linear correlation, from -1 to 1; NaN when a side is constant."
    statistic = stats.pearsonr

    def weigher(self, observations: Numbers) -> Weigher:
        if np.isnan(self.value(observations)):
            return _undefined
        x, y = (stats.zscore(side) for side in (observations.truth, observations.predicted))
        columns = np.stack([np.ones(len(x)), x, y, x * x, y * y, x * y], axis=1)

        def weigh(weights: Floats) -> Floats:
            sums = weights @ columns
            mean_x, mean_y, xx, yy, xy = quotient(sums[:, 1:], sums[:, :1]).T
            spread = (xx - mean_x**2) * (yy - mean_y**2)
            found = quotient(xy - mean_x * mean_y, np.sqrt(np.maximum(spread, 0)))
            for row in np.flatnonzero(~(spread > 1e-6)):  # too near constant for the short formula
                found[row] = _weighted_pearson(x, y, weights[row])
            return np.clip(found, -1, 1)

        return weigh


class Spearman(Correlation):
    key = "spearman"
    about = "Spearman's rank correlation, from -1 to 1; NaN when a side is constant."
    statistic = stats.spearmanr

    def weigher(self, observations: Numbers) -> Weigher:
        if np.isnan(self.value(observations)):
            return _undefined
        rank_x, rank_y = (below(side, side) for side in (observations.truth, observations.predicted))

        def weigh(weights: Floats) -> Floats:
            # the ranks are those of the resample, less one half; their mean is half of the total weight
            middle = weights.sum(1, keepdims=True) / 2
            x, y = rank_x(weights) - middle, rank_y(weights) - middle
            xx, yy, xy = (np.einsum("bi,bi,bi->b", weights, a, b) for a, b in ((x, x), (y, y), (x, y)))
            return quotient(xy, np.sqrt(xx * yy))

        return weigh


class MeanSquaredError(NumberMetric):
    key = "mse"
    about = "The mean of the squared differences."

    def value(self, observations: Numbers) -> float:
        if not _finite(observations):
            return float("nan")
        return float(sklearn_metrics.mean_squared_error(observations.truth, observations.predicted))

    def weigher(self, observations: Numbers) -> Weigher:
        if not _finite(observations):
            return _undefined
        return mean_weigher((observations.truth - observations.predicted) ** 2)


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
