"""Whether one set of predictions is better than another on the same units.

McNemar's test where each unit is right or wrong (McNemar, Psychometrika 12, 1947), the paired bootstrap for the rest
(Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 16; Koehn, EMNLP 2004).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from llmkit import metrics
from llmkit.metrics import AnyMeasure
from llmkit.metrics.intervals import DEFAULT_CONFIDENCE, DEFAULT_RESAMPLES, DEFAULT_SEED, finite, percentiles, weights
from llmkit.metrics.observations import Classes, Floats, Ints, LabelSets, Likelihoods, Observations, Samples
from llmkit.output.result_parts import PairedMetric

EXACT_BELOW = 25  # discordant pairs under which McNemar's test is exact, as statsmodels and R's manuals advise
ROW_TESTS = ("accuracy", "accuracy_norm", "exact_match")
TestName = Literal["exact McNemar", "McNemar", "paired bootstrap"]


@dataclass(frozen=True)
class Difference:
    """A metric before and after, the difference (after - before) with its interval, and a two-sided p."""

    baseline: float
    value: float
    difference: float
    low: float | None
    high: float | None
    p: float | None
    test: TestName

    def as_dict(self) -> PairedMetric:
        """Return the difference as it stands in a result: null for what is not finite."""
        return {
            "baseline": finite(self.baseline),
            "value": finite(self.value),
            "difference": finite(self.difference),
            "low": finite(self.low),
            "high": finite(self.high),
            "p": finite(self.p),
            "test": self.test,
        }


@dataclass(frozen=True)
class Side:
    """One of two sets of observations of the same units, and the metrics of it by name."""

    observations: Observations
    metrics: Mapping[str, AnyMeasure]

    def correctness(self, name: str) -> Floats | None:
        """Return a 0 or 1 for each unit where McNemar's test is for such a metric, else None."""
        of_rows = isinstance(self.observations, Samples) or metrics.canonical(name) in ROW_TESTS
        if not of_rows or isinstance(self.observations, Likelihoods):
            return None
        return self.metrics[name].correctness(self.observations)


def compare(
    name: str,
    before: Observations,
    after: Observations,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = DEFAULT_SEED,
    confidence: float = DEFAULT_CONFIDENCE,
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
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = DEFAULT_SEED,
    confidence: float = DEFAULT_CONFIDENCE,
) -> dict[str, Difference]:
    """Return `compare` of several metrics; they share the resamples.

    Raises:
        ValueError: the two are not of the same units.
        OptionError: a metric is not one of such observations.
    """
    require_paired(before, after)
    names = tuple(names)
    sides = Side(before, metrics.resolve(names, before)), Side(after, metrics.resolve(names, after))
    resampled = _resampled_differences(*sides, resamples if len(before) > 1 else 0, seed)
    return {name: _difference(name, *sides, resampled.get(name), confidence) for name in names}


def _difference(name: str, before: Side, after: Side, resampled: Floats | None, confidence: float) -> Difference:
    old, new = (side.metrics[name].value_or_nan(side.observations) for side in (before, after))
    defined = resampled if math.isfinite(old) and math.isfinite(new) else None
    low, high = percentiles(defined, confidence) or (None, None)
    was_correct, is_correct = before.correctness(name), after.correctness(name)
    if was_correct is not None and is_correct is not None:
        p, test = mcnemar(int((was_correct > is_correct).sum()), int((was_correct < is_correct).sum()))
        return Difference(old, new, new - old, low, high, p, test)
    bootstrapped = None if low is None or defined is None else bootstrap_p(defined)
    return Difference(old, new, new - old, low, high, bootstrapped, "paired bootstrap")


def mcnemar(broken: int, fixed: int) -> tuple[float, TestName]:
    """Return the two-sided p of the units that only one side had right, and the name of the test.

    Exact (binomial) under 25 of them, else chi-square with the continuity correction of Edwards (1948).
    """
    pairs = broken + fixed
    if pairs < EXACT_BELOW:
        return (float(stats.binomtest(broken, pairs).pvalue) if pairs else 1.0), "exact McNemar"
    return float(stats.chi2.sf((abs(broken - fixed) - 1) ** 2 / pairs, 1)), "McNemar"


def bootstrap_p(resampled: Floats) -> float:
    """Return the two-sided p that the difference is 0: twice the smaller share of resamples on either side of it.

    One is added above and below, so that p is never 0 (Davison and Hinkley, Bootstrap Methods, 1997, 4.2). NaN are left
    out; at most 1.
    """
    defined = resampled[~np.isnan(resampled)]
    fewest = min(int((defined <= 0).sum()), int((defined >= 0).sum()))
    return min(1.0, 2 * (fewest + 1) / (len(defined) + 1))


def require_paired(before: Observations, after: Observations) -> None:
    """Refuse observations that are not of the same units in the same order.

    Raises:
        ValueError: they differ in kind, length, what is right, references or class names.
    """
    if type(before) is not type(after):
        raise ValueError(f"cannot pair {type(before).__name__} with {type(after).__name__}")
    if len(before) != len(after):
        raise ValueError(f"cannot pair {len(before)} units with {len(after)}")
    old, new = before.labels(), after.labels()
    differ = old is not None and new is not None and old != new and repr(old) != repr(new)  # NaN is itself in writing
    if isinstance(before, Classes | LabelSets) and isinstance(after, Classes | LabelSets):
        differ |= before.names != after.names
    if differ:
        raise ValueError(f"the {type(before).__name__} to pair have different truths: they are of different units")


def _resampled_differences(before: Side, after: Side, resamples: int, seed: int) -> dict[str, Floats]:
    """Return after - before in each resample, (resamples,), both under the same weights."""
    of_cells = [name for name, metric in before.metrics.items() if metric.of_cells]
    of_units = [name for name in before.metrics if name not in of_cells]
    results: dict[str, Floats] = {}
    if of_cells and isinstance(before.observations, Classes) and isinstance(after.observations, Classes):
        old, new, counts = _paired_cells(before.observations, after.observations)
        cells = Side(old, before.metrics), Side(new, after.metrics)
        results |= _weighted_differences(of_cells, *cells, weights(counts, resamples, seed))
    if of_units:
        counts = np.ones(len(before.observations), dtype=np.int64)
        results |= _weighted_differences(of_units, before, after, weights(counts, resamples, seed))
    return results


def _weighted_differences(
    names: Iterable[str], before: Side, after: Side, chunks: Iterator[Floats]
) -> dict[str, Floats]:
    weighted = {
        name: [side.metrics[name].weighted_values(side.observations) for side in (before, after)] for name in names
    }
    parts: dict[str, list[Floats]] = {}
    for chunk in chunks:
        for name, (old, new) in weighted.items():
            parts.setdefault(name, []).append(new(chunk) - old(chunk))
    return {name: np.concatenate(differences) for name, differences in parts.items()}


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
