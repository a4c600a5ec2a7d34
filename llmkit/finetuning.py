"""Finetune a model on a dataset: from what the user typed to a finished run folder."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerBase, set_seed

from llmkit import models, runs, tasks, training
from llmkit.cards import write_card
from llmkit.data import Source, fingerprint, open_dataset
from llmkit.errors import EmptyError, OptionError, listing
from llmkit.evaluation import Evaluation, measure
from llmkit.metrics import require_known
from llmkit.models import Located
from llmkit.options import DataOptions, ModelOptions, RunOptions, SplitOptions, TrainingOptions
from llmkit.report import Report
from llmkit.runs import RunFolder
from llmkit.splits import TrainAndValidation, select, train_and_validation
from llmkit.tasks import Setup, Task
from llmkit.training import Recipe

EPOCHS, BATCH_SIZE = 3.0, 16
UNKNOWN_SHARE = 0.05  # of unknown tokens, above which the tokenizer does not fit the language


@dataclass(frozen=True)
class Job:
    """A finetuning that was checked up to its first costly step."""

    located: Located
    source: Source
    task: Task
    setup: Setup
    rows: TrainAndValidation
    tokenizer: PreTrainedTokenizerBase
    train: Dataset
    validation: Dataset
    folder: RunFolder
    best: str


@dataclass(frozen=True)
class Trained:
    """What a training run came to: its folder, and the figures of the saved model."""

    folder: Path
    evaluation: Evaluation
    record: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return the result that --json prints."""
        return {**self.evaluation.as_dict(), "run": str(self.folder), "training": self.record.get("training")}


def finetune(
    dataset: str,
    model: str | ModelOptions | None = None,
    data: DataOptions | None = None,
    splits: SplitOptions | None = None,
    training_options: TrainingOptions | None = None,
    run: RunOptions | None = None,
    report: Report | None = None,
    dry_run: bool = False,
) -> Trained | None:
    """Train `model` on `dataset` and return the figures of the saved best checkpoint; None after a dry run.

    Raises:
        OptionError, DataError, ModelError: something asked for is wrong; nothing costly was done, no file written.
        EmptyError: there is no usable row.
        Stopped: a signal came and a checkpoint was saved.
    """
    options = model if isinstance(model, ModelOptions) else ModelOptions(model=model)
    data, splits, run = data or DataOptions(), splits or SplitOptions(), run or RunOptions()
    hyper, report = training_options or TrainingOptions(), report or Report()
    overrides = training.checked_overrides(hyper.set)
    training.precision(options, models.pick_device(options.device))
    identity = {"dataset": dataset, **asdict(options), **asdict(data), **asdict(splits), **asdict(hyper)}
    job = plan(dataset, options, data, splits, hyper, run, identity, report)
    if dry_run:
        return None
    if job.folder.finished:
        report.say(f"{job.folder.path} holds this run, finished: nothing to do")
        return finished(job, options, report)
    return _train(job, options, hyper, overrides, identity, run, report)


def plan(
    dataset: str, options: ModelOptions, data: DataOptions, splits: SplitOptions, hyper: TrainingOptions,
    run: RunOptions, identity: dict[str, Any], report: Report,
) -> Job:  # fmt: skip
    """Check everything that can be checked before the weights are loaded, and say what was chosen."""
    source = open_dataset(dataset, encoding=data.encoding, report=report)
    train_rows = select(source.splits, splits.train_split, data.limit)
    located, task, columns = _model_and_task(options, data, train_rows, report)
    path = run.output or Path("runs") / f"{source.slug}-{located.slug}"
    folder = runs.open_run(path, run, identity, located.path)
    found = train_and_validation(
        source, splits.train_split, splits.validation, data.limit, hyper.seed, data.encoding,
        task.class_column(train_rows, columns),
    )  # fmt: skip
    rows = _usable(task, found, columns, report)
    labels = task.labels(rows.train, found.validation, columns)
    tokenizer = models.load_tokenizer(located, options)
    setup = Setup(
        columns=columns, max_length=_max_length(data, located, tokenizer, task), labels=labels,
        benchmark=source.benchmark, seed=hyper.seed,
    )  # fmt: skip
    best = hyper.metric or task.headline(setup)
    require_known(best, task.metric_names(labels), "--metric")
    _say_plan(located, task, setup, rows, report)
    train = task.prepare(rows.train, tokenizer, setup, training=True)
    validation = task.prepare(rows.validation, tokenizer, _quick(setup), training=False)
    if not len(train) or not len(validation):
        raise EmptyError(f"{dataset!r} holds too little text for rows of {setup.max_length} tokens; try --max-length")
    _say_lengths(train, setup, tokenizer, report)
    return Job(located, source, task, setup, rows, tokenizer, train, validation, folder, best)


