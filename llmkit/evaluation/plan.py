"""What can be checked before anything costly is done: the model, the rows, the labels, the metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from llmkit import metrics, models, runs, tasks
from llmkit.data import Source, hub_name, open_dataset
from llmkit.data.parts import Part
from llmkit.data.splits import Cut, evaluation_rows
from llmkit.errors import DataError, EmptyError, HubError, ModelError, OptionError, did_you_mean, listing
from llmkit.evaluation.result import MetricRequest
from llmkit.evaluation.slices import slices_of
from llmkit.inspection.tokenizer_checks import require_spelled
from llmkit.metrics.hub_metric import open_hub_metric
from llmkit.metrics.texts.tokenizers import requested_tokenizer
from llmkit.models import ResolvedModel
from llmkit.models import reference as references
from llmkit.models.weight_files import weight_fingerprint
from llmkit.options import EvalOptions, EvalRequest, GateOptions, ModelOptions
from llmkit.output.report import Report
from llmkit.runs.record import RunRecord
from llmkit.tasks import Reference, Task, TaskSettings

SWAP_FLIPS = "swap_flips"  # the share of predictions that --swap flips: a metric that gates can name


@dataclass(frozen=True)
class Plan:
    """An evaluation that was checked up to its first costly step."""

    dataset: str
    resolved: ResolvedModel
    options: ModelOptions
    tokenizer: PreTrainedTokenizerBase
    source: Source
    task: Task
    settings: TaskSettings
    split: str
    rows: Dataset
    dropped: int
    batch_size: int
    metric_request: MetricRequest


@dataclass(frozen=True)
class SplitRows:
    """The rows of a split of a dataset, and which columns of them hold what."""

    dataset: str
    source: Source
    split: str
    rows: Dataset
    columns: dict[str, str]  # role -> column


@dataclass(frozen=True)
class EvaluatedModel:
    """The model that is measured, up to its weights."""

    options: ModelOptions
    resolved: ResolvedModel
    tokenizer: PreTrainedTokenizerBase
    run_record: RunRecord  # run.json of the training that made it; empty where there is none


def plan(request: EvalRequest, report: Report) -> Plan:
    """Check everything that can be checked without the weights, and say what will be measured.

    Raises:
        ModelError, DataError, OptionError, HubError: what was asked for is not there, or does not go together.
        EmptyError: there is no usable row.
    """
    resolved = models.resolve_model(request.model, report)
    run_record = runs.read_run(resolved.path) or {}
    task, split = _task_and_split(request, resolved, run_record, report)
    model = EvaluatedModel(request.model, resolved, models.load_tokenizer(resolved, request.model), run_record)
    settings = _settings(task, model, split, request, report)
    metric_request = requested_metrics(task, settings, request)
    task.check_settings(settings)
    require_spelled(task, Part(split.split, split.rows), model.tokenizer, settings, report)
    rows = usable_rows(split, task.columns.evaluation_rows(split.rows, settings), task, report)
    if metric_request.slices and not task.answers.one_row_per_unit(settings):
        raise OptionError("--slice needs figures of single rows: add --per-row")
    check_slices(rows, metric_request)
    remark = task.remark(rows, settings)
    if remark is not None:
        report.say(f"{split.split}: {remark}")
    return Plan(
        dataset=request.dataset,
        resolved=resolved,
        options=request.model,
        tokenizer=model.tokenizer,
        source=split.source,
        task=task,
        settings=settings,
        split=split.split,
        rows=rows,
        dropped=len(split.rows) - len(rows),
        batch_size=request.evaluation.batch_size or task.eval_batch_size,
        metric_request=metric_request,
    )


def _task_and_split(
    request: EvalRequest, resolved: ResolvedModel, run_record: RunRecord, report: Report
) -> tuple[Task, SplitRows]:
    data = request.data
    able = tasks.for_model(resolved.config, "eval", resolved.name, data.task, data)
    source = open_dataset(request.dataset, data, report=report)
    resolution = tasks.resolve_task(able, tasks.Evidence.of(source), data.columns, "eval", data, resolved.config)
    task, columns = resolution.task, resolution.columns
    source = source.convert(resolution.conversions)
    report.say_all(resolution.sentences())
    has_labels = partial(task.columns.has_labels, columns=columns)
    name, rows = evaluation_rows(source, request.evaluation.split, data.limit, has_labels, _cut_of(run_record, source))
    tasks.require_valid_rows(task, rows, columns, name)
    return task, SplitRows(request.dataset, source, name, rows, columns)


def usable_rows(split: SplitRows, usable: list[int], task: Task, report: Report) -> Dataset:
    """Return the rows that can be measured on, by their numbers, and say how many they are.

    Raises:
        EmptyError: there is none.
    """
    total = len(split.rows)
    if not usable:
        reason = f"all have {task.columns.unusable_reason}"
        raise EmptyError(f"{split.dataset!r}, split {split.split!r}: no usable row of {total} to measure on, {reason}")
    spelled = ", ".join(f"{role}={name}" for role, name in split.columns.items())
    report.say(f"measuring {task.name} on {split.dataset}, {split.split}: {len(usable)} rows, columns {spelled}")
    if len(usable) < total:
        report.warn(f"{total - len(usable)} of {total} rows have {task.columns.unusable_reason} and are left out")
    return split.rows.select(usable)


def requested_metrics(task: Task, settings: TaskSettings, request: EvalRequest) -> MetricRequest:
    """Return the metrics, slices and gates that were asked for, checked by name.

    Raises:
        OptionError: an unknown metric, or a gate on the wrong side of it.
    """
    evaluation, gates = request.evaluation, request.gates
    known = task.metric_names(settings.labels)
    named = [metrics.canonical(name) for name in evaluation.metric or ()]
    listed = [name for name in named if name in metrics.METRICS]
    for name in listed:
        metrics.require_known(name, known, "--metric")
    hub = tuple(open_hub_metric(name, request.model.trust_remote_code) for name in named if name not in listed)
    gated = gated_metrics(gates, (*known, *((SWAP_FLIPS,) if evaluation.swap else ())), free=bool(hub))
    names = dict.fromkeys([*(listed if named else task.metrics_for(settings)), *gated])
    return MetricRequest(
        metrics=tuple(name for name in names if name in known),
        hub=hub,
        tokenize=requested_tokenizer(evaluation.tokenize, names, known),
        slices=tuple(evaluation.slice or ()),
        gates=gates,
        resamples=evaluation.resamples,
        seed=settings.seed,
    )


def gated_metrics(gates: GateOptions, known: tuple[str, ...], free: bool = False) -> list[str]:
    """Return the metrics that gates name; `free`: others may turn up, those of the Hub name their figures themselves.

    Raises:
        OptionError: one is unknown, or a gate demands the worse of it.
    """
    names = []
    for given, flag in gates.named:
        name = metrics.canonical(given)
        if not free:
            metrics.require_known(name, known, flag)
        lower = name in metrics.LOWER_IS_BETTER or name == SWAP_FLIPS
        if flag == "--fail-under" and lower:
            raise OptionError(f"--fail-under {name}: lower is better for {name}; --fail-above is its gate")
        if flag == "--fail-above" and not lower and name in metrics.METRICS:
            raise OptionError(f"--fail-above {name}: higher is better for {name}; --fail-under is its gate")
        names.append(name)
    return names


def check_slices(rows: Dataset, request: MetricRequest) -> None:
    """Refuse slices by a column that is not there or makes none, and gaps without slices.

    Raises:
        DataError, OptionError: naming the column, or the flag.
    """
    if request.gates.max_gap and not request.slices:
        raise OptionError("--max-gap needs a --slice COLUMN to find gaps in")
    for column in request.slices:
        if column not in rows.column_names:
            near = did_you_mean(column, rows.column_names)
            raise DataError(f"--slice: there is no column {column!r}{near}; there are {listing(rows.column_names)}")
        slices_of(rows[column], column)


def _settings(
    task: Task, model: EvaluatedModel, split: SplitRows, request: EvalRequest, report: Report
) -> TaskSettings:
    evaluation = request.evaluation
    reference = _reference(model, report) if task.needs_reference_outputs else None
    matching = task.columns.match_labels(split.rows, split.columns, model.resolved.config, evaluation.labels_mapped)
    if matching is not None and matching.how:
        report.say(matching.how)
    draft = TaskSettings(
        columns=split.columns,
        max_length=model.run_record.get("max_length") or 0,
        benchmark=split.source.benchmark,
        labels=matching.labels if matching else None,
        merge=matching.merge if matching else None,
        positive=evaluation.positive,
        stride=evaluation.stride,
        per_row=evaluation.per_row,
        seed=seed_of(evaluation, model.run_record),
        split_special_tokens=runs.split_special_tokens_of(model.run_record),
        reference=reference,
    )
    return tasks.settings_for(task, model.resolved, model.tokenizer, request.data, draft)


def _reference(model: EvaluatedModel, report: Report) -> Reference | None:
    """Return the model that the run was trained from, where it was trained against it and it can still be had."""
    recorded = model.run_record.get("reference")
    if not recorded:
        return None
    reference = Reference(recorded["name"], recorded["revision"], recorded["sketch"], recorded["beta"])
    lost = "there are no rewards without the reference of this run"
    try:
        resolved = models.resolve_model(references.options_of(reference, offline=model.options.offline), report)
    except (ModelError, HubError) as error:
        report.warn(f"{lost}: {error}")
        return None
    if reference.weight_fingerprint not in (None, weight_fingerprint(models.weights_folder(resolved))):
        report.warn(f"{lost}: {reference.name!r} holds other weights now")
        return None
    return reference


def seed_of(evaluation: EvalOptions, run_record: RunRecord | Mapping[str, object] = MappingProxyType({})) -> int:
    """Return the seed of masks and resamples: the one given, else the model's own run's, so that figures come again."""
    if evaluation.seed is not None:
        return evaluation.seed
    options = run_record.get("options")
    return int(options.get("seed", 42)) if isinstance(options, dict) else 42


def _cut_of(run_record: RunRecord, source: Source) -> Cut | None:
    """Return how the model's own run cut its validation rows, when it was trained on this very dataset."""
    data = run_record.get("data")
    for component in (data, *(data.get("mix") or ())) if data else ():
        cut = component.get("cut")
        if cut and _same(component.get("reference"), source):
            return Cut(**cut)
    return None


def _same(reference: str | None, source: Source) -> bool:
    if not reference or reference == source.reference or Path(source.reference).exists():
        return reference == source.reference
    return hub_name(reference) == hub_name(source.reference)
