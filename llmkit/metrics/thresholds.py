"""From which probability on a label is predicted."""

from __future__ import annotations

import numpy as np

from llmkit.metrics.observations import Bools, Floats

DEFAULT_THRESHOLD = 0.5


def best_threshold(truth: Bools, probabilities: Floats) -> float:
    """Return the threshold with the best micro F1 of probabilities (n, labels), rounded where that changes nothing.

    One for all labels: for the micro average the best threshold of true probabilities is the same for each (half of
    the F1 that it reaches), and one for each label would be tuned to the few rows that a rare label has. Of equals the
    nearest to 0.5; 0.5 where no label holds. Source: Lipton, Elkan, Narayanaswamy, Optimal Thresholding of Classifiers
    to Maximize F1 Measure, 2014.
    """
    order = np.argsort(-probabilities, axis=None, kind="stable")
    ranked, true_positives = probabilities.ravel()[order], np.cumsum(truth.ravel()[order])
    ends = np.flatnonzero(np.append(np.diff(ranked) != 0, True))  # those of equal probability are taken together
    if not true_positives[-1]:
        return DEFAULT_THRESHOLD
    scores = 2 * true_positives[ends] / (ends + 1 + true_positives[-1])
    above, below = ranked[ends], np.append(ranked[ends[1:]], 0.0)
    best = np.flatnonzero(scores == scores.max())
    middles = (above[best] + below[best]) / 2
    nearest = int(np.argmin(np.abs(middles - DEFAULT_THRESHOLD)))
    low, high, middle = below[best][nearest], above[best][nearest], float(middles[nearest])
    rounded = (round(middle, digits) for digits in range(2, 17))
    margin = (high - low) / 4  # the last digits of a probability depend on the batch
    return next((threshold for threshold in rounded if low + margin <= threshold <= high - margin), middle)
