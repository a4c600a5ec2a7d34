"""From observations to an Evaluation: figures with intervals, classes, slices, swaps, the baseline, gates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from llmkit import metrics
from llmkit.errors import OptionError, listing
from llmkit.evaluation.comparison import Comparison, ComparisonSide, compared
from llmkit.evaluation.gates import Gate, drop_gates, figure_gates, gap_gate
from llmkit.evaluation.plan import SWAP_FLIPS
from llmkit.evaluation.result import Evaluation, MetricRequest, Subject
from llmkit.evaluation.result_rows import ObservedUnits
from llmkit.evaluation.slices import slice_figures
from llmkit.metrics.classification import calibration_bins, confusion
from llmkit.metrics.intervals import Estimate, estimates, hub_estimates, per_class, per_label
from llmkit.metrics.observations import Classes, LabelSets, Numbers, Observations, Spans
from llmkit.options import EvalRequest, GateOptions
from llmkit.options.base import limits
from llmkit.output.result import Breakdown
from llmkit.output.result_parts import SwapResult

MAX_CLASSES = 100  # a larger confusion matrix and table of classes would be most of the result


def assess(subject: Subject, request: MetricRequest, baseline: ComparisonSide | None = None) -> Evaluation:
    """Return the figures of a subject, and what came of the gates.

    Raises:
        DataError: the baseline is of other rows.
        OptionError: a slice or a gate cannot be had of these observations.
    """
    figures = _figures(subject, request)
    _refuse_unknown(request.gates, figures, subject.swap)
    breakdown: Breakdown = {
        "baseline": None,
        "slices": None,
        "swap": subject.swap,
        **_of_classes(subject.observations, request),
    }
    comparison = None
    if baseline is not None:
        comparison = _against(subject, baseline, figures, request)
        breakdown["baseline"] = comparison.as_dict()
    if request.slices and subject.rows is not None:
        names, resamples, seed = _sliced(subject, request), request.resamples, request.seed
        breakdown["slices"] = {
            column: slice_figures(subject.observations, subject.rows[column], column, names, resamples, seed)
            for column in request.slices
        }
    return Evaluation(
        subject=subject,
        figures=figures,
        resamples=request.resamples,
        seed=request.seed,
        breakdown=breakdown,
        gates=tuple(_gates(request, figures, breakdown, comparison)),
    )


def possible_metrics(metric_request: MetricRequest, observations: Observations, request: EvalRequest) -> MetricRequest:
    """Return the request without the usual metrics that these observations do not have; those asked for stay."""
    asked = [*(request.evaluation.metric or ()), *(name for name, _ in request.gates.named)]
    known = metrics.names_for(observations)
    for name, flag in request.gates.named:
        if metrics.canonical(name) in metrics.METRICS and metrics.canonical(name) not in known:
            raise OptionError(f"{flag} {name}: these rows give nothing to compute it from; they give {listing(known)}")
    possible = {*known, *map(metrics.canonical, asked)}
    return replace(metric_request, metrics=tuple(name for name in metric_request.metrics if name in possible))


def undefined_figures(evaluation: Evaluation) -> list[str]:
    """Return a sentence for each reason for which a figure is no number, naming the figures."""
    by_reason: dict[str, list[str]] = {}
    for name, figure in evaluation.figures.items():
        if math.isnan(figure.value):
            by_reason.setdefault(_why_undefined(name, evaluation.subject.observations), []).append(name)
    return [f"{listing(names)}: not defined of these rows, for {reason}" for reason, names in by_reason.items()]


def _why_undefined(name: str, observations: Observations) -> str:
    if isinstance(observations, Numbers):
        sides = {"labels": observations.truth, "predictions": observations.predicted}
        constant = [side for side, numbers in sides.items() if len(set(numbers.tolist())) < 2]
        if len(observations) < 2:
            return "one row has no correlation"
        if constant:
            return f"the {' and the '.join(constant)} are all the same number"
    if isinstance(observations, Classes) and len(set(observations.truth.tolist())) < 2:
        return f"all of them are {observations.names[int(observations.truth[0])]!r}, and two classes are wanted"
    if isinstance(observations, LabelSets):
        return "no label is in some of them and missing in others"
    return "it has no value there"


def _figures(subject: Subject, request: MetricRequest) -> dict[str, Estimate]:
    observations, resamples, seed = subject.observations, request.resamples, request.seed
    names = [name for name in request.metrics if name not in subject.fixed]
    known = {**estimates(names, observations, resamples, seed), **subject.fixed}
    figures = {name: known[name] for name in request.metrics}
    for metric in request.hub:
        figures |= hub_estimates(metric, observations, resamples, seed)
    return figures


def _of_classes(observations: Observations, request: MetricRequest) -> Breakdown:
    if isinstance(observations, LabelSets | Spans) and len(observations.names) <= MAX_CLASSES:
        return {"per_class": per_label(observations, request.resamples, request.seed)}
    if not isinstance(observations, Classes) or len(observations.names) > MAX_CLASSES:
        return {}
    return {
        "per_class": per_class(observations, request.resamples, request.seed),
        "confusion": confusion(observations),
        "calibration": None if observations.probabilities is None else {"bins": calibration_bins(observations)},
    }


def _sliced(subject: Subject, request: MetricRequest) -> list[str]:
    """Return the metrics that slices show: the headline, and those that a gap gate names."""
    first = [subject.headline] if subject.headline in request.metrics else request.metrics[:1]
    return list(dict.fromkeys([*first, *(metrics.canonical(name) for name in limits(request.gates.max_gap))]))


def _against(
    subject: Subject, baseline: ComparisonSide, figures: Mapping[str, Estimate], request: MetricRequest
) -> Comparison:
    units = ObservedUnits(subject.observations, subject.ids, subject.texts)
    after = ComparisonSide(subject.name, subject.model, subject.task, subject.dataset, units)
    comparison = compared(baseline, after, tuple(figures), request.resamples, request.seed)
    for name in limits(request.gates.max_drop):
        if metrics.canonical(name) not in comparison.differences:
            raise OptionError(f"--max-drop {name}: the baseline {baseline.name!r} has nothing to compute it from")
    return comparison


def _refuse_unknown(gates: GateOptions, figures: Mapping[str, Estimate], swap: SwapResult | None) -> None:
    """Refuse a gate on a metric that turned out not to be there: a metric of the Hub can have several names."""
    for name, flag in gates.named:
        if metrics.canonical(name) not in figures and not (swap and name == SWAP_FLIPS):
            raise OptionError(f"{flag} {name}: there is no such figure; there are {', '.join(figures)}")


def _gates(
    request: MetricRequest, figures: Mapping[str, Estimate], breakdown: Breakdown, comparison: Comparison | None
) -> list[Gate]:
    options, swap = request.gates, breakdown["swap"]
    if swap is not None:
        value = math.nan if swap["value"] is None else swap["value"]
        flips = Estimate(value, swap["low"], swap["high"], swap["n"], "wilson", None)
        figures = {**figures, SWAP_FLIPS: flips}
    gates = figure_gates(options, figures)
    if comparison is not None:
        gates += drop_gates(options, comparison.differences, request.lower_is_better, len(comparison.after.units.ids))
    for column, slices in (breakdown["slices"] or {}).items():
        gates += [
            gap_gate(name, column, limit, slices["gaps"][metrics.canonical(name)], options.strict)
            for name, limit in limits(options.max_gap).items()
        ]
    return gates
