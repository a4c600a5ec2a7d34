"""Classification metrics on scikit-learn. Predictions and references are class ids, one integer per row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import evaluate
import numpy as np
from datasets import Features, Value
from sklearn import metrics as sklearn_metrics


class ClassMetric(evaluate.Metric):
    """A metric of two lists of class ids."""

    about: ClassVar[str]

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=self.about,
            citation="Pedregosa et al., Scikit-learn: Machine Learning in Python, JMLR 12, 2011.",
            inputs_description="predictions, references: class ids, one integer per row",
            features=Features({"predictions": Value("int64"), "references": Value("int64")}),
        )


class Accuracy(ClassMetric):
    about = "The share of rows whose predicted class is the right one."

    def _compute(self, *, predictions: Any, references: Any) -> dict[str, float]:
        return {"accuracy": float(sklearn_metrics.accuracy_score(references, predictions))}


class MatthewsCorrelation(ClassMetric):
    about = "Matthews' correlation coefficient, from -1 to 1; CoLA's metric."

    def _compute(self, *, predictions: Any, references: Any) -> dict[str, float]:
        return {"matthews_correlation": float(sklearn_metrics.matthews_corrcoef(references, predictions))}


def averaged(score: Callable[..., Any], predictions: Any, references: Any, positive: int | None) -> float:
    """Apply a scikit-learn score: of the class `positive`, or the mean over the classes when it is None.

    The mean is over the classes that occur in the references or the predictions.
    """
    truth, guess = np.asarray(references), np.asarray(predictions)
    if positive is None:
        return float(score(truth, guess, average="macro", zero_division=0))
    return float(score(truth == positive, guess == positive, zero_division=0))


class F1(ClassMetric):
    about = "The harmonic mean of precision and recall: of one class, or the mean over the classes (macro)."

    def _compute(self, *, predictions: Any, references: Any, positive: int | None = 1) -> dict[str, float]:
        return {"f1": averaged(sklearn_metrics.f1_score, predictions, references, positive)}


class Precision(ClassMetric):
    about = "The share of the rows predicted as a class that belong to it: of one class, or macro."

    def _compute(self, *, predictions: Any, references: Any, positive: int | None = 1) -> dict[str, float]:
        return {"precision": averaged(sklearn_metrics.precision_score, predictions, references, positive)}


class Recall(ClassMetric):
    about = "The share of a class's rows that are predicted as it: of one class, or macro."

    def _compute(self, *, predictions: Any, references: Any, positive: int | None = 1) -> dict[str, float]:
        return {"recall": averaged(sklearn_metrics.recall_score, predictions, references, positive)}


def per_class(predictions: Any, references: Any, names: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """Return precision, recall, F1 and support (rows) of each class by its name."""
    columns = sklearn_metrics.precision_recall_fscore_support(
        references, predictions, labels=list(range(len(names))), zero_division=0
    )
    keys = ("precision", "recall", "f1")
    return {
        name: {key: float(column[index]) for key, column in zip(keys, columns, strict=False)}
        | {"support": int(columns[3][index])}
        for index, name in enumerate(names)
    }
