"""Score a file of predictions without a model: any system's output, joined to the dataset's rows."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from datasets import ClassLabel, Dataset, concatenate_datasets

from llmkit import labels as label_names
from llmkit import metrics, runs, tasks
from llmkit.data import Source, fingerprint, open_dataset
from llmkit.errors import DataError, EmptyError, OptionError, did_you_mean, listing
from llmkit.evaluation.assessing import Subject, assess
from llmkit.evaluation.baselines import looks_saved, read_saved
from llmkit.evaluation.plan import check_slices, gated_metrics, usable_rows, want
from llmkit.evaluation.result import Evaluation, Wanted
from llmkit.joining import Joined, join
from llmkit.labels import Labels
from llmkit.observations import Classes, Numbers, Observations, Texts
from llmkit.options import DataOptions, EvalOptions, GateOptions, ModelOptions
from llmkit.predictions import as_classes, as_numbers, as_probabilities, read_predictions, row_ids
from llmkit.report import Report
from llmkit.splits import to_measure
from llmkit.tasks import Setup
from llmkit.tasks.text_classification import positive_class

TEXT_METRICS = ("bleu", "chrf", "ter", "rouge1", "rouge2", "rougeL", "exact_match")
TEXT_TASK = "text-to-text"  # where what is predicted is a text
CLASSES = "text-classification"


@dataclass(frozen=True)
class Ground:
    """The rows that predictions are scored on, and what is known of them."""

    task: str
    headline: str
    split: str
    rows: Dataset
    columns: dict[str, str]
    dropped: int
    setup: Setup
    wanted: Wanted


def evaluate_predictions(
    dataset: str, options: ModelOptions, data: DataOptions, evaluation: EvalOptions, gates: GateOptions, report: Report,
    dry_run: bool, name: str | None,
) -> Evaluation | None:  # fmt: skip
    """Return the figures of the predictions in a file; None after a dry run.

    Raises:
        DataError: rows are missing or extra, or a prediction is no label of the dataset.
        OptionError: flags that need a model, or a baseline that is one.
    """
    started = time.monotonic()
    _refuse_model_flags(options, evaluation, gates)
    saved = read_saved(gates.baseline) if gates.baseline else None
    source = open_dataset(dataset, encoding=data.encoding, report=report)
    texts = any(metrics.canonical(metric) in TEXT_METRICS for metric in evaluation.metric or ())
    build = _text_ground if texts or "reference" in data.columns else _labelled_ground
    ground = build(dataset, source, options, data, evaluation, gates, report)
    check_slices(ground.rows, ground.wanted)
    path = evaluation.predictions
    if path is None:
        raise OptionError("--predictions names the file to score")
    predictions = read_predictions(path, data.encoding)
    if predictions.said:
        report.say(predictions.said)
    inputs = [ground.rows[ground.columns[role]] for role in ("text", "pair") if role in ground.columns]
    ids = row_ids(inputs or [ground.rows[column] for column in ground.rows.column_names])
    joined = join(predictions, ground.rows.to_list(), ids, ground.columns)
    report.say(f"predictions: {len(joined.rows)} rows of {path}, {joined.how}")
    observations = _observe(ground, joined)
    if dry_run:
        return None
    about = {
        "predictions": str(path), "columns": ground.columns, "dropped": ground.dropped,
        "rows_sha256": fingerprint(ground.rows), "dataset_commit": source.commit,
        "versions": runs.environment()["versions"], "seconds": round(time.monotonic() - started, 2),
    }  # fmt: skip
    subject = Subject(
        name=name or dataset, task=ground.task, dataset=dataset, split=ground.split, model=None,
        headline=ground.headline, observations=observations, ids=ids, counts={"rows": len(ids)}, rows=ground.rows,
        about=about,
    )  # fmt: skip
    return assess(subject, _possible(ground.wanted, observations, evaluation, gates), saved)


def _possible(wanted: Wanted, seen: Observations, evaluation: EvalOptions, gates: GateOptions) -> Wanted:
    """Return what is wanted without the usual metrics that these predictions have no scores for; asked ones stay."""
    asked = [*(evaluation.metric or ()), *(name for name, _ in gates.named)]
    possible = {*metrics.names_for(seen), *map(metrics.canonical, asked)}
    return replace(wanted, metrics=tuple(name for name in wanted.metrics if name in possible))


def _refuse_model_flags(options: ModelOptions, evaluation: EvalOptions, gates: GateOptions) -> None:
    given = {
        "--model": options.model, "--label-map": evaluation.label_map, "--stride": evaluation.stride,
        "--per-row": evaluation.per_row, "--check-invariance": evaluation.check_invariance,
        "--num-fewshot": evaluation.num_fewshot, "--batch-size": evaluation.batch_size,
    }  # fmt: skip
    named = [flag for flag, value in given.items() if value]
    if named:
        raise OptionError(f"--predictions scores a file, without a model: {listing(named)} must not stand beside it")
    if gates.baseline and not looks_saved(gates.baseline):
        raise OptionError(f"--baseline {gates.baseline}: beside --predictions it must be a saved result (a .json file)")


def _labelled_ground(
    dataset: str, source: Source, options: ModelOptions, data: DataOptions, evaluation: EvalOptions, gates: GateOptions,
    report: Report,
) -> Ground:  # fmt: skip
    """Return the rows of a dataset with classes or numbers."""
    task, columns = tasks.choose(data.task or CLASSES, source.any(), data.columns, None, "eval")
    if task.name != CLASSES:
        raise OptionError(f"--task {task.name}: a file of predictions can be scored for {CLASSES}, or by a text metric")
    split, rows = to_measure(source, evaluation.split, data.limit, partial(task.has_labels, columns=columns))
    usable = usable_rows(dataset, split, rows, columns, task.usable(rows, columns), task.name, report)
    setup = Setup(
        columns=columns, max_length=0, labels=_labels(source, usable, columns["label"]),
        benchmark=source.benchmark, positive=evaluation.positive, seed=evaluation.seed or 42,
    )  # fmt: skip
    task.check(setup)
    wanted = want(task, setup, evaluation, gates, options)
    return Ground(
        task.name, task.headline(setup), split, usable, columns, len(rows) - len(usable), setup, wanted
    )  # fmt: skip


def _labels(source: Source, rows: Dataset, column: str) -> Labels:
    """Return the labels of the dataset: those of its training rows too, which the measured ones may lack."""
    parts = [part.select_columns([column]) for part in (source.any(), rows)]
    return label_names.found_in(concatenate_datasets(parts), column)


def _text_ground(
    dataset: str, source: Source, options: ModelOptions, data: DataOptions, evaluation: EvalOptions, gates: GateOptions,
    report: Report,
) -> Ground:  # fmt: skip
    """Return the rows of a dataset with reference texts in the column that --column reference=NAME names."""
    tasks.require_roles(data.columns, ("text", "pair", "reference"))
    names = source.any().column_names
    for role, column in data.columns.items():
        if column not in names:
            raise DataError(
                f"there is no column {column!r} for {role}{did_you_mean(column, names)}; there are {listing(names)}"
            )
    if "reference" not in data.columns:
        raise OptionError("name the column of the texts to compare with: --column reference=NAME")
    column = data.columns["reference"]
    split, rows = to_measure(source, evaluation.split, data.limit, lambda part: column in part.column_names)
    known = metrics.names_for(Texts(("",), (("",),)))
    named = [metrics.canonical(metric) for metric in evaluation.metric or ("exact_match", "chrf", "rougeL")]
    for metric in named:
        metrics.require_known(metric, known, "--metric")
    shown = tuple(dict.fromkeys([*named, *gated_metrics(gates, known)]))
    wanted = Wanted(
        metrics=shown, slices=tuple(evaluation.slice or ()), gates=gates, resamples=evaluation.resamples,
        seed=evaluation.seed or 42,
    )  # fmt: skip
    setup = Setup(columns=data.columns, max_length=0, seed=wanted.seed)
    usable = [row for row, text in enumerate(rows[column]) if text not in (None, "", [])]
    if not usable:
        raise EmptyError(f"{dataset!r}, split {split!r}: no row has a reference")
    return Ground(TEXT_TASK, shown[0], split, rows.select(usable), data.columns, len(rows) - len(usable), setup, wanted)


def _observe(ground: Ground, joined: Joined) -> Observations:
    values = [row["prediction"] for row in joined.rows]
    if ground.task == TEXT_TASK:
        references = ground.rows[ground.columns["reference"]]
        several = (tuple(map(str, texts)) if isinstance(texts, list) else (str(texts),) for texts in references)
        return Texts(tuple(map(str, values)), tuple(several))
    column, labels = ground.columns["label"], ground.setup.labels or Labels(())
    if labels.regression:
        truth = np.asarray(ground.rows[column], dtype=np.float64)
        return Numbers(truth, np.asarray(as_numbers(values, joined.places)))
    number = {name: i for i, name in enumerate(labels.names)}
    truth_ids = [number[name] for name in label_names.names_of(ground.rows, column) if name is not None]
    by_id = isinstance(ground.rows.features[column], ClassLabel)
    scores = as_probabilities([row["scores"] for row in joined.rows], labels.names, joined.places, by_id)
    return Classes(
        np.asarray(truth_ids, dtype=np.int64),
        np.asarray(as_classes(values, labels.names, joined.places, by_id), dtype=np.int64), labels.names,
        None if scores is None else np.asarray(scores), positive_class(ground.setup),
    )  # fmt: skip
