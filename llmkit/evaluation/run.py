"""One evaluation, from what the user typed to an Evaluation."""

from __future__ import annotations

from dataclasses import replace
from typing import TypedDict, Unpack

from llmkit.distributed.world import world
from llmkit.errors import OptionError
from llmkit.evaluation.assessing import assess, possible_metrics, undefined_figures
from llmkit.evaluation.comparison import ComparisonSide, looks_saved, read_saved, require_same_task
from llmkit.evaluation.gates import require_intervals
from llmkit.evaluation.measuring import Measured, measure
from llmkit.evaluation.plan import Plan, plan
from llmkit.evaluation.result import Evaluation, Subject
from llmkit.evaluation.result_rows import ObservedUnits
from llmkit.evaluation.term_swaps import Swaps, find_swaps, swap_check
from llmkit.metrics.texts.tokenizers import tokenized, tokenizer_remarks
from llmkit.options import DataOptions, EvalOptions, EvalRequest, GateOptions, ModelOptions
from llmkit.output.report import Report
from llmkit.output.result_parts import SwapResult


class CallOptions(TypedDict, total=False):
    """What a call of `evaluate` can say beside what is measured."""

    report: Report | None  # says what is going on; a new one by default
    dry_run: bool  # check everything, and measure nothing
    name: str | None  # of the result, where it is not that of the dataset


def evaluate(
    dataset: str,
    model: str | ModelOptions | None = None,
    data: DataOptions | None = None,
    evaluation: EvalOptions | None = None,
    gates: GateOptions | None = None,
    **call: Unpack[CallOptions],
) -> Evaluation | None:
    """Measure `model`, or with `evaluation.predictions` a file, on `dataset`; None after a dry run.

    Raises:
        DataError, ModelError, OptionError: something asked for is wrong; nothing costly was done yet.
        EmptyError: there is no usable row.
        Stopped: a signal came; the same call goes on from the rows that were scored.
    """
    request = EvalRequest(
        dataset=dataset,
        model=model if isinstance(model, ModelOptions) else ModelOptions(model=model),
        data=data or DataOptions(),
        evaluation=evaluation or EvalOptions(),
        gates=gates or GateOptions(),
    )
    return evaluate_request(request, **call)


def evaluate_request(
    request: EvalRequest, report: Report | None = None, dry_run: bool = False, name: str | None = None
) -> Evaluation | None:
    """Do what `evaluate` does, for a request that is at hand.

    Raises:
        DataError, ModelError, OptionError, EmptyError, Stopped: as `evaluate`.
    """
    report = report or Report()
    warned = len(report.warnings)
    evaluation = _evaluate(request, report, dry_run, name)
    if evaluation is None:
        return None
    for sentence in undefined_figures(evaluation):
        report.warn(sentence)
    subject = evaluation.subject
    return replace(
        evaluation, subject=replace(subject, provenance={**subject.provenance, "warnings": report.warnings[warned:]})
    )


def _evaluate(request: EvalRequest, report: Report, dry_run: bool, name: str | None) -> Evaluation | None:
    evaluation, gates = request.evaluation, request.gates
    require_intervals(gates, evaluation.resamples)
    if evaluation.predictions is not None:
        from llmkit.evaluation.prediction_scoring import evaluate_predictions

        return evaluate_predictions(evaluation.predictions, request, report, dry_run, name)
    if request.endpoint.asks_server:
        from llmkit.evaluation.server_scoring import evaluate_server

        return evaluate_server(request, report, dry_run, name)
    if evaluation.benchmark_flags:
        raise OptionError(*(f"{flag} is for lm-eval benchmarks (lm-eval:NAME)" for flag in evaluation.benchmark_flags))
    saved = read_saved(gates.baseline) if gates.baseline and looks_saved(gates.baseline) else None
    planned = plan(request, report)
    request.launch.require_enough(len(planned.rows), world().size)
    baseline = _baseline_plan(request, planned, report) if saved is None else None
    earlier_task = saved.task if saved else baseline.task.name if baseline else planned.task.name
    require_same_task(gates.baseline or "", earlier_task, planned.task.name)
    swaps = find_swaps(planned, evaluation.swap, request.data.encoding) if evaluation.swap else None
    if dry_run:
        return None
    measured, swap = _measure(planned, evaluation, swaps, report)
    if baseline is not None:
        saved = _measured_side(baseline, report, evaluation.cache, named=gates.baseline is not None)
    subject = subject_of(planned, measured, swap, name)
    metric_request = possible_metrics(planned.metric_request, subject.observations, request)
    report.say_all(tokenizer_remarks(subject.observations, metric_request.metrics, metric_request.tokenize))
    return assess(subject, metric_request, saved)


