"""Metrics of multiple choice: how often the right choice was taken."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from datasets import Value

from llmkit.metrics.base import Metric, RowFeatures
from llmkit.metrics.measures import CorrectShare
from llmkit.metrics.observations import ChoiceIds, Floats, Ints, Observations


class ChoiceAccuracy(CorrectShare[ChoiceIds], Metric[ChoiceIds]):
    """The share of rows in which the right choice was taken."""

    observed = ChoiceIds
    key = "accuracy"
    needs = "a choice for each row"
    about = "The share of rows in which the right choice was taken."
    source = "https://github.com/EleutherAI/lm-evaluation-harness: acc"
    inputs = "predictions, references: the number of the choice, from 0"

    @classmethod
    def row_features(cls) -> RowFeatures:
        return {"predictions": Value("int64"), "references": Value("int64")}

    def to_observations(self, *, predictions: npt.ArrayLike, references: npt.ArrayLike) -> ChoiceIds:
        predicted = np.asarray(predictions, dtype=np.int64)
        return ChoiceIds(np.asarray(references, dtype=np.int64), predicted, predicted)

    def chosen(self, observations: ChoiceIds) -> Ints:
        """Return the choice of each row, (n,)."""
        return observations.predicted

    def correctness(self, observations: ChoiceIds) -> Floats:
        return np.asarray(observations.truth == self.chosen(observations), dtype=np.float64)


class NormalisedAccuracy(ChoiceAccuracy):
    """The same of the choice whose likelihood per character is the largest."""

    key = "accuracy_norm"
    needs = "likelihoods of the choices, and their lengths"
    about = "The share of rows in which the choice of the largest likelihood per character is the right one."
    source = "https://github.com/EleutherAI/lm-evaluation-harness: acc_norm"

    def fits(self, observations: Observations) -> bool:
        return isinstance(observations, ChoiceIds) and observations.normalised is not None

    def chosen(self, observations: ChoiceIds) -> Ints:
        assert observations.normalised is not None
        return observations.normalised
