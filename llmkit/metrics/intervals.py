"""Figures with their uncertainty: Wilson's interval for proportions, the percentile bootstrap for every other metric.

A resample is a row of weights: how often each unit was drawn. Sources: Wilson, JASA 22, 1927; Efron and Tibshirani, An
Introduction to the Bootstrap, 1993, chapter 13.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from llmkit import metrics
from llmkit.metrics.classification import cells, scores, tallier
from llmkit.metrics.classification import per_class as class_figures
from llmkit.metrics.counts import tallier as label_tallier
from llmkit.metrics.hub_metric import HubMetric
from llmkit.metrics.observations import Classes, Floats, Ints, LabelSets, Observations, Spans

RESAMPLES = 2000
SEED = 42
CONFIDENCE = 0.95
ENTRIES = 1 << 17  # of weights held at a time: 1 MiB, which stays in a processor's cache; at least one resample


@dataclass(frozen=True)
class Estimate:
    """A metric's value, its interval (None where there is none), what n it is of, and of what."""

    value: float
    low: float | None
    high: float | None
    n: int
    interval: str | None  # "wilson", "bootstrap", "standard error"
    of: str | None = None
    signature: str | None = None  # how it was computed, as sacrebleu spells it

    def as_dict(self) -> dict[str, Any]:
        """Return the figure as it stands in a result: null for what is not finite, words where they say something."""
        numbers = {"value": finite(self.value), "low": finite(self.low), "high": finite(self.high)}
        words = {"of": self.of, "signature": self.signature}
        said = {key: text for key, text in words.items() if text is not None}
        return numbers | {"n": self.n, "interval": self.interval} | said


def figure(
    name: str, observations: Observations, resamples: int = RESAMPLES, seed: int = SEED, confidence: float = CONFIDENCE
) -> Estimate:
    """Return the metric of the observations with its interval.

    There is no interval of fewer than two units, of a value that is not a number, nor where more than half of the
    resamples have none; and no bootstrap interval when `resamples` is 0.

    Raises:
        OptionError: the metric is not one of such observations.
    """
    return figures((name,), observations, resamples, seed, confidence)[name]


def figures(
    names: Iterable[str],
    observations: Observations,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    confidence: float = CONFIDENCE,
) -> dict[str, Estimate]:
    """Return several figures of the same observations; they share the resamples."""
    names = tuple(names)
    values = {name: metrics.value(name, observations) for name in names}
    bounded = [name for name in names if len(observations) > 1 and not math.isnan(values[name])]
    shares = {name: metrics.proportion(name, observations) for name in bounded}
    drawn = draws([name for name in bounded if shares[name] is None], observations, resamples, seed)
    found = {}
    for name in names:
        share = shares.get(name)
        bounds = wilson(*share, confidence) if share else percentiles(drawn.get(name), confidence)
        kind = None if bounds is None else "wilson" if share else "bootstrap"
        low, high = bounds or (None, None)
        size, note = metrics.size(name, observations), metrics.note(name, observations)
        found[name] = Estimate(values[name], low, high, size, kind, note, metrics.signature(name, observations))
    return found


def resampled(name: str, observations: Observations, resamples: int = RESAMPLES, seed: int = SEED) -> Floats:
    """Return the metric's value in each resample, (resamples,): NaN where it is not defined."""
    return draws((name,), observations, resamples, seed)[name]


def draws(names: Iterable[str], observations: Observations, resamples: int, seed: int) -> dict[str, Floats]:
    """Return the metrics' values in each resample, (resamples,) each."""
    by_cells, by_units = {}, {}
    for name in names:
        if metrics.measure(name, observations).of_cells and isinstance(observations, Classes):
            by_cells[name] = metrics.weigher(name, cells(observations)[0])
        else:
            by_units[name] = metrics.weigher(name, observations)
    counts = cells(observations)[1] if by_cells and isinstance(observations, Classes) else np.ones(0, dtype=np.int64)
    found: dict[str, list[Floats]] = {name: [] for name in (*by_cells, *by_units)}
    for weighers, drawn_from in ((by_cells, counts), (by_units, np.ones(len(observations), dtype=np.int64))):
        for chunk in weights(drawn_from, resamples, seed) if weighers else ():
            for name, weigher in weighers.items():
                found[name].append(weigher(chunk))
    return {name: np.concatenate(parts) for name, parts in found.items() if parts}


