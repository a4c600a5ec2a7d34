from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from llmkit.metrics.thresholds import best_threshold


@pytest.mark.parametrize("seed", range(6))
def test_the_best_threshold_is_that_of_a_search_over_all(seed):
    dice = np.random.default_rng(seed)
    truth = dice.random((20, 4)) < 0.3
    chances = np.round(np.clip(0.25 * truth + dice.random((20, 4)) * 0.7, 0.001, 0.999), 2 if seed % 2 else 6)

    def score(threshold: float) -> float:
        return sklearn_metrics.f1_score(truth, chances >= threshold, average="micro")

    found = best_threshold(truth, chances)
    assert 0 < found < 1
    assert score(found) == pytest.approx(max(score(one) for one in chances.ravel()))
    assert np.abs(chances - found).min() > 1e-9


def test_a_threshold_without_a_choice_is_the_middle():
    assert best_threshold(np.zeros((3, 2), dtype=bool), np.full((3, 2), 0.2)) == 0.5
    assert best_threshold(np.array([[True, False]]), np.array([[0.9, 0.1]])) == 0.5
    assert best_threshold(np.array([[True, False]]), np.array([[0.2, 0.1]])) == 0.15