def _model_and_task(
    options: ModelOptions, data: DataOptions, train: Dataset, report: Report
) -> tuple[Located, Task, dict[str, str]]:
    if options.model is None:
        task, columns = tasks.choose(data.task, train, data.columns, None, "finetune")
        report.say(f"model: {task.base_model}, the default for {task.name}; -m names another")
        return models.locate(options, report, task.base_model), task, columns
    located = models.locate(options, report)
    task, columns = tasks.choose(data.task, train, data.columns, located.config, "finetune")
    return located, task, columns


def _usable(task: Task, rows: TrainAndValidation, columns: dict[str, str], report: Report) -> TrainAndValidation:
    """Leave out rows without text or label, and say how many."""
    kept = {}
    for name, part in (("training", rows.train), ("validation", rows.validation)):
        joined = name == "validation"  # measured as eval measures, which keeps what the task's recipe keeps
        usable = task.measurable(part, Setup(columns, 0)) if joined else task.usable(part, columns)
        if not usable:
            raise EmptyError(f"no usable row among the {len(part)} {name} rows: each lacks its text or its label")
        if len(usable) < len(part):
            report.warn(f"{len(part) - len(usable)} of {len(part)} {name} rows have no text or no label, left out")
        kept[name] = part.select(usable) if len(usable) < len(part) else part
    return replace(rows, train=kept["training"], validation=kept["validation"])


def _max_length(data: DataOptions, located: Located, tokenizer: PreTrainedTokenizerBase, task: Task) -> int:
    context = models.context_length(located.config, tokenizer)
    if data.max_length and data.max_length > context:
        raise OptionError(f"--max-length {data.max_length}: {located.name!r} takes at most {context} tokens")
    return data.max_length or min(context, task.usual_length)


def _quick(setup: Setup) -> Setup:
    """Measure between steps with windows that barely overlap; the last figure takes the usual ones."""
    return replace(setup, stride=setup.max_length)


def _say_plan(located: Located, task: Task, setup: Setup, rows: TrainAndValidation, report: Report) -> None:
    columns = ", ".join(f"{role}={name}" for role, name in setup.columns.items())
    report.say(f"task: {task.name}; columns {columns}; model {located.name}")
    if setup.labels is not None:
        kind = "a number (regression)" if setup.labels.regression else listing(setup.labels.names)
        report.say(f"labels: {kind}")
    report.say(f"rows: {len(rows.train)} to train on, {len(rows.validation)} to measure on ({rows.name})")


def _say_lengths(train: Dataset, setup: Setup, tokenizer: PreTrainedTokenizerBase, report: Report) -> None:
    lengths = train["length"]
    if "truncated" in train.column_names:
        cut = sum(train["truncated"])
        report.say(
            f"lengths: at most {max(lengths)} tokens; {cut} of {len(train)} rows truncated to {setup.max_length}"
        )
    else:
        report.say(f"lengths: {len(lengths)} blocks of up to {max(lengths)} tokens")
    unknown = tokenizer.unk_token_id
    if unknown is not None and tokenizer.unk_token not in {tokenizer.eos_token, tokenizer.pad_token}:
        sample = train.select(range(min(500, len(train))))["input_ids"]
        share = sum(ids.count(unknown) for ids in map(list, sample)) / sum(map(len, sample))
        if share > UNKNOWN_SHARE:
            report.warn(f"{share:.0%} of the tokens are unknown to this tokenizer: does the model know the language?")