def weights(counts: Ints, resamples: int, seed: int) -> Iterator[Floats]:
    """Yield resamples, some at a time: how often each of the units was drawn, (some, n).

    `counts` (n,) says how many rows each unit stands for; as many as there are rows are drawn, with replacement. The
    resamples depend on the counts and the seed alone, not on how many come at a time, and memory stays bounded.
    """
    dice, width, rows = np.random.default_rng(seed), len(counts), int(counts.sum())
    most = max(1, ENTRIES // max(1, width))
    alone = bool((counts == 1).all())
    for start in range(0, resamples, most):
        some = min(most, resamples - start)
        if alone:
            drawn = dice.integers(0, width, (some, width)) + np.arange(some)[:, None] * width
            found = np.bincount(drawn.ravel(), minlength=some * width).reshape(some, width)
        else:
            found = dice.multinomial(rows, counts / rows, some)
        yield found.astype(np.float64)


def percentiles(values: Floats | None, confidence: float = CONFIDENCE) -> tuple[float, float] | None:
    """Return the interval that holds the middle of the resampled values (NaN left out); None when half are NaN."""
    if values is None or np.isnan(values).sum() * 2 > len(values):
        return None
    some = values[~np.isnan(values)]
    tail = 50 * (1 - confidence)
    with np.errstate(invalid="ignore"):  # between a number and infinity there is nothing
        low, high = np.percentile(some, [tail, 100 - tail])
    return None if math.isnan(low) or math.isnan(high) else (float(low), float(high))


def wilson(successes: int, trials: int, confidence: float = CONFIDENCE) -> tuple[float, float] | None:
    """Return Wilson's score interval of a proportion; None of no trials."""
    if trials == 0:
        return None
    bounds = stats.binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    return float(bounds.low), float(bounds.high)


def per_class(
    observations: Classes, resamples: int = RESAMPLES, seed: int = SEED, confidence: float = CONFIDENCE
) -> dict[str, Any]:
    """Return precision, recall, F1 and support of each class by name, and `intervals` of the three (null: none)."""
    found: dict[str, dict[str, Any]] = {name: dict(some) for name, some in class_figures(observations).items()}
    pairs, counts = cells(observations)
    tally = tallier(pairs)
    whole = tally(counts[None].astype(np.float64))
    right, truth, predicted = (np.rint(side[0]).astype(int) for side in whole)
    parts = [scores(tally(chunk))["f1"] for chunk in weights(counts, resamples if len(observations) > 1 else 0, seed)]
    drawn = np.concatenate(parts) if parts else None
    for index, name in enumerate(observations.names):
        occurs = truth[index] + predicted[index] > 0 and drawn is not None
        bounds = {
            "precision": wilson(right[index], predicted[index], confidence) if len(observations) > 1 else None,
            "recall": wilson(right[index], truth[index], confidence) if len(observations) > 1 else None,
            "f1": percentiles(drawn[:, index], confidence) if occurs and drawn is not None else None,
        }
        found[name]["intervals"] = {key: list(some) if some else None for key, some in bounds.items()}
    return found


def per_label(
    observations: LabelSets | Spans, resamples: int = RESAMPLES, seed: int = SEED, confidence: float = CONFIDENCE
) -> dict[str, Any]:
    """Return what `per_class` does, of each label or type of span; all intervals are bootstrapped over the rows."""
    ones, tally = np.ones(len(observations), dtype=np.int64), label_tallier(observations)
    whole = tally(ones[None].astype(np.float64))
    values, occurs = scores(whole), whole.truth[0] + whole.predicted[0] > 0
    parts = [scores(tally(chunk)) for chunk in weights(ones, resamples if len(observations) > 1 else 0, seed)]
    drawn = {key: np.concatenate([part[key] for part in parts]) for key in values} if parts else {}
    found: dict[str, dict[str, Any]] = {}
    for index, name in enumerate(observations.names):
        bounds = {
            key: percentiles(drawn[key][:, index], confidence) if drawn and occurs[index] else None for key in values
        }
        found[name] = {
            **{key: float(column[0, index]) for key, column in values.items()},
            "support": round(whole.truth[0, index]),
            "intervals": {key: list(some) if some else None for key, some in bounds.items()},
        }
    return found


def hub_figures(
    metric: HubMetric,
    observations: Observations,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    confidence: float = CONFIDENCE,
) -> dict[str, Estimate]:
    """Return every number that a Hub metric computes, with its interval; each resample is a call of its code."""
    values = metric.value(observations)
    parts: dict[str, list[Floats]] = {key: [] for key in values}
    for chunk in weights(np.ones(len(observations), dtype=np.int64), resamples if len(observations) > 1 else 0, seed):
        for key, some in metric.weighted(observations, chunk).items():
            parts[key].append(some)
    found = {}
    for key, number in values.items():
        drawn = np.concatenate(parts[key]) if parts[key] and not math.isnan(number) else None
        bounds = percentiles(drawn, confidence)
        low, high = bounds or (None, None)
        found[key] = Estimate(number, low, high, len(observations), "bootstrap" if bounds else None)
    return found


def finite(number: float | None) -> float | None:
    """Return the number as JSON can hold it: None for NaN and infinity."""
    return number if number is not None and math.isfinite(number) else None
