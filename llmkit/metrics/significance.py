"""Whether one set of predictions is better than another on the same units.

McNemar's test where each unit is right or wrong (McNemar, Psychometrika 12, 1947), the paired bootstrap for the rest
(Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 16; Koehn, EMNLP 2004).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from llmkit import metrics
from llmkit.metrics.intervals import CONFIDENCE, RESAMPLES, SEED, finite, percentiles, weights
from llmkit.metrics.observations import (
    Choices,
    Classes,
    Floats,
    Ints,
    LabelSets,
    Likelihoods,
    Numbers,
    Observations,
    Samples,
    Spans,
    Texts,
)

FEW = 25  # discordant pairs under which McNemar's test is exact, as statsmodels and R's manuals advise
ROW_TESTS = ("accuracy", "accuracy_norm", "exact_match")


@dataclass(frozen=True)
class Difference:
    """A metric before and after, the difference (after - before) with its interval, and a two-sided p."""

    baseline: float
    value: float
    difference: float
    low: float | None
    high: float | None
    p: float | None
    test: str  # "exact McNemar", "McNemar", "paired bootstrap"

    def as_dict(self) -> dict[str, Any]:
        """Return the difference as it stands in a result: null for what is not finite."""
        numbers = {key: finite(number) for key, number in vars(self).items() if key != "test"}
        return numbers | {"test": self.test}


def compare(
    name: str,
    before: Observations,
    after: Observations,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    confidence: float = CONFIDENCE,
) -> Difference:
    """Return how the metric differs between two sets of observations of the same units in the same order.

    Raises:
        ValueError: the two are not of the same units.
        OptionError: the metric is not one of such observations.
    """
    return differences((name,), before, after, resamples, seed, confidence)[name]


def differences(
    names: Iterable[str],
    before: Observations,
    after: Observations,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    confidence: float = CONFIDENCE,
) -> dict[str, Difference]:
    """Return `compare` of several metrics; they share the resamples."""
    require_paired(before, after)
    names = tuple(names)
    values = {name: (metrics.value(name, before), metrics.value(name, after)) for name in names}
    drawn = _draws(names, before, after, resamples if len(before) > 1 else 0, seed)
    found = {}
    for name, (old, new) in values.items():
        defined = drawn.get(name) if math.isfinite(old) and math.isfinite(new) else None
        low, high = percentiles(defined, confidence) or (None, None)
        hits = _hits(name, before), _hits(name, after)
        if hits[0] is not None and hits[1] is not None:
            p: float | None
            p, test = mcnemar(int((hits[0] > hits[1]).sum()), int((hits[0] < hits[1]).sum()))
        else:
            p, test = None if low is None or defined is None else bootstrap_p(defined), "paired bootstrap"
        found[name] = Difference(old, new, new - old, low, high, p, test)
    return found


def mcnemar(broken: int, fixed: int) -> tuple[float, str]:
    """Return the two-sided p of the units that only one side had right, and the name of the test.

    Exact (binomial) under 25 of them, else chi-square with the continuity correction of Edwards (1948).
    """
    pairs = broken + fixed
    if pairs < FEW:
        return (float(stats.binomtest(broken, pairs).pvalue) if pairs else 1.0), "exact McNemar"
    return float(stats.chi2.sf((abs(broken - fixed) - 1) ** 2 / pairs, 1)), "McNemar"


def bootstrap_p(drawn: Floats) -> float:
    """Return the two-sided p that the difference is 0: twice the smaller share of resamples on either side of it.

    One is added above and below, so that p is never 0 (Davison and Hinkley, Bootstrap Methods, 1997, 4.2). NaN are left
    out; at most 1.
    """
    some = drawn[~np.isnan(drawn)]
    fewest = min(int((some <= 0).sum()), int((some >= 0).sum()))
    return min(1.0, 2 * (fewest + 1) / (len(some) + 1))


def require_paired(before: Observations, after: Observations) -> None:
    """Refuse observations that are not of the same units in the same order.

    Raises:
        ValueError: they differ in kind, length, truth, references or class names.
    """
    if type(before) is not type(after):
        raise ValueError(f"cannot pair {type(before).__name__} with {type(after).__name__}")
    if len(before) != len(after):
        raise ValueError(f"cannot pair {len(before)} units with {len(after)}")
    same = True
    if isinstance(before, Classes) and isinstance(after, Classes):
        same = before.names == after.names and bool((before.truth == after.truth).all())
    elif isinstance(before, Numbers) and isinstance(after, Numbers):
        same = np.array_equal(before.truth, after.truth, equal_nan=True)
    elif isinstance(before, Texts) and isinstance(after, Texts):
        same = before.references == after.references
    elif isinstance(before, LabelSets) and isinstance(after, LabelSets):
        same = before.names == after.names and np.array_equal(before.truth, after.truth)
    elif isinstance(before, Choices) and isinstance(after, Choices):
        same = np.array_equal(before.truth, after.truth)
    elif isinstance(before, Spans) and isinstance(after, Spans):
        same = before.truth == after.truth
    if not same:
        raise ValueError(f"the {type(before).__name__} to pair have different truths: they are of different units")


def _hits(name: str, observations: Observations) -> Floats | None:
    rows = isinstance(observations, Samples) or metrics.canonical(name) in ROW_TESTS
    return metrics.hits(name, observations) if rows and not isinstance(observations, Likelihoods) else None


def _draws(
    names: Iterable[str], before: Observations, after: Observations, resamples: int, seed: int
) -> dict[str, Floats]:
    """Return after - before in each resample, both under the same weights."""
    of_cells = [name for name in names if metrics.measure(name, before).of_cells]
    of_units = [name for name in names if name not in of_cells]
    groups: list[tuple[list[str], Observations, Observations, Ints]] = []
    if of_cells and isinstance(before, Classes) and isinstance(after, Classes):
        groups.append((of_cells, *_paired_cells(before, after)))
    if of_units:
        groups.append((of_units, before, after, np.ones(len(before), dtype=np.int64)))
    found: dict[str, list[Floats]] = {}
    for some, old, new, counts in groups:
        weighers = {name: (metrics.weigher(name, old), metrics.weigher(name, new)) for name in some}
        for chunk in weights(counts, resamples, seed):
            for name, (weigh_old, weigh_new) in weighers.items():
                found.setdefault(name, []).append(weigh_new(chunk) - weigh_old(chunk))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _paired_cells(before: Classes, after: Classes) -> tuple[Classes, Classes, Ints]:
    """Return one row for each (truth, before, after) that occurs, on both sides, and how often each does."""
    width = len(before.names)
    codes, counts = np.unique((before.truth * width + before.predicted) * width + after.predicted, return_counts=True)
    truth, old, new = codes // width**2, codes // width % width, codes % width
    return (
        Classes(truth, old, before.names, positive=before.positive),
        Classes(truth, new, after.names, positive=after.positive),
        counts,
    )
