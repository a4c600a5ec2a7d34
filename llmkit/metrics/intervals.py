"""Figures with their uncertainty: Wilson's interval for proportions, the percentile bootstrap for every other metric.

A resample is a row of weights: how often each unit was drawn. Sources: Wilson, JASA 22, 1927; Efron and Tibshirani, An
Introduction to the Bootstrap, 1993, chapter 13.
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
from llmkit.metrics.classification import confusion_cells, scores, weighted_counts
from llmkit.metrics.classification import per_class as class_values
from llmkit.metrics.counts import weighted_counts as weighted_label_counts
from llmkit.metrics.hub_metric import HubMetric
from llmkit.metrics.observations import Classes, Floats, Ints, LabelSets, Observations, Spans
from llmkit.output.result_parts import CLASS_METRICS, ClassIntervals, ClassResult, MetricResult

DEFAULT_RESAMPLES = 2000
DEFAULT_SEED = 42
DEFAULT_CONFIDENCE = 0.95
WEIGHTS_PER_CHUNK = 1 << 17  # 1 MiB, which stays in a processor's cache; at least one resample


@dataclass(frozen=True)
class Estimate:
    """A metric's value, its interval (None where there is none), what n it is of, and of what."""

    value: float
    low: float | None
    high: float | None
    n: int
    interval: Literal["wilson", "bootstrap", "standard error"] | None  # the method
    of: str | None = None
    signature: str | None = None  # how it was computed, as sacrebleu spells it

    def as_dict(self) -> MetricResult:
        """Return the figure as it stands in a result: null for what is not finite, words where they say something."""
        result: MetricResult = {
            "value": finite(self.value),
            "low": finite(self.low),
            "high": finite(self.high),
            "n": self.n,
            "interval": self.interval,
        }
        if self.of is not None:
            result["of"] = self.of
        if self.signature is not None:
            result["signature"] = self.signature
        return result


def estimate(
    name: str,
    observations: Observations,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = DEFAULT_SEED,
    confidence: float = DEFAULT_CONFIDENCE,
) -> Estimate:
    """Return the metric of the observations with its interval.

    There is no interval of fewer than two units, of a value that is not a number, nor where more than half of the
    resamples have none; and no bootstrap interval when `resamples` is 0.

    Raises:
        OptionError: the metric is not one of such observations.
    """
    return estimates((name,), observations, resamples, seed, confidence)[name]


def estimates(
    names: Iterable[str],
    observations: Observations,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = DEFAULT_SEED,
    confidence: float = DEFAULT_CONFIDENCE,
) -> dict[str, Estimate]:
    """Return several metrics of the same observations with their intervals; they share the resamples.

    Raises:
        OptionError: a metric is not one of such observations.
    """
    resolved = metrics.resolve(names, observations)
    values = {name: metric.value_or_nan(observations) for name, metric in resolved.items()}
    bounded = {
        name: metric for name, metric in resolved.items() if len(observations) > 1 and not math.isnan(values[name])
    }
    proportions = {name: metric.proportion(observations) for name, metric in bounded.items()}
    bootstrapped = {name: metric for name, metric in bounded.items() if proportions[name] is None}
    resampled = _resampled(bootstrapped, observations, resamples, seed)
    results = {}
    for name, metric in resolved.items():
        share = proportions.get(name)
        bounds = wilson(*share, confidence) if share else percentiles(resampled.get(name), confidence)
        low, high = bounds or (None, None)
        results[name] = Estimate(
            values[name],
            low,
            high,
            metric.size(observations),
            None if bounds is None else "wilson" if share else "bootstrap",
            metric.averaging(observations),
            metric.signature(observations),
        )
    return results


def resampled_values(
    name: str, observations: Observations, resamples: int = DEFAULT_RESAMPLES, seed: int = DEFAULT_SEED
) -> Floats:
    """Return the metric's value in each resample, (resamples,): NaN where it is not defined."""
    return _resampled(metrics.resolve((name,), observations), observations, resamples, seed)[name]


def _resampled(
    resolved: Mapping[str, AnyMeasure], observations: Observations, resamples: int, seed: int
) -> dict[str, Floats]:
    """Return the values of each metric in each resample, (resamples,); those of classes are drawn by cells."""
    of_cells = {name: metric for name, metric in resolved.items() if metric.of_cells}
    of_units = {name: metric for name, metric in resolved.items() if not metric.of_cells}
    results: dict[str, Floats] = {}
    if of_cells and isinstance(observations, Classes):
        cells, counts = confusion_cells(observations)
        results |= _weighted(of_cells, cells, weights(counts, resamples, seed))
    if of_units:
        counts = np.ones(len(observations), dtype=np.int64)
        results |= _weighted(of_units, observations, weights(counts, resamples, seed))
    return results


def _weighted(
    resolved: Mapping[str, AnyMeasure], observations: Observations, chunks: Iterator[Floats]
) -> dict[str, Floats]:
    weighted = {name: metric.weighted_values(observations) for name, metric in resolved.items()}
    parts: dict[str, list[Floats]] = {}
    for chunk in chunks:
        for name, values in weighted.items():
            parts.setdefault(name, []).append(values(chunk))
    return {name: np.concatenate(values) for name, values in parts.items()}


