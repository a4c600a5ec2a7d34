"""What the tests of metrics share: a metric by its name, for the observations that it is of."""

from __future__ import annotations

from llmkit import metrics


def metric(name, observations):
    return metrics.resolve((name,), observations)[name]


def weighted(name, observations, weights):
    """The figure as though unit i stood weights[b, i] times: weights (B, n), values (B,)."""
    return metric(name, observations).weighted_values(observations)(weights)
