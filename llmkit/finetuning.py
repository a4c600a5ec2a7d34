"""Finetune a model on a dataset: from what the user typed to a finished run folder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed

from llmkit import adapters, mixing, models, runs, streaming, tasks, trainable, training
from llmkit.data import Source
from llmkit.errors import EmptyError, OptionError, listing
from llmkit.findings import Part
from llmkit.inspection import check
from llmkit.jobs import Job, Trained, finished, quick, train
from llmkit.metrics import require_known
from llmkit.mixing import Portion
from llmkit.models import Located
from llmkit.options import AdapterOptions, DataOptions, ModelOptions, RunOptions, SplitOptions, TrainingOptions
from llmkit.readings import max_length
from llmkit.report import Report
from llmkit.splits import TrainAndValidation, select
from llmkit.tasks import Reference, Setup, Task, inputs_of
from llmkit.training import Recipe
from llmkit.weight_files import sketch

UNKNOWN_SHARE = 0.05  # of unknown tokens, above which the tokenizer does not fit the language


def finetune(
    dataset: str | Sequence[str],
    model: str | ModelOptions | None = None,
    data: DataOptions | None = None,
    splits: SplitOptions | None = None,
    training_options: TrainingOptions | None = None,
    run: RunOptions | None = None,
    report: Report | None = None,
    dry_run: bool = False,
    adapter: AdapterOptions | None = None,
) -> Trained | None:
    """Train `model` on a dataset, or on a mix of several, and return the figures of the saved best checkpoint.

    After a dry run it returns None.

    Raises:
        OptionError, DataError, ModelError: something asked for is wrong; nothing costly was done, no file written.
        EmptyError: there is no usable row.
        Stopped: a signal came and a checkpoint was saved.
    """
    options = model if isinstance(model, ModelOptions) else ModelOptions(model=model)
    data, splits, run = data or DataOptions(), splits or SplitOptions(), run or RunOptions()
    hyper, adapter, report = training_options or TrainingOptions(), adapter or AdapterOptions(), report or Report()
    overrides = training.checked_overrides(hyper.set)
    streaming.require_steps(splits, hyper)
    tasks.asked_for("finetune", data.task, data)  # a wrong name is known before any download
    device = models.pick_device(options.device)
    training.precision(options, device)
    adapters.require_available(adapter, device)
    datasets = [dataset] if isinstance(dataset, str) else list(dataset)
    identity = {
        "dataset": datasets[0] if len(datasets) == 1 else datasets,
        **asdict(options),
        **asdict(data),
        **asdict(splits),
        **asdict(hyper),
    }
    identity |= adapter.given
    job = plan(datasets, options, data, splits, hyper, run, identity, report)
    outline = _outline(job, options, adapter)
    if dry_run:
        if outline is not None:
            report.say(trainable.share(outline.model).said)
        return None
    if job.folder.finished:
        report.say(f"{job.folder.path} holds this run, finished: nothing to do")
        return finished(job, options, report)
    set_seed(hyper.seed)
    model = _model(job, options, adapter, outline)
    return train(job, model, partial(_recipe, job, hyper, adapter, overrides), identity, run, options, report)


@dataclass(frozen=True)
class Outline:
    """A model without weights of which not all is trained: what can be checked before anything is downloaded."""

    model: PreTrainedModel
    whole: list[str] | None  # the modules that are not loaded in 4 bits; None: none is loaded so


def _outline(job: Job, options: ModelOptions, less: AdapterOptions) -> Outline | None:
    """Return what is known without weights where not all of them are trained, after checking what the flags name.

    Raises:
        OptionError: the model has no such module, fewer layers, or no head of its own.
    """
    if not less.adapts and less.freeze is None:
        return None
    config = models.with_settings(job.located.config, job.task.head_config(job.setup))
    network = job.task.network(config)
    model = trainable.skeleton(config, network, options.trust_remote_code)
    if not less.adapts:
        trainable.freeze(model, less.frozen_layers)
        return Outline(model, None)
    whole = trainable.whole_modules(model) if less.qlora else None
    without_bits = replace(less, lora=True, qlora=False)
    return Outline(adapters.add_adapter(model, without_bits, network, {"name": "", "revision": None}, ()), whole)


def _model(job: Job, options: ModelOptions, less: AdapterOptions, outline: Outline | None) -> PreTrainedModel:
    """Return the model to train: with a head for the task, an adapter, or some of its weights frozen."""
    network, whole = job.task.network(job.located.config), outline.whole if outline else None
    wanted = models.Wanted(network, job.task.head_config(job.setup), training=True, whole=whole)
    model, new = models.open_weights(job.located, wanted, job.tokenizer, options)
    if less.adapts:
        return adapters.add_adapter(model, less, network, {**models.origin(job.located), "whole": whole}, new)
    if less.freeze is not None:
        trainable.freeze(model, less.frozen_layers, new)
    return model


def plan(
    dataset: Sequence[str], options: ModelOptions, data: DataOptions, splits: SplitOptions, hyper: TrainingOptions,
    run: RunOptions, identity: dict[str, Any], report: Report,
) -> Job:  # fmt: skip
    """Check everything that can be checked before the weights are loaded, and say what was chosen."""
    opened = None
    if splits.streaming:
        opened = streaming.open_stream(dataset, splits, data.limit, data.encoding, report)
    portions = [Portion(opened.source, 1.0)] if opened else mixing.open_portions(dataset, data.encoding, report)
    chosen = select(portions[0].source.splits, splits.train_split, data.limit)
    located, task, columns = _model_and_task(options, data, chosen, report)
    if splits.streaming and task.remembers:
        raise OptionError(f"--streaming: {task.name} asks the untrained model about every row first; leave it out")
    path = run.output or Path("runs") / f"{mixing.slug(portions)}-{located.slug}"
    folder = runs.open_run(path, run, identity, located.path)
    portions = mixing.alike(portions, task, columns, data, splits, located.config)
    source = mixing.joined(portions)
    found = mixing.divide(portions, task, columns, data, splits, hyper.seed, report)
    if opened is not None:
        found = replace(found, name=opened.measured, streamed=True)
    parts = _usable(task, found, columns, report)
    rows = replace(found, train=parts[0].rows, validation=parts[1].rows)
    labels = task.labels(rows.train, found.validation, columns)
    own = found.own and splits.validation is None
    check(task, columns, [*parts, *_test(source, splits, rows, columns)], own, report)
    rows = replace(rows, train=mixing.weighted(parts[0], rows.drawn, hyper.seed))
    tokenizer = models.load_tokenizer(located, options)
    setup = Setup(
        columns=columns, max_length=max_length(data, located, tokenizer, task), labels=labels,
        benchmark=source.benchmark, seed=hyper.seed, reference=_reference(located) if task.remembers else None,
    )  # fmt: skip
    setup = task.settle(task.learned(setup, rows.train), data, located.config, tokenizer)
    best = hyper.metric or task.headline(setup)
    require_known(best, task.metric_names(labels), "--metric")
    _say_plan(located, task, setup, rows, report)
    train_rows, validation = _prepared(source.reference, task, rows, tokenizer, setup, report)
    return Job(
        located, source, source.reference, task, setup, rows, tokenizer, train_rows, validation, folder, best,
        "finetune", stream=streaming.stream_of(opened, task, tokenizer, setup) if opened else None,
    )  # fmt: skip


def _reference(located: Located) -> Reference:
    """Return the model that is trained as what it will be compared with."""
    if located.on_hub:
        return Reference(located.name, located.commit)
    return Reference(str(located.path.resolve()), sketch=sketch(models.weights_folder(located)))


def _model_and_task(
    options: ModelOptions, data: DataOptions, train: Dataset, report: Report
) -> tuple[Located, Task, dict[str, str]]:
    if options.model is None:
        able = tasks.for_training(None, data.task, data)
        task, columns = tasks.choose(able, train, data.columns, "finetune", data)
        report.say(f"model: {task.base_model}, the default for {task.name}; -m names another")
        return models.locate(options, report, task.base_model), task, columns
    located = models.locate(options, report)
    models.require_whole(located)
    able = tasks.for_training(located.config, data.task, data)
    task, columns = tasks.choose(able, train, data.columns, "finetune", data, located.config)
    return located, task, columns


def _usable(task: Task, rows: TrainAndValidation, columns: dict[str, str], report: Report) -> list[Part]:
    """Leave out rows without text or label, and say how many."""
    parts = []
    for name, part in (("training", rows.train), ("validation", rows.validation)):
        joined = name == "validation"  # measured as eval measures, which keeps what the task's recipe keeps
        usable = task.measurable(part, Setup(columns, 0)) if joined else task.usable(part, columns)
        if not usable:
            raise EmptyError(f"no usable row among the {len(part)} {name} rows: each lacks its text or its label")
        if len(usable) < len(part):
            report.warn(f"{len(part) - len(usable)} of {len(part)} {name} rows have {task.incomplete}, left out")
        kept = part.select(usable) if len(usable) < len(part) else part
        numbers = [place + 1 for place in usable] if len(usable) < len(part) else None
        parts.append(Part(name, kept, numbers, named=rows.numbered, sifted=True))
    return parts


def _test(source: Source, splits: SplitOptions, rows: TrainAndValidation, columns: dict[str, str]) -> list[Part]:
    """Return the test rows, of which none should be trained on; none where the user trains or measures on them."""
    inputs = set(inputs_of(columns).values())
    taken = any("test" in spec for spec in (splits.train_split, rows.name))
    if taken or "test" not in source.splits or not inputs <= set(source.splits["test"].column_names):
        return []
    return [Part("test", source.splits["test"], sifted=True)]


def _prepared(
    dataset: str, task: Task, rows: TrainAndValidation, tokenizer: PreTrainedTokenizerBase, setup: Setup, report: Report
) -> tuple[Dataset, Dataset]:
    """Return the rows to train on and to measure on as model inputs, and say what is cut off of them."""
    train_rows = task.prepare(rows.train, tokenizer, setup, training=True)
    validation = task.prepare(rows.validation, tokenizer, quick(setup), training=False)
    if not len(train_rows) or not len(validation):
        raise EmptyError(f"{dataset!r} holds too little text for rows of {setup.max_length} tokens; try --max-length")
    _say_lengths(train_rows, setup, tokenizer, report)
    unread = task.unread(train_rows)
    if unread is not None:
        report.warn(f"training rows: {unread}")
    return train_rows, validation


def _say_plan(located: Located, task: Task, setup: Setup, rows: TrainAndValidation, report: Report) -> None:
    columns = ", ".join(f"{role}={name}" for role, name in setup.columns.items())
    report.say(f"task: {task.name}; columns {columns}; model {located.name}")
    if setup.labels is not None:
        kind = "a number (regression)" if setup.labels.regression else listing(setup.labels.names)
        report.say(f"labels: {kind}")
    report.say(f"rows: {len(rows.train)} to train on, {len(rows.validation)} to measure on ({rows.name})")
    remark = task.remark(rows.train, setup)
    if remark is not None:
        report.say(f"training rows: {remark}")


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


def _recipe(
    job: Job, hyper: TrainingOptions, adapter: AdapterOptions, overrides: dict[str, Any], parameters: int
) -> Recipe:
    task, config = job.task, job.located.config
    epochs = hyper.epochs or task.usual_epochs
    return Recipe(
        epochs=epochs, max_steps=hyper.max_steps, batch_size=hyper.batch_size or task.usual_batch, seed=hyper.seed,
        learning_rate=hyper.learning_rate or training.learning_rate_for(parameters, config, adapter.haste * task.pace),
        measurements=3 if hyper.max_steps else max(1, math.ceil(epochs)), overrides=overrides,
    )  # fmt: skip