def weights(counts: Ints, resamples: int, seed: int) -> Iterator[Floats]:
    """Yield resamples, a chunk at a time: how often each of the units was drawn, (chunk, n).

    `counts` (n,) says how many rows each unit stands for; as many as there are rows are drawn, with replacement. The
    resamples depend on the counts and the seed alone, not on how many come at a time, and memory stays bounded.
    """
    generator, width, rows = np.random.default_rng(seed), len(counts), int(counts.sum())
    chunk = max(1, WEIGHTS_PER_CHUNK // max(1, width))
    single_rows = bool((counts == 1).all())
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        if single_rows:
            drawn = generator.integers(0, width, (size, width)) + np.arange(size)[:, None] * width
            times = np.bincount(drawn.ravel(), minlength=size * width).reshape(size, width)
        else:
            times = generator.multinomial(rows, counts / rows, size)
        yield times.astype(np.float64)


def percentiles(values: Floats | None, confidence: float = DEFAULT_CONFIDENCE) -> tuple[float, float] | None:
    """Return the interval that holds the middle of the resampled values (NaN left out); None when half are NaN."""
    if values is None or np.isnan(values).sum() * 2 > len(values):
        return None
    defined = values[~np.isnan(values)]
    tail = 50 * (1 - confidence)
    with np.errstate(invalid="ignore"):  # between a number and infinity there is nothing
        low, high = np.percentile(defined, [tail, 100 - tail])
    return None if math.isnan(low) or math.isnan(high) else (float(low), float(high))


def wilson(successes: int, trials: int, confidence: float = DEFAULT_CONFIDENCE) -> tuple[float, float] | None:
    """Return Wilson's score interval of a proportion; None of no trials."""
    if trials == 0:
        return None
    bounds = stats.binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    return float(bounds.low), float(bounds.high)


def per_class(
    observations: Classes,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = DEFAULT_SEED,
    confidence: float = DEFAULT_CONFIDENCE,
) -> dict[str, ClassResult]:
    """Return precision, recall, F1 and support of each class by name, and `intervals` of the three (None: no such)."""
    results = class_values(observations)
    cells, counts = confusion_cells(observations)
    weighted, bounded = weighted_counts(cells), len(observations) > 1
    totals = (np.rint(side[0]).astype(int) for side in weighted(counts[None].astype(np.float64)))
    true_positives, support, predicted = totals
    chunks = [scores(weighted(chunk))["f1"] for chunk in weights(counts, resamples if bounded else 0, seed)]
    resampled_f1 = np.concatenate(chunks) if chunks else None
    for index, name in enumerate(observations.names):
        occurs, f1 = support[index] + predicted[index] > 0, None
        if occurs and resampled_f1 is not None:
            f1 = percentiles(resampled_f1[:, index], confidence)
        right = true_positives[index]
        results[name]["intervals"] = {
            "precision": _listed(wilson(right, predicted[index], confidence) if bounded else None),
            "recall": _listed(wilson(right, support[index], confidence) if bounded else None),
            "f1": _listed(f1),
        }
    return results


def per_label(
    observations: LabelSets | Spans,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = DEFAULT_SEED,
    confidence: float = DEFAULT_CONFIDENCE,
) -> dict[str, ClassResult]:
    """Return what `per_class` does, of each label or type of span; all intervals are bootstrapped over the rows."""
    ones, weighted = np.ones(len(observations), dtype=np.int64), weighted_label_counts(observations)
    totals = weighted(ones[None].astype(np.float64))
    values, occurs = scores(totals), totals.support[0] + totals.predicted[0] > 0
    chunks = [scores(weighted(chunk)) for chunk in weights(ones, resamples if len(observations) > 1 else 0, seed)]
    resampled = {key: np.concatenate([chunk[key] for chunk in chunks]) for key in values} if chunks else {}
    results: dict[str, ClassResult] = {}
    for index, name in enumerate(observations.names):
        intervals: ClassIntervals = {}
        for key in CLASS_METRICS:
            bounded = bool(resampled) and occurs[index]
            intervals[key] = _listed(percentiles(resampled[key][:, index], confidence) if bounded else None)
        precision, recall, f1 = (float(values[key][0, index]) for key in CLASS_METRICS)
        support = round(totals.support[0, index])
        results[name] = {"precision": precision, "recall": recall, "f1": f1, "support": support, "intervals": intervals}
    return results


def _listed(bounds: tuple[float, float] | None) -> list[float | None] | None:
    return None if bounds is None else list(bounds)


def hub_estimates(
    metric: HubMetric,
    observations: Observations,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = DEFAULT_SEED,
    confidence: float = DEFAULT_CONFIDENCE,
) -> dict[str, Estimate]:
    """Return every number that a Hub metric computes, with its interval; each resample is a call of its code."""
    numbers = metric.value(observations)
    parts: dict[str, list[Floats]] = {key: [] for key in numbers}
    for chunk in weights(np.ones(len(observations), dtype=np.int64), resamples if len(observations) > 1 else 0, seed):
        for key, values in metric.weighted_values(observations, chunk).items():
            parts[key].append(values)
    results = {}
    for key, number in numbers.items():
        resampled = np.concatenate(parts[key]) if parts[key] and not math.isnan(number) else None
        bounds = percentiles(resampled, confidence)
        low, high = bounds or (None, None)
        results[key] = Estimate(number, low, high, len(observations), "bootstrap" if bounds else None)
    return results


def finite(number: float | None) -> float | None:
    """Return the number as JSON can hold it: None for NaN and infinity."""
    return number if number is not None and math.isfinite(number) else None