def _train(
    job: Job, options: ModelOptions, hyper: TrainingOptions, overrides: dict[str, Any], identity: dict[str, Any],
    run: RunOptions, report: Report,
) -> Trained:  # fmt: skip
    set_seed(hyper.seed)
    model = models.load_model(
        job.located,
        job.task.auto_class,
        job.tokenizer,
        options,
        head=job.task.head_config(job.setup.labels),
        training=True,
    )
    recipe = _recipe(hyper, overrides, models.count_parameters(model))
    training.say_recipe(recipe, len(job.train), training.precision(options, model.device), report)
    if run.overwrite:
        job.folder.clear()
    record = {
        "status": "running", "command": "finetune", "task": job.task.name, "options": identity,
        "model": {"name": job.located.name, "commit": job.located.commit},
        "data": describe_data(job.source, job.rows, job.setup), "max_length": job.setup.max_length,
        "recipe": asdict(recipe), **runs.environment(),
    }  # fmt: skip
    job.folder.write(record)
    fit = training.fit(
        job.task, model, job.tokenizer, job.train, job.validation, setups=(job.setup, _quick(job.setup)), recipe=recipe,
        best=job.best, folder=job.folder, options=options, report=report,
    )  # fmt: skip
    models.save(model, job.tokenizer, job.folder.path)
    del model
    return finish(job.folder, job, fit, options, report)


def finish(folder: RunFolder, job: Job, fit: training.Fit, options: ModelOptions, report: Report) -> Trained:
    """Measure the saved model with eval's own code, and write run.json, the curves and the model card."""
    from llmkit.curves import draw_curves

    started = time.monotonic()
    evaluation = _measure_saved(job, options, report)
    draw_curves(folder.path, job.best)
    record = folder.update(
        status="finished", result=evaluation.as_dict(),
        training={
            "steps": fit.steps, "seconds": round(fit.seconds, 1), "best_step": fit.best_step,
            "best_by": job.best, "evaluation_seconds": round(time.monotonic() - started, 1),
            "peak_memory_bytes": models.peak_memory_bytes(),
        },
    )  # fmt: skip
    write_card(folder.path, record)
    return Trained(folder.path, evaluation, record)


def _measure_saved(job: Job, options: ModelOptions, report: Report) -> Evaluation:
    saved = models.resolved(replace(options, dtype="auto", revision=None), str(job.folder.path))
    located = models.locate(saved, report)
    rows = job.rows.validation
    scores = measure(located, job.task, rows, job.setup, saved, job.task.eval_batch, report)
    return Evaluation(
        task=job.task.name, dataset=job.source.reference, split=job.rows.name, model=str(job.folder.path),
        scores=scores, headline=job.task.headline(job.setup),
        about={"columns": job.setup.columns, "rows_sha256": fingerprint(rows), "max_length": job.setup.max_length},
    )  # fmt: skip


def finished(job: Job, options: ModelOptions, report: Report) -> Trained:
    """Return the figures of a run that needs no more training, measured again."""
    return Trained(job.folder.path, _measure_saved(job, options, report), runs.read_run(job.folder.path) or {})


def _recipe(hyper: TrainingOptions, overrides: dict[str, Any], parameters: int) -> Recipe:
    epochs = hyper.epochs or EPOCHS
    return Recipe(
        epochs=epochs, max_steps=hyper.max_steps, batch_size=hyper.batch_size or BATCH_SIZE, seed=hyper.seed,
        learning_rate=hyper.learning_rate or training.learning_rate_for(parameters),
        measurements=3 if hyper.max_steps else max(1, math.ceil(epochs)), overrides=overrides,
    )  # fmt: skip


def describe_data(source: Source, rows: TrainAndValidation, setup: Setup) -> dict[str, Any]:
    """Return what run.json says of the data: enough to find the same rows again."""
    return {
        "reference": source.reference, "commit": source.commit, "columns": setup.columns,
        "labels": list(setup.labels.names) if setup.labels else None, "validation": rows.name,
        "cut": rows.cut.as_dict() if rows.cut else None,
        "train_rows": len(rows.train), "train_sha256": fingerprint(rows.train),
        "validation_rows": len(rows.validation), "validation_sha256": fingerprint(rows.validation),
    }  # fmt: skip