def _baseline_plan(request: EvalRequest, planned: Plan, report: Report) -> Plan | None:
    """Return the evaluation of the model that --baseline names, where it names one, always of whole weights.

    A language model that is quantized is compared with itself before that, unless another baseline is given.
    """
    baseline, whole = request.gates.baseline, replace(request.model, quantize=None)
    if baseline:
        report.say(f"baseline: {baseline}, on the same rows")
        return plan(replace(request, model=replace(whole, model=baseline, revision=None)), report)
    if whole != request.model and planned.task.headline_metric(planned.settings) == "perplexity":
        report.say(f"baseline: {planned.resolved.name} in whole weights, on the same rows: two measurements")
        return replace(planned, options=whole)
    return None


def _measured_side(baseline: Plan, report: Report, cache: bool, named: bool) -> ComparisonSide:
    measured, _ = measure(baseline, baseline.rows, report, cache=cache)
    model = baseline.resolved.name
    name = model if named else f"{model} in whole weights"
    units = ObservedUnits(tokenized(measured.observations, baseline.metric_request.tokenize), measured.ids)
    return ComparisonSide(name, model, baseline.task.name, baseline.dataset, units)


def _measure(
    planned: Plan, evaluation: EvalOptions, swaps: Swaps | None, report: Report
) -> tuple[Measured, SwapResult | None]:
    """Return what the model answered, and what came of the swap check if one is asked for."""
    asked = evaluation.check_invariance
    rows = planned.task.invariance_rows if asked is None else asked
    measured, prepared = measure(planned, planned.rows, report, cache=evaluation.cache, invariance_rows=rows)
    checked = measured.invariance
    if checked and checked["changed"]:
        report.warn(
            f"{checked['changed']} of {checked['rows']} rows are predicted otherwise alone than in a batch "
            f"(logits differ by up to {checked['largest_difference']:.2g}); --dtype float32 makes that difference small"
        )
    swap = None
    if swaps is not None:
        swap = swap_check(swaps, measured, prepared, report, evaluation.cache)
    return measured, swap


def subject_of(plan: Plan, measured: Measured, swap: SwapResult | None = None, name: str | None = None) -> Subject:
    """Return what is assessed of a measured model."""
    observations = tokenized(measured.observations, plan.metric_request.tokenize)
    rows = None if measured.unit_rows is None else plan.rows.select(measured.unit_rows)
    texts = None
    if rows is not None:
        columns = [rows[column] for column in plan.settings.inputs.values()]
        texts = [" | ".join(map(str, row)) for row in zip(*columns, strict=True)]
    return Subject(
        name=name or plan.dataset,
        task=plan.task.name,
        dataset=plan.dataset,
        split=plan.split,
        model=plan.resolved.name,
        headline=plan.task.headline_metric(plan.settings),
        observations=observations,
        ids=measured.ids,
        counts=plan.task.answers.counts(observations),
        rows=rows,
        texts=texts,
        swap=swap,
        provenance={
            "invariance": measured.invariance,
            "cached": measured.cached,
            "seconds": round(measured.seconds, 2),
            **measured.provenance,
        },
    )
