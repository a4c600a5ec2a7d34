"""Metrics of multiple choice: how often the right choice was taken."""

from __future__ import annotations

from typing import Any

import numpy as np
from datasets import Value

from llmkit.metrics.base import Metric
from llmkit.metrics.measures import HitShare
from llmkit.metrics.observations import Choices, Floats, Ints


class ChoiceAccuracy(HitShare[Choices], Metric[Choices]):
    """The share of rows in which the right choice was taken."""

    kind = Choices
    key = "accuracy"
    needs = "a choice for each row"
    about = "The share of rows in which the right choice was taken."
    source = "https://github.com/EleutherAI/lm-evaluation-harness: acc"
    inputs = "predictions, references: the number of the choice, from 0"

    @classmethod
    def columns(cls) -> dict[str, Any]:
        return {"predictions": Value("int64"), "references": Value("int64")}

    def observe(self, *, predictions: Any, references: Any) -> Choices:
        guesses = np.asarray(predictions, dtype=np.int64)
        return Choices(np.asarray(references, dtype=np.int64), guesses, guesses)

    def taken(self, observations: Choices) -> Ints:
        """Return the choice of each row, (n,)."""
        return observations.predicted

    def hits(self, observations: Choices) -> Floats:
        return np.asarray(observations.truth == self.taken(observations), dtype=np.float64)


class NormalisedAccuracy(ChoiceAccuracy):
    """The same of the choice whose likelihood per character is the largest."""

    key = "accuracy_norm"
    needs = "likelihoods of the choices, and their lengths"
    about = "The share of rows in which the choice of the largest likelihood per character is the right one."
    source = "https://github.com/EleutherAI/lm-evaluation-harness: acc_norm"

    def fits(self, observations: Any) -> bool:
        return isinstance(observations, Choices) and observations.normalised is not None

    def taken(self, observations: Choices) -> Ints:
        assert observations.normalised is not None
        return observations.normalised
