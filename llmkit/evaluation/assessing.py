"""From observations to an Evaluation: figures with intervals, classes, slices, swaps, the baseline, gates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from llmkit import metrics
from llmkit.errors import OptionError
from llmkit.evaluation.comparison import Comparison, Saved, compared
from llmkit.evaluation.gates import Gate, drop_gates, figure_gates, gap_gate
from llmkit.evaluation.plan import SWAP_FLIPS
from llmkit.evaluation.result import Evaluation, Subject, Wanted
from llmkit.evaluation.result_rows import Observed
from llmkit.evaluation.slices import slice_figures
from llmkit.metrics.classification import calibration_bins, confusion
from llmkit.metrics.intervals import Estimate, figures, hub_figures, per_class, per_label
from llmkit.metrics.observations import Classes, LabelSets, Observations, Spans
from llmkit.options import GateOptions
from llmkit.options.base import limits

MATRIX = 100  # classes: a larger confusion matrix and table of classes would be most of the result


def assess(subject: Subject, wanted: Wanted, baseline: Saved | None = None) -> Evaluation:
    """Return the figures of a subject, and what came of the gates.

    Raises:
        DataError: the baseline is of other rows.
        OptionError: a slice or a gate cannot be had of these observations.
    """
    observations, resamples, seed = subject.observations, wanted.resamples, wanted.seed
    computed = figures([name for name in wanted.metrics if name not in subject.fixed], observations, resamples, seed)
    found = {name: {**computed, **subject.fixed}[name] for name in wanted.metrics}
    for metric in wanted.hub:
        found |= hub_figures(metric, observations, resamples, seed)
    _refuse_unknown(wanted.gates, found, subject.swap)
    details: dict[str, Any] = {
        "baseline": None,
        "slices": None,
        "swap": subject.swap,
        **_of_classes(observations, wanted),
    }
    comparison = None
    if baseline is not None:
        comparison = _against(subject, baseline, found, wanted)
        details["baseline"] = comparison.as_dict()
    if wanted.slices and subject.rows is not None:
        details["slices"] = {
            column: slice_figures(observations, subject.rows[column], column, _sliced(subject, wanted), resamples, seed)
            for column in wanted.slices
        }
    gates = tuple(_gates(wanted, found, details, comparison))
    return Evaluation(**vars(subject), figures=found, resamples=resamples, seed=seed, details=details, gates=gates)


def _of_classes(observations: Observations, wanted: Wanted) -> dict[str, Any]:
    if isinstance(observations, LabelSets | Spans) and len(observations.names) <= MATRIX:
        return {"per_class": per_label(observations, wanted.resamples, wanted.seed)}
    if not isinstance(observations, Classes) or len(observations.names) > MATRIX:
        return {}
    calibration = None if observations.probabilities is None else {"bins": calibration_bins(observations)}
    return {
        "per_class": per_class(observations, wanted.resamples, wanted.seed),
        "confusion": confusion(observations),
        "calibration": calibration,
    }


def _sliced(subject: Subject, wanted: Wanted) -> list[str]:
    """Return the metrics that slices show: the headline, and those that a gap gate names."""
    first = [subject.headline] if subject.headline in wanted.metrics else wanted.metrics[:1]
    return list(dict.fromkeys([*first, *(metrics.canonical(name) for name in limits(wanted.gates.max_gap))]))


def _against(subject: Subject, baseline: Saved, found: Mapping[str, Estimate], wanted: Wanted) -> Comparison:
    after = Saved(
        subject.name,
        subject.model,
        subject.task,
        subject.dataset,
        Observed(subject.observations, subject.ids, subject.texts),
    )
    comparison = compared(baseline, after, tuple(found), wanted.resamples, wanted.seed)
    for name in limits(wanted.gates.max_drop):
        if metrics.canonical(name) not in comparison.differences:
            raise OptionError(f"--max-drop {name}: the baseline {baseline.name!r} has nothing to compute it from")
    return comparison


def _refuse_unknown(gates: GateOptions, found: Mapping[str, Estimate], swap: Mapping[str, Any] | None) -> None:
    """Refuse a gate on a metric that turned out not to be there: a metric of the Hub can have several names."""
    for name, flag in gates.named:
        if metrics.canonical(name) not in found and not (swap and name == SWAP_FLIPS):
            raise OptionError(f"{flag} {name}: there is no such figure; there are {', '.join(found)}")


def _gates(
    wanted: Wanted, found: Mapping[str, Estimate], details: Mapping[str, Any], comparison: Comparison | None
) -> list[Gate]:
    options, figured = wanted.gates, dict(found)
    swap = details["swap"]
    if swap is not None:
        value = math.nan if swap["value"] is None else swap["value"]
        figured[SWAP_FLIPS] = Estimate(value, swap["low"], swap["high"], swap["n"], "wilson", None)
    gates = figure_gates(options, figured)
    if comparison is not None:
        gates += drop_gates(options, comparison.differences, wanted.lower_is_better)
    for column, found_slices in (details["slices"] or {}).items():
        gates += [
            gap_gate(name, column, limit, found_slices["gaps"][metrics.canonical(name)], options.strict)
            for name, limit in limits(options.max_gap).items()
        ]
    return gates
