"""Score a file of predictions without a model: any system's output, joined to the dataset's rows."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

from datasets import Dataset

from llmkit import metrics, runs, tasks
from llmkit.data import Source, fingerprint, open_dataset
from llmkit.data.columns import Row, text_of
from llmkit.data.predictions import cell_text, read_predictions, row_ids
from llmkit.data.remote import on_disk
from llmkit.data.splits import evaluation_rows
from llmkit.errors import DataError, EmptyError, OptionError, listing, shortened
from llmkit.evaluation.assessing import assess, possible_metrics
from llmkit.evaluation.comparison import ComparisonSide, looks_saved, read_saved
from llmkit.evaluation.joining import join
from llmkit.evaluation.plan import SplitRows, check_slices, gated_metrics, requested_metrics, seed_of, usable_rows
from llmkit.evaluation.result import Evaluation, MetricRequest, Subject
from llmkit.metrics.observations import Observations, Texts
from llmkit.metrics.texts.tokenizers import requested_tokenizer, tokenized, tokenizer_remarks
from llmkit.options import DataOptions, EvalRequest, FileOptions
from llmkit.options.urls import spelled
from llmkit.output.report import Report
from llmkit.output.result import Provenance
from llmkit.tasks import Task, TaskSettings
from llmkit.tasks.base.answers import predicted_texts

TEXT_METRICS = ("bleu", "chrf", "ter", "rouge1", "rouge2", "rougeL", "exact_match")
DEFAULT_TEXT_METRICS = ("exact_match", "chrf", "rougeL")
# what a task's flags say of the columns; the others are for a model
COLUMN_FLAGS = ("source", "target", "offsets", "answers_from", "label_separator", "regression")
TEXT_TASK = "text-to-text"  # where what is predicted is a text


@dataclass(frozen=True)
class ScoredRows:
    """The rows that predictions are scored on, and what is known of them."""

    split: str
    split_rows: Dataset
    numbers: list[int]  # of the rows that can be measured, from 0
    settings: TaskSettings
    metric_request: MetricRequest
    task: Task | None  # None: texts are compared with those of the column `reference`

    @cached_property
    def rows(self) -> Dataset:
        """The rows that can be measured."""
        return self.split_rows.select(self.numbers)

    @property
    def dropped(self) -> int:
        """How many rows cannot be measured."""
        return len(self.split_rows) - len(self.numbers)

    @property
    def task_name(self) -> str:
        """What the result calls the task."""
        return TEXT_TASK if self.task is None else self.task.name

    @property
    def headline(self) -> str:
        """The metric that stands for the others."""
        return self.metric_request.metrics[0] if self.task is None else self.task.headline_metric(self.settings)

    def observations(self, predictions: Sequence[Row]) -> Observations:
        """Return the arrays that metrics are a function of, from a prediction for each row, in their order."""
        if self.task is None:
            return _text_observations(self.rows[self.settings.columns["reference"]], predictions)
        return self.task.answers.arrays_from_predictions(self.rows, predictions, self.settings)


def evaluate_predictions(
    path: Path, request: EvalRequest, report: Report, dry_run: bool = False, name: str | None = None
) -> Evaluation | None:
    """Return the figures of the predictions in the file `path`; None after a dry run.

    Raises:
        DataError: rows are missing or extra, or a prediction is no label of the dataset.
        OptionError: flags that need a model, or a baseline that is one.
        EmptyError: no row can be scored.
    """
    started = time.monotonic()
    _refuse_model_flags(request)
    data, baseline = request.data, request.gates.baseline
    saved = read_saved(baseline) if baseline else None
    source = open_dataset(request.dataset, data, report=report)
    scored = scored_rows(request, source, report)
    check_slices(scored.rows, scored.metric_request)
    observed, ids = _observed(scored, path, data, report)
    if dry_run:
        return None
    subject = Subject(
        name=name or request.dataset,
        task=scored.task_name,
        dataset=request.dataset,
        split=scored.split,
        model=None,
        headline=scored.headline,
        observations=observed,
        ids=ids,
        counts={"rows": len(ids)},
        rows=scored.rows,
        provenance=_provenance(path, scored, source, time.monotonic() - started),
    )
    return assess_rows(subject, scored, request, saved, report)


def assess_rows(
    subject: Subject, scored: ScoredRows, request: EvalRequest, saved: ComparisonSide | None, report: Report
) -> Evaluation:
    """Return the figures of predictions that were not made here, and what came of the gates.

    Raises:
        DataError: the baseline is of other rows.
        OptionError: a slice or a gate cannot be had of these observations.
    """
    metric_request = possible_metrics(scored.metric_request, subject.observations, request)
    observations = tokenized(subject.observations, metric_request.tokenize)
    report.say_all(tokenizer_remarks(observations, metric_request.metrics, metric_request.tokenize))
    return assess(replace(subject, observations=observations), metric_request, saved)


def _provenance(path: Path, scored: ScoredRows, source: Source, seconds: float) -> Provenance:
    return {
        "predictions": str(path),
        "columns": scored.settings.columns,
        "dropped": scored.dropped,
        "rows_sha256": fingerprint(scored.rows),
        "dataset_commit": source.commit,
        "versions": runs.versions(),
        "seconds": round(seconds, 2),
    }


def scored_rows(request: EvalRequest, source: Source, report: Report) -> ScoredRows:
    data = request.data
    texts = any(metrics.canonical(metric) in TEXT_METRICS for metric in request.evaluation.metric or ())
    if "reference" in data.columns or (texts and not _has_text_task(source, data)):
        return _text_rows(request, source, report)
    return _labelled_rows(request, source, report)


def _has_text_task(source: Source, data: DataOptions) -> bool:
    """Tell whether the dataset is of a task whose own metrics are those of texts."""
    able = [task for task in tasks.requested_tasks("eval", data.task, data) if task.answers.scores_prediction_files]
    roles = set(data.columns)
    fitting = (
        task for task in able if roles <= set(task.columns.roles) and task.columns.match(source.any(), data.columns)
    )
    first = next(fitting, None)
    return first is not None and set(TEXT_METRICS) <= set(first.metric_names(None))


def _observed(scored: ScoredRows, path: Path, options: FileOptions, report: Report) -> tuple[Observations, list[str]]:
    """Return what the file predicts for each row, and the content ids of the rows."""
    every = scored.split_rows
    ids = row_ids([every[column] for column in scored.settings.inputs.values() or every.column_names])
    with on_disk(path) as local:
        predictions = read_predictions(local, options)
        if predictions.note:
            report.say(predictions.note.replace(str(local), spelled(path)))
        joined = join(predictions, every.to_list(), ids, scored.settings.columns, scored.numbers)
    report.say(f"predictions: {len(joined.rows)} rows of {spelled(path)}, {joined.how}")
    numbered = [{**row, "place": number} for row, number in zip(joined.rows, joined.numbers, strict=True)]
    remark = scored.task and scored.task.answers.remark_on_predictions(scored.rows, numbered, scored.settings)
    if remark:
        report.say(remark)
    return scored.observations(numbered), [ids[number] for number in scored.numbers]


def _refuse_model_flags(request: EvalRequest) -> None:
    evaluation, baseline = request.evaluation, request.gates.baseline
    given = {
        "--model": request.model.model,
        "--label-map": evaluation.label_map,
        "--stride": evaluation.stride,
        "--per-row": evaluation.per_row,
        "--check-invariance": evaluation.check_invariance,
        "--num-fewshot": evaluation.num_fewshot,
        "--apply-chat-template": evaluation.apply_chat_template,
        "--system-instruction (--system)": evaluation.system_instruction,
        "--batch-size": evaluation.batch_size,
    }
    named = [flag for flag, value in given.items() if value]
    named += ["--" + name.replace("_", "-") for name in request.data.given if name not in COLUMN_FLAGS]
    if named:
        raise OptionError(f"--predictions scores a file, without a model: {listing(named)} must not stand beside it")
    if baseline and not looks_saved(baseline):
        raise OptionError(f"--baseline {baseline}: beside --predictions it must be a saved result (a .json file)")


def _labelled_rows(request: EvalRequest, source: Source, report: Report) -> ScoredRows:
    """Return the rows of a dataset with classes or numbers."""
    data, evaluation = request.data, request.evaluation
    candidates = tasks.requested_tasks("eval", data.task, data)
    able = [task for task in candidates if task.answers.scores_prediction_files]
    if not able:
        those = listing(task.name for task in tasks.TASKS.values() if task.answers.scores_prediction_files)
        raise OptionError(
            f"--task {candidates[0].name}: a file of predictions can be scored for {those}, or by a text metric"
        )
    resolution = tasks.resolve_task(able, tasks.Evidence.of(source), data.columns, "eval", data)
    task, columns = resolution.task, resolution.columns
    source = source.convert(resolution.conversions)
    report.say_all(resolution.sentences())
    name, rows = evaluation_rows(
        source, evaluation.split, data.limit, partial(task.columns.has_labels, columns=columns)
    )
    tasks.require_valid_rows(task, rows, columns, name)
    split = SplitRows(request.dataset, source, name, rows, columns)
    numbers = task.columns.usable_rows(rows, columns)
    usable = usable_rows(split, numbers, task, report)
    settings = TaskSettings(
        columns=columns,
        max_length=0,
        labels=task.columns.prediction_labels([source.any(), usable], columns),
        benchmark=source.benchmark,
        positive=evaluation.positive,
        seed=seed_of(evaluation),
    )
    task.check_settings(settings)
    metric_request = requested_metrics(task, settings, request)
    return ScoredRows(name, rows, numbers, settings, metric_request, task)


def _text_rows(request: EvalRequest, source: Source, report: Report) -> ScoredRows:
    """Return the rows of a dataset with reference texts in the column that --column reference=NAME names."""
    data, evaluation, gates = request.data, request.evaluation, request.gates
    tasks.require_roles(data.columns, ("text", "pair", "reference"))
    tasks.require_columns(data.columns, source.any())
    if "reference" not in data.columns:
        raise OptionError("name the column of the texts to compare with: --column reference=NAME")
    column = data.columns["reference"]
    split, rows = evaluation_rows(source, evaluation.split, data.limit, lambda part: column in part.column_names)
    known = metrics.names_for(Texts(("",), (("",),)))
    named = [metrics.canonical(metric) for metric in evaluation.metric or DEFAULT_TEXT_METRICS]
    for metric in named:
        metrics.require_known(metric, known, "--metric")
    chosen = tuple(dict.fromkeys([*named, *gated_metrics(gates, known)]))
    metric_request = MetricRequest(
        metrics=chosen,
        tokenize=requested_tokenizer(evaluation.tokenize, chosen),
        slices=tuple(evaluation.slice or ()),
        gates=gates,
        resamples=evaluation.resamples,
        seed=seed_of(evaluation),
    )
    settings = TaskSettings(columns=data.columns, max_length=0, seed=metric_request.seed)
    _refuse_other_references(rows[column], column)
    usable = [number for number, cell in enumerate(rows[column]) if _references(cell)]
    if not usable:
        raise EmptyError(f"{request.dataset!r}, split {split!r}: no row has a reference")
    if len(usable) < len(rows):
        report.warn(f"{len(rows) - len(usable)} of {len(rows)} rows have no reference and are left out")
    return ScoredRows(split, rows, usable, settings, metric_request, None)


def _refuse_other_references(cells: Sequence[object], column: str) -> None:
    for number, cell in enumerate(cells, start=1):
        texts = cell if isinstance(cell, list) else [cell]
        other = next((text for text in texts if isinstance(text, list | Mapping)), None)
        if other is not None:
            raise DataError(f"row {number}: a text or texts are wanted in column {column!r}, not {shortened(other)}")


def _text_observations(references: Sequence[object], predictions: Sequence[Row]) -> Texts:
    return Texts(predicted_texts(predictions), tuple(map(_references, references)))


def _references(cell: object) -> tuple[str, ...]:
    """Return the references that a cell holds, without blank ones."""
    return tuple(cell_text(text) for text in (cell if isinstance(cell, list) else [cell]) if text_of(text).strip())
