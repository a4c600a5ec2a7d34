"""What can be checked before anything costly is done: the model, the rows, the labels, the metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from llmkit import metrics, models, runs, tasks
from llmkit.data import Source, hub_name, open_dataset
from llmkit.data.parts import Part
from llmkit.data.splits import Cut, evaluation_rows
from llmkit.errors import DataError, EmptyError, HubError, ModelError, OptionError, did_you_mean, listing
from llmkit.evaluation.result import Wanted
from llmkit.evaluation.slices import slices_of
from llmkit.inspection.tokenizer_checks import require_spelled
from llmkit.metrics.hub_metric import open_hub_metric
from llmkit.models import ResolvedModel
from llmkit.models import reference as references
from llmkit.models.weight_files import weight_fingerprint
from llmkit.options import DataOptions, EvalOptions, GateOptions, ModelOptions
from llmkit.output.report import Report
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
    wanted: Wanted


def plan(
    dataset: str, options: ModelOptions, data: DataOptions, evaluation: EvalOptions, gates: GateOptions, report: Report
) -> Plan:
    """Check everything that can be checked without the weights, and say what will be measured."""
    resolved = models.resolve_model(options, report)
    able = tasks.for_model(resolved.config, "eval", resolved.name, data.task, data)
    source = open_dataset(dataset, encoding=data.encoding, report=report)
    task, columns = tasks.choose(able, source.any(), data.columns, "eval", data, resolved.config)
    trained = runs.read_run(resolved.path) or {}
    cut = _cut_of(trained, source)
    split, rows = evaluation_rows(
        source, evaluation.split, data.limit, partial(task.columns.has_labels, columns=columns), cut
    )
    tasks.require_sound(task, rows, columns, split)
    tokenizer = models.load_tokenizer(resolved, options)
    reference = _reference(trained, options, report) if task.needs_reference_outputs else None
    settings = _setup(task, resolved, tokenizer, source, rows, columns, data, evaluation, trained, reference, report)
    wanted = want(task, settings, evaluation, gates, options)
    task.check_settings(settings)
    require_spelled(task, Part(split, rows), tokenizer, settings)
    usable = usable_rows(dataset, split, rows, columns, task.columns.evaluation_rows(rows, settings), task, report)
    if wanted.slices and not task.answers.one_row_per_unit(settings):
        raise OptionError("--slice needs figures of single rows: add --per-row")
    check_slices(usable, wanted)
    remark = task.remark(usable, settings)
    if remark is not None:
        report.say(f"{split}: {remark}")
    return Plan(
        dataset,
        resolved,
        options,
        tokenizer,
        source,
        task,
        settings,
        split,
        usable,
        len(rows) - len(usable),
        evaluation.batch_size or task.eval_batch_size,
        wanted,
    )


def usable_rows(
    dataset: str, split: str, rows: Dataset, columns: Mapping[str, str], usable: list[int], task: Task, report: Report
) -> Dataset:
    """Return the rows that can be measured on, and say how many they are.

    Raises:
        EmptyError: there is none.
    """
    if not usable:
        raise EmptyError(f"{dataset!r}, split {split!r}: no usable row of {len(rows)} to measure on")
    spelled = ", ".join(f"{role}={name}" for role, name in columns.items())
    report.say(f"measuring {task.name} on {dataset}, {split}: {len(usable)} rows, columns {spelled}")
    if len(usable) < len(rows):
        report.warn(
            f"{len(rows) - len(usable)} of {len(rows)} rows have {task.columns.unusable_reason} and are left out"
        )
    return rows.select(usable)


def want(
    task: Task, settings: TaskSettings, evaluation: EvalOptions, gates: GateOptions, options: ModelOptions
) -> Wanted:
    """Return the metrics, slices and gates that were asked for, checked by name.

    Raises:
        OptionError: an unknown metric, or a gate on the wrong side of it.
    """
    known = task.metric_names(settings.labels)
    named = [metrics.canonical(name) for name in evaluation.metric or ()]
    own = [name for name in named if name in metrics.METRICS]
    for name in own:
        metrics.require_known(name, known, "--metric")
    hub = tuple(open_hub_metric(name, options.trust_remote_code) for name in named if name not in own)
    gated = gated_metrics(gates, (*known, *((SWAP_FLIPS,) if evaluation.swap else ())), free=bool(hub))
    shown = dict.fromkeys([*(own if named else task.metrics_for(settings)), *gated])
    return Wanted(
        metrics=tuple(name for name in shown if name in known),
        hub=hub,
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


def check_slices(rows: Dataset, wanted: Wanted) -> None:
    """Refuse slices by a column that is not there or makes none, and gaps without slices.

    Raises:
        DataError, OptionError: naming the column, or the flag.
    """
    if wanted.gates.max_gap and not wanted.slices:
        raise OptionError("--max-gap needs a --slice COLUMN to find gaps in")
    for column in wanted.slices:
        if column not in rows.column_names:
            near = did_you_mean(column, rows.column_names)
            raise DataError(f"--slice: there is no column {column!r}{near}; there are {listing(rows.column_names)}")
        slices_of(rows[column], column)


def _setup(
    task: Task,
    resolved: ResolvedModel,
    tokenizer: PreTrainedTokenizerBase,
    source: Source,
    rows: Dataset,
    columns: dict[str, str],
    data: DataOptions,
    evaluation: EvalOptions,
    trained: dict[str, Any],
    reference: Reference | None,
    report: Report,
) -> TaskSettings:
    matching = task.columns.match_labels(rows, columns, resolved.config, evaluation.labels_mapped)
    if matching is not None and matching.how:
        report.say(matching.how)
    draft = TaskSettings(
        columns=columns,
        max_length=trained.get("max_length") or 0,
        benchmark=source.benchmark,
        labels=matching.labels if matching else None,
        merge=matching.merge if matching else None,
        positive=evaluation.positive,
        stride=evaluation.stride,
        per_row=evaluation.per_row,
        seed=seed_of(evaluation, trained),
        reference=reference,
    )
    return tasks.settings_for(task, resolved, tokenizer, data, draft)


def _reference(trained: dict[str, Any], options: ModelOptions, report: Report) -> Reference | None:
    """Return the model that the run was trained from, where it was trained against it and it can still be had."""
    if not trained.get("reference"):
        return None
    reference = Reference.from_record(trained["reference"])
    lost = "there are no rewards without the reference of this run"
    try:
        resolved = models.resolve_model(references.options_of(reference, offline=options.offline), report)
    except (ModelError, HubError) as error:
        report.warn(f"{lost}: {error}")
        return None
    if reference.weight_fingerprint not in (None, weight_fingerprint(models.weights_folder(resolved))):
        report.warn(f"{lost}: {reference.name!r} holds other weights now")
        return None
    return reference


def seed_of(evaluation: EvalOptions, trained: Mapping[str, Any] = MappingProxyType({})) -> int:
    """Return the seed of masks and resamples: the one given, else the model's own run's, so that figures come again."""
    own = (trained.get("options") or {}).get("seed", 42)
    return int(own if evaluation.seed is None else evaluation.seed)


def _cut_of(trained: dict[str, Any], source: Source) -> Cut | None:
    """Return how the model's own run cut its validation rows, when it was trained on this very dataset."""
    recorded = trained.get("data") or {}
    for one in (recorded, *(recorded.get("mix") or ())):
        if one.get("cut") and _same(one.get("reference"), source):
            return Cut(**one["cut"])
    return None


def _same(reference: str | None, source: Source) -> bool:
    if not reference or reference == source.reference or Path(source.reference).exists():
        return reference == source.reference
    return hub_name(reference) == hub_name(source.reference)
