"""Figures by slice: the rows of each value of a column, and the largest gap between two of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from llmkit import metrics
from llmkit.errors import OptionError
from llmkit.metrics.intervals import Estimate, figures, resampled
from llmkit.metrics.observations import Observations

MOST = 50  # values of a column: more make no table to read
NOTHING = "(none)"  # the slice of rows whose cell is empty


def slice_figures(
    observations: Observations, values: Sequence[Any], column: str, names: Sequence[str], resamples: int, seed: int
) -> dict[str, Any]:
    """Return the figures of each slice and, for each metric, the largest gap between two slices with its interval.

    The gap is that of the best and the worst slice by value; its interval comes from resampling each of the two. It is
    the largest of many, so that some gap is to be expected by chance: compare it with the intervals of the slices.

    Raises:
        OptionError: the column has one value, or too many.
    """
    parts = {value: observations.take(units) for value, units in sorted(slices_of(values, column).items())}
    found = {value: figures(names, part, resamples, seed) for value, part in parts.items()}
    return {
        "values": {
            value: {"n": len(parts[value]), "metrics": {name: figure.as_dict() for name, figure in by_name.items()}}
            for value, by_name in found.items()
        },
        "gaps": {name: _gap(name, parts, found, resamples, seed) for name in names},
    }


def slices_of(values: Sequence[Any], column: str) -> dict[str, list[int]]:
    """Return the units of each value of a column.

    Raises:
        OptionError: the column has one value, or too many.
    """
    groups: dict[str, list[int]] = {}
    for unit, value in enumerate(values):
        groups.setdefault(NOTHING if value is None or value == "" else str(value), []).append(unit)
    if not 1 < len(groups) <= MOST:
        counted = "one value" if len(groups) == 1 else f"{len(groups)} values"
        raise OptionError(f"--slice {column}: it has {counted}; 2 to {MOST} make slices to compare")
    return groups


def _gap(
    name: str, parts: Mapping[str, Observations], found: Mapping[str, Mapping[str, Estimate]], resamples: int, seed: int
) -> dict[str, Any]:
    all_values = {value: by_name[name].value for value, by_name in found.items()}
    values = {value: figure for value, figure in all_values.items() if math.isfinite(figure)}
    if len(values) < 2:
        return {"gap": None, "low": None, "high": None, "best": None, "worst": None}
    least, most = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
    best, worst = (least, most) if name in metrics.LOWER_IS_BETTER else (most, least)
    low = high = None
    if resamples:
        # two seeds: one would pair the rows of the two slices
        drawn = resampled(name, parts[most], resamples, seed) - resampled(name, parts[least], resamples, seed + 1)
        drawn = drawn[np.isfinite(drawn)]
        if len(drawn) * 2 > resamples:
            low, high = (float(bound) for bound in np.quantile(drawn, [0.025, 0.975]))
    return {"gap": values[most] - values[least], "low": low, "high": high, "best": best, "worst": worst}
