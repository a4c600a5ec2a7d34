"""Score a file of predictions without a model: any system's output, joined to the dataset's rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from datasets import Dataset

from llmkit import metrics, runs, tasks
from llmkit.data import Source, fingerprint, open_dataset
from llmkit.data.predictions import read_predictions, row_ids
from llmkit.data.splits import evaluation_rows
from llmkit.errors import EmptyError, OptionError, listing
from llmkit.evaluation.assessing import assess
from llmkit.evaluation.comparison import looks_saved, read_saved
from llmkit.evaluation.joining import join
from llmkit.evaluation.plan import check_slices, gated_metrics, seed_of, usable_rows, want
from llmkit.evaluation.result import Evaluation, Subject, Wanted
from llmkit.metrics.observations import Observations, Texts
from llmkit.options import DataOptions, EvalOptions, GateOptions, ModelOptions
from llmkit.output.report import Report
from llmkit.tasks import TaskSettings

TEXT_METRICS = ("bleu", "chrf", "ter", "rouge1", "rouge2", "rougeL", "exact_match")
PLACING = ("source", "target")  # what a task's flags say of the columns; the others are told to a model
TEXT_TASK = "text-to-text"  # where what is predicted is a text


@dataclass(frozen=True)
class Ground:
    """The rows that predictions are scored on, and what is known of them."""

    task: str
    headline: str
    split: str
    rows: Dataset
    dropped: int
    settings: TaskSettings
    wanted: Wanted
    observe: Callable[[Dataset, Sequence[dict[str, Any]], TaskSettings], Observations]


def evaluate_predictions(
    path: Path,
    dataset: str,
    options: ModelOptions,
    data: DataOptions,
    evaluation: EvalOptions,
    gates: GateOptions,
    report: Report,
    dry_run: bool,
    name: str | None,
) -> Evaluation | None:
    """Return the figures of the predictions in the file `path`; None after a dry run.

    Raises:
        DataError: rows are missing or extra, or a prediction is no label of the dataset.
        OptionError: flags that need a model, or a baseline that is one.
    """
    started = time.monotonic()
    _refuse_model_flags(options, data, evaluation, gates)
    saved = read_saved(gates.baseline) if gates.baseline else None
    source = open_dataset(dataset, encoding=data.encoding, report=report)
    texts = any(metrics.canonical(metric) in TEXT_METRICS for metric in evaluation.metric or ())
    build = _text_ground if "reference" in data.columns or (texts and not _is_task(source, data)) else _labelled_ground
    ground = build(dataset, source, options, data, evaluation, gates, report)
    check_slices(ground.rows, ground.wanted)
    observations, ids = _observed(ground, path, data.encoding, report)
    if dry_run:
        return None
    about = {
        "predictions": str(path),
        "columns": ground.settings.columns,
        "dropped": ground.dropped,
        "rows_sha256": fingerprint(ground.rows),
        "dataset_commit": source.commit,
        "versions": runs.versions(),
        "seconds": round(time.monotonic() - started, 2),
    }
    subject = Subject(
        name=name or dataset,
        task=ground.task,
        dataset=dataset,
        split=ground.split,
        model=None,
        headline=ground.headline,
        observations=observations,
        ids=ids,
        counts={"rows": len(ids)},
        rows=ground.rows,
        about=about,
    )
    return assess(subject, _possible(ground.wanted, observations, evaluation, gates), saved)


def _is_task(source: Source, data: DataOptions) -> bool:
    """Tell whether the dataset is of a task whose own metrics are those of texts."""
    able = [task for task in tasks.asked_for("eval", data.task, data) if task.answers.scores_prediction_files]
    roles = set(data.columns)
    fitting = (
        task for task in able if roles <= set(task.columns.roles) and task.columns.match(source.any(), data.columns)
    )
    first = next(fitting, None)
    return first is not None and set(TEXT_METRICS) <= set(first.metric_names(None))


def _observed(ground: Ground, path: Path, encoding: str, report: Report) -> tuple[Observations, list[str]]:
    """Return what the file predicts for each row, and the content ids of the rows."""
    predictions = read_predictions(path, encoding)
    if predictions.note:
        report.say(predictions.note)
    ids = row_ids([ground.rows[column] for column in ground.settings.inputs.values() or ground.rows.column_names])
    joined = join(predictions, ground.rows.to_list(), ids, ground.settings.columns)
    report.say(f"predictions: {len(joined.rows)} rows of {path}, {joined.how}")
    placed = [{**row, "place": place} for row, place in zip(joined.rows, joined.places, strict=True)]
    return ground.observe(ground.rows, placed, ground.settings), ids


def _possible(wanted: Wanted, observations: Observations, evaluation: EvalOptions, gates: GateOptions) -> Wanted:
    """Return what is wanted without the usual metrics that these predictions have no scores for; asked ones stay."""
    asked = [*(evaluation.metric or ()), *(name for name, _ in gates.named)]
    possible = {*metrics.names_for(observations), *map(metrics.canonical, asked)}
    return replace(wanted, metrics=tuple(name for name in wanted.metrics if name in possible))


def _refuse_model_flags(options: ModelOptions, data: DataOptions, evaluation: EvalOptions, gates: GateOptions) -> None:
    given = {
        "--model": options.model,
        "--label-map": evaluation.label_map,
        "--stride": evaluation.stride,
        "--per-row": evaluation.per_row,
        "--check-invariance": evaluation.check_invariance,
        "--num-fewshot": evaluation.num_fewshot,
        "--batch-size": evaluation.batch_size,
    }
    named = [flag for flag, value in given.items() if value]
    named += ["--" + name.replace("_", "-") for name in data.given if name not in PLACING]
    if named:
        raise OptionError(f"--predictions scores a file, without a model: {listing(named)} must not stand beside it")
    if gates.baseline and not looks_saved(gates.baseline):
        raise OptionError(f"--baseline {gates.baseline}: beside --predictions it must be a saved result (a .json file)")


def _labelled_ground(
    dataset: str,
    source: Source,
    options: ModelOptions,
    data: DataOptions,
    evaluation: EvalOptions,
    gates: GateOptions,
    report: Report,
) -> Ground:
    """Return the rows of a dataset with classes or numbers."""
    meant = tasks.asked_for("eval", data.task, data)
    able = [task for task in meant if task.answers.scores_prediction_files]
    if not able:
        those = listing(task.name for task in tasks.TASKS.values() if task.answers.scores_prediction_files)
        raise OptionError(
            f"--task {meant[0].name}: a file of predictions can be scored for {those}, or by a text metric"
        )
    task, columns = tasks.choose(able, source.any(), data.columns, "eval", data)
    split, rows = evaluation_rows(
        source, evaluation.split, data.limit, partial(task.columns.has_labels, columns=columns)
    )
    tasks.require_sound(task, rows, columns, split)
    usable = usable_rows(dataset, split, rows, columns, task.columns.usable_rows(rows, columns), task, report)
    settings = TaskSettings(
        columns=columns,
        max_length=0,
        labels=task.columns.prediction_labels([source.any(), usable], columns),
        benchmark=source.benchmark,
        positive=evaluation.positive,
        seed=seed_of(evaluation),
    )
    task.check_settings(settings)
    wanted = want(task, settings, evaluation, gates, options)
    dropped = len(rows) - len(usable)
    return Ground(
        task.name,
        task.headline_metric(settings),
        split,
        usable,
        dropped,
        settings,
        wanted,
        task.answers.arrays_from_predictions,
    )


def _text_ground(
    dataset: str,
    source: Source,
    options: ModelOptions,
    data: DataOptions,
    evaluation: EvalOptions,
    gates: GateOptions,
    report: Report,
) -> Ground:
    """Return the rows of a dataset with reference texts in the column that --column reference=NAME names."""
    tasks.require_roles(data.columns, ("text", "pair", "reference"))
    tasks.require_columns(data.columns, source.any())
    if "reference" not in data.columns:
        raise OptionError("name the column of the texts to compare with: --column reference=NAME")
    column = data.columns["reference"]
    split, rows = evaluation_rows(source, evaluation.split, data.limit, lambda part: column in part.column_names)
    known = metrics.names_for(Texts(("",), (("",),)))
    named = [metrics.canonical(metric) for metric in evaluation.metric or ("exact_match", "chrf", "rougeL")]
    for metric in named:
        metrics.require_known(metric, known, "--metric")
    shown = tuple(dict.fromkeys([*named, *gated_metrics(gates, known)]))
    wanted = Wanted(
        metrics=shown,
        slices=tuple(evaluation.slice or ()),
        gates=gates,
        resamples=evaluation.resamples,
        seed=seed_of(evaluation),
    )
    settings = TaskSettings(columns=data.columns, max_length=0, seed=wanted.seed)
    usable = [row for row, text in enumerate(rows[column]) if text not in (None, "", [])]
    if not usable:
        raise EmptyError(f"{dataset!r}, split {split!r}: no row has a reference")
    dropped = len(rows) - len(usable)
    return Ground(TEXT_TASK, shown[0], split, rows.select(usable), dropped, settings, wanted, _observe_texts)


def _observe_texts(rows: Dataset, predictions: Sequence[dict[str, Any]], settings: TaskSettings) -> Observations:
    references = rows[settings.columns["reference"]]
    several = (tuple(map(str, texts)) if isinstance(texts, list) else (str(texts),) for texts in references)
    return Texts(tuple(str(row["prediction"]) for row in predictions), tuple(several))
