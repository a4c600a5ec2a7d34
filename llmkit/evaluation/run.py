"""One evaluation, from what the user typed to an Evaluation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from llmkit.errors import OptionError
from llmkit.evaluation.assessing import assess
from llmkit.evaluation.comparison import Saved, looks_saved, read_saved, require_same_task
from llmkit.evaluation.gates import require_intervals
from llmkit.evaluation.measuring import Measured, measure
from llmkit.evaluation.plan import Plan, plan
from llmkit.evaluation.result import Evaluation, Subject
from llmkit.evaluation.result_rows import Observed
from llmkit.evaluation.term_swaps import Swaps, find_swaps, swap_check
from llmkit.options import DataOptions, EvalOptions, GateOptions, ModelOptions
from llmkit.output.report import Report


def evaluate(
    dataset: str,
    model: str | ModelOptions | None = None,
    data: DataOptions | None = None,
    evaluation: EvalOptions | None = None,
    gates: GateOptions | None = None,
    report: Report | None = None,
    dry_run: bool = False,
    name: str | None = None,
) -> Evaluation | None:
    """Measure `model`, or with `evaluation.predictions` a file, on `dataset`; None after a dry run.

    Raises:
        DataError, ModelError, OptionError: something asked for is wrong; nothing costly was done yet.
        EmptyError: there is no usable row.
        Stopped: a signal came; the same call goes on from the rows that were scored.
    """
    options = model if isinstance(model, ModelOptions) else ModelOptions(model=model)
    report = report or Report()
    warned = len(report.warnings)
    found = _evaluate(
        dataset,
        options,
        data or DataOptions(),
        evaluation or EvalOptions(),
        gates or GateOptions(),
        report,
        dry_run,
        name,
    )
    return found and replace(found, about={**found.about, "warnings": report.warnings[warned:]})


def _evaluate(
    dataset: str,
    options: ModelOptions,
    data: DataOptions,
    evaluation: EvalOptions,
    gates: GateOptions,
    report: Report,
    dry_run: bool,
    name: str | None,
) -> Evaluation | None:
    require_intervals(gates, evaluation.resamples)
    if evaluation.predictions is not None:
        from llmkit.evaluation.prediction_scoring import evaluate_predictions

        return evaluate_predictions(
            evaluation.predictions, dataset, options, data, evaluation, gates, report, dry_run, name
        )
    if evaluation.num_fewshot is not None:
        raise OptionError("--num-fewshot is for lm-eval benchmarks (lm-eval:NAME)")
    saved = read_saved(gates.baseline) if gates.baseline and looks_saved(gates.baseline) else None
    found = plan(dataset, options, data, evaluation, gates, report)
    before = None
    if gates.baseline and saved is None:
        report.say(f"baseline: {gates.baseline}, on the same rows")
        before = plan(dataset, replace(options, model=gates.baseline, revision=None), data, evaluation, gates, report)
    earlier_task = saved.task if saved else before.task.name if before else found.task.name
    require_same_task(gates.baseline or "", earlier_task, found.task.name)
    swaps = find_swaps(found, evaluation.swap, data.encoding) if evaluation.swap else None
    if dry_run:
        return None
    measured, swap = _measure(found, evaluation, swaps, report)
    if before is not None:
        earlier, _ = measure(before, before.rows, report, cache=evaluation.cache)
        saved = Saved(
            before.resolved.name,
            before.resolved.name,
            before.task.name,
            dataset,
            Observed(earlier.observations, earlier.ids),
        )
    return assess(subject_of(found, measured, swap, name), found.wanted, saved)


def _measure(
    found: Plan, evaluation: EvalOptions, swaps: Swaps | None, report: Report
) -> tuple[Measured, dict[str, Any] | None]:
    """Return what the model answered, and what came of the swap check if one is wanted."""
    asked = evaluation.check_invariance
    rows = found.task.invariance_rows if asked is None else asked
    measured, prepared = measure(found, found.rows, report, cache=evaluation.cache, invariance_rows=rows)
    checked = measured.invariance
    if checked and checked["changed"]:
        report.warn(
            f"{checked['changed']} of {checked['rows']} rows are predicted otherwise alone than in a batch "
            f"(logits differ by up to {checked['largest_difference']:.2g}); --dtype float32 makes that difference small"
        )
    swap = None
    if swaps is not None:
        swap = swap_check(found, swaps, measured, prepared, report, evaluation.cache)
    return measured, swap


def subject_of(found: Plan, measured: Measured, swap: dict[str, Any] | None = None, name: str | None = None) -> Subject:
    """Return what is assessed of a measured model."""
    observations = measured.observations
    rows = None if measured.unit_rows is None else found.rows.select(measured.unit_rows)
    texts = None
    if rows is not None:
        columns = [rows[column] for column in found.settings.inputs.values()]
        texts = [" | ".join(map(str, row)) for row in zip(*columns, strict=True)]
    about = {
        "invariance": measured.invariance,
        "cached": measured.cached,
        "seconds": round(measured.seconds, 2),
        **measured.about,
    }
    return Subject(
        name=name or found.dataset,
        task=found.task.name,
        dataset=found.dataset,
        split=found.split,
        model=found.resolved.name,
        headline=found.task.headline_metric(found.settings),
        observations=observations,
        ids=measured.ids,
        counts=found.task.answers.counts(observations),
        rows=rows,
        texts=texts,
        swap=swap,
        about=about,
    )
