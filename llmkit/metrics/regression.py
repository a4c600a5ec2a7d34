"""Regression metrics on scipy. Predictions and references are floats, one per row."""

from __future__ import annotations

from typing import Any, ClassVar

import evaluate
import numpy as np
from datasets import Features, Value
from scipy import stats


class NumberMetric(evaluate.Metric):
    """A metric of two lists of numbers."""

    about: ClassVar[str]

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=self.about,
            citation="Virtanen et al., SciPy 1.0, Nature Methods 17, 2020.",
            inputs_description="predictions, references: one number per row",
            features=Features({"predictions": Value("float64"), "references": Value("float64")}),
        )


class Pearson(NumberMetric):
    about = "Pearson's linear correlation, from -1 to 1; NaN when a side is constant."

    def _compute(self, *, predictions: Any, references: Any) -> dict[str, float]:
        return {"pearson": _correlation(stats.pearsonr, predictions, references)}


class Spearman(NumberMetric):
    about = "Spearman's rank correlation, from -1 to 1; NaN when a side is constant."

    def _compute(self, *, predictions: Any, references: Any) -> dict[str, float]:
        return {"spearman": _correlation(stats.spearmanr, predictions, references)}


class MeanSquaredError(NumberMetric):
    about = "The mean of the squared differences."

    def _compute(self, *, predictions: Any, references: Any) -> dict[str, float]:
        return {"mse": float(np.mean((np.asarray(predictions) - np.asarray(references)) ** 2))}


def _correlation(statistic: Any, predictions: Any, references: Any) -> float:
    if len(references) < 2 or np.ptp(predictions) == 0 or np.ptp(references) == 0:
        return float("nan")
    return float(statistic(predictions, references)[0])
