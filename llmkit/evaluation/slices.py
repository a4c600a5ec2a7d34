"""Figures by slice: the rows of each value of a column, and the largest gap between two of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from llmkit import metrics
from llmkit.errors import OptionError
from llmkit.metrics.intervals import Estimate, estimates, resampled_values
from llmkit.metrics.observations import Observations
from llmkit.output.result_parts import ColumnSlices, Gap

MAX_SLICES = 50  # values of a column: more make no table to read
EMPTY_CELL = "(none)"  # the slice of rows whose cell is empty


def slice_figures(
    observations: Observations, values: Sequence[object], column: str, names: Sequence[str], resamples: int, seed: int
) -> ColumnSlices:
    """Return the figures of each slice and, for each metric, the largest gap between two slices with its interval.

    The gap is that of the best and the worst slice by value; its interval comes from resampling each of the two. It is
    the largest of many, so that some gap is to be expected by chance: compare it with the intervals of the slices.

    Raises:
        OptionError: the column has one value, or too many.
    """
    parts = {value: observations.take(units) for value, units in sorted(slices_of(values, column).items())}
    figures = {value: estimates(names, part, resamples, seed) for value, part in parts.items()}
    return {
        "values": {
            value: {"n": len(parts[value]), "metrics": {name: estimate.as_dict() for name, estimate in by_name.items()}}
            for value, by_name in figures.items()
        },
        "gaps": {
            name: _gap(name, parts, {value: by_name[name] for value, by_name in figures.items()}, resamples, seed)
            for name in names
        },
    }


def slices_of(values: Sequence[object], column: str) -> dict[str, list[int]]:
    """Return the units of each value of a column.

    Raises:
        OptionError: the column has one value, or too many.
    """
    groups: dict[str, list[int]] = {}
    for unit, value in enumerate(values):
        groups.setdefault(EMPTY_CELL if value is None or value == "" else str(value), []).append(unit)
    if not 1 < len(groups) <= MAX_SLICES:
        counted = "one value" if len(groups) == 1 else f"{len(groups)} values"
        raise OptionError(f"--slice {column}: it has {counted}; 2 to {MAX_SLICES} make slices to compare")
    return groups


def _gap(
    name: str, parts: Mapping[str, Observations], figures: Mapping[str, Estimate], resamples: int, seed: int
) -> Gap:
    values = {value: estimate.value for value, estimate in figures.items() if math.isfinite(estimate.value)}
    if len(values) < 2:
        return {"gap": None, "low": None, "high": None, "best": None, "worst": None}
    lowest, highest = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
    best, worst = (lowest, highest) if name in metrics.LOWER_IS_BETTER else (highest, lowest)
    low = high = None
    if resamples:
        higher = resampled_values(name, parts[highest], resamples, seed)
        lower = resampled_values(name, parts[lowest], resamples, seed + 1)  # one seed would pair the rows of the slices
        gaps = higher - lower
        gaps = gaps[np.isfinite(gaps)]
        if len(gaps) * 2 > resamples:
            low, high = (float(bound) for bound in np.quantile(gaps, [0.025, 0.975]))
    return {"gap": values[highest] - values[lowest], "low": low, "high": high, "best": best, "worst": worst}
