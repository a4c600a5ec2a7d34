"""Metrics of pairs of answers of which one is preferred: by their log-probabilities, or by how these have changed.

An answer's implicit reward is beta times the log-probability that it has gained over the reference model.
Source: Rafailov et al., Direct Preference Optimization, 2023.
"""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import numpy.typing as npt
from datasets import Value

from llmkit.metrics.base import Metric, RowFeatures
from llmkit.metrics.measures import CorrectShare, WeightedValues, weighted_mean
from llmkit.metrics.observations import Floats, Observations, Preferences

DPO_PAPER = "https://arxiv.org/abs/2305.18290"


class PreferenceMetric(Metric[Preferences]):
    """A mean over the pairs: `pair_values` is what a new one must write."""

    observed = Preferences
    needs = "pairs of answers of which one is preferred"
    source = DPO_PAPER
    inputs = "margins, before: log-probability of the preferred answer less that of the other; before: by the reference"

    @classmethod
    def row_features(cls) -> RowFeatures:
        return {"margins": Value("float64"), "before": Value("float64")}

    def to_observations(self, *, margins: npt.ArrayLike, before: npt.ArrayLike) -> Preferences:
        return Preferences(np.asarray(margins, dtype=np.float64), np.asarray(before, dtype=np.float64))

    @abstractmethod
    def pair_values(self, observations: Preferences) -> Floats:
        """Return what the metric is the mean of, (n,)."""

    def weighted_values(self, observations: Preferences) -> WeightedValues:
        return weighted_mean(self.pair_values(observations))


class Margin(PreferenceMetric):
    key = "margin"
    about = "By how many nats the preferred answer is likelier than the other, on average."

    def pair_values(self, observations: Preferences) -> Floats:
        return observations.margins


class RewardMetric(PreferenceMetric):
    """A function of implicit rewards."""

    needs = "a reference model: the one without the adapter, or in training the one that it began from"

    def fits(self, observations: Observations) -> bool:
        return isinstance(observations, Preferences) and observations.before is not None


class RewardMargin(RewardMetric):
    key = "reward_margin"
    about = "The implicit reward of the preferred answer less that of the other, on average."

    def pair_values(self, observations: Preferences) -> Floats:
        return observations.rewards


class DpoLoss(RewardMetric):
    key = "dpo_loss"
    about = "The mean of -log sigmoid of the rewards' difference: log 2 where nothing has changed."

    def pair_values(self, observations: Preferences) -> Floats:
        return np.asarray(np.logaddexp(0.0, -observations.rewards))


class PreferenceAccuracy(CorrectShare[Preferences], PreferenceMetric):
    key = "accuracy"
    about = "The share of pairs of which the preferred answer is the likelier one."

    def pair_values(self, observations: Preferences) -> Floats:
        return observations.margins

    def correctness(self, observations: Preferences) -> Floats:
        return np.asarray(self.pair_values(observations) > 0, dtype=np.float64)


class RewardAccuracy(PreferenceAccuracy, RewardMetric):
    key = "reward_accuracy"
    about = "The share of pairs of which the preferred answer has the larger implicit reward."

    def pair_values(self, observations: Preferences) -> Floats:
        return observations.rewards
