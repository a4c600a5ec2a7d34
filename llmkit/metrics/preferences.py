"""Metrics of pairs of answers of which one is preferred: by their log-probabilities, or by how these have changed.

An answer's implicit reward is beta times the log-probability that it has gained over the reference model.
Source: Rafailov et al., Direct Preference Optimization, 2023.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from datasets import Value

from llmkit.metrics.base import Metric
from llmkit.metrics.measures import HitShare, Weigher, mean_weigher
from llmkit.metrics.observations import Floats, Preferences

PAPER = "https://arxiv.org/abs/2305.18290"


class PreferenceMetric(Metric[Preferences]):
    """A mean over the pairs: `of_pairs` is what a new one must write."""

    kind = Preferences
    needs = "pairs of answers of which one is preferred"
    source = PAPER
    inputs = "margins, before: log-probability of the preferred answer less that of the other; before: by the reference"

    @classmethod
    def columns(cls) -> dict[str, Any]:
        return {"margins": Value("float64"), "before": Value("float64")}

    def observe(self, *, margins: Any, before: Any) -> Preferences:
        return Preferences(np.asarray(margins, dtype=np.float64), np.asarray(before, dtype=np.float64))

    @abstractmethod
    def of_pairs(self, observations: Preferences) -> Floats:
        """Return what the metric is the mean of, (n,)."""

    def weigher(self, observations: Preferences) -> Weigher:
        return mean_weigher(self.of_pairs(observations))


class Margin(PreferenceMetric):
    key = "margin"
    about = "By how many nats the preferred answer is likelier than the other, on average."

    def of_pairs(self, observations: Preferences) -> Floats:
        return observations.margins


class RewardMetric(PreferenceMetric):
    """A function of implicit rewards."""

    needs = "a reference model: the one without the adapter, or in training the one that it began from"

    def fits(self, observations: Any) -> bool:
        return isinstance(observations, Preferences) and observations.before is not None


class RewardMargin(RewardMetric):
    key = "reward_margin"
    about = "The implicit reward of the preferred answer less that of the other, on average."

    def of_pairs(self, observations: Preferences) -> Floats:
        return observations.rewards


class DpoLoss(RewardMetric):
    key = "dpo_loss"
    about = "The mean of -log sigmoid of the rewards' difference: log 2 where nothing has changed."

    def of_pairs(self, observations: Preferences) -> Floats:
        return np.asarray(np.logaddexp(0.0, -observations.rewards))


class PreferenceAccuracy(HitShare[Preferences], PreferenceMetric):
    key = "accuracy"
    about = "The share of pairs of which the preferred answer is the likelier one."

    def of_pairs(self, observations: Preferences) -> Floats:
        return observations.margins

    def hits(self, observations: Preferences) -> Floats:
        return np.asarray(self.of_pairs(observations) > 0, dtype=np.float64)


class RewardAccuracy(PreferenceAccuracy, RewardMetric):
    key = "reward_accuracy"
    about = "The share of pairs of which the preferred answer has the larger implicit reward."

    def of_pairs(self, observations: Preferences) -> Floats:
        return observations.rewards
