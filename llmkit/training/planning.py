"""What a finetuning is going to be, from what the user typed: settled and said before any weights are loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from llmkit import models, runs, tasks
from llmkit.data import Source
from llmkit.data.labels import Labels
from llmkit.data.parts import Part
from llmkit.data.splits import TrainAndValidation, select
from llmkit.errors import EmptyError, listing
from llmkit.inspection.checks import check
from llmkit.inspection.tokenizer_checks import drop_rows_without_targets, numbered, require_spelled
from llmkit.metrics import require_known
from llmkit.models import ResolvedModel
from llmkit.models.weight_files import weight_fingerprint
from llmkit.options import DataOptions, ModelOptions, RunOptions, SplitOptions, TrainingOptions
from llmkit.output.report import Report
from llmkit.runs import RunFolder
from llmkit.tasks import Reference, Task, TaskSettings, input_columns
from llmkit.training import distillation
from llmkit.training.distillation import Teacher
from llmkit.training.jobs import Job, quick
from llmkit.training.rows import mixture, streaming
from llmkit.training.rows.streaming import Opened

UNKNOWN_SHARE = 0.05  # of unknown tokens, above which the tokenizer does not fit the language


@dataclass(frozen=True)
class Choice:
    """What is trained on what, and where it will be."""

    resolved: ResolvedModel
    task: Task
    columns: dict[str, str]
    source: Source
    rows: TrainAndValidation
    folder: RunFolder
    opened: Opened | None  # where the rows to train on are streamed: `rows` holds the first of them


def plan(
    dataset: Sequence[str],
    options: ModelOptions,
    data: DataOptions,
    splits: SplitOptions,
    hyper: TrainingOptions,
    run: RunOptions,
    identity: dict[str, Any],
    report: Report,
    teacher: Teacher | None = None,
) -> Job:
    """Check everything that can be checked before the weights are loaded, and say what was chosen."""
    chosen = _choice(dataset, options, data, splits, hyper, run, identity, report, teacher)
    resolved, task, columns, source = chosen.resolved, chosen.task, chosen.columns, chosen.source
    parts, rows, labels = _checked(chosen, splits, hyper, report)
    tokenizer = models.load_tokenizer(resolved, options)
    draft = TaskSettings(
        columns=columns,
        max_length=0,
        labels=labels,
        benchmark=source.benchmark,
        seed=hyper.seed,
        reference=_reference(resolved) if task.needs_reference_outputs else None,
    )
    settings = tasks.settings_for(task, resolved, tokenizer, data, draft, rows.train)
    told = numbered(parts, chosen.rows)
    for part in told:
        require_spelled(task, part, tokenizer, settings)
    best = hyper.metric or task.headline_metric(settings)
    require_known(best, task.metric_names(labels), "--metric")
    _say_plan(resolved, task, settings, rows, report)
    reader = distillation.reader(teacher, task, settings, rows.train, tokenizer, report)
    train_rows, validation = _prepared(source.reference, task, rows, told, (reader, tokenizer), settings, report)
    stream = streaming.stream_of(chosen.opened, task, reader, settings) if chosen.opened else None
    return Job(
        resolved,
        source,
        source.reference,
        task,
        settings,
        rows,
        tokenizer,
        train_rows,
        validation,
        chosen.folder,
        best,
        "finetune",
        stream=stream,
        teacher=teacher,
    )


def _choice(
    dataset: Sequence[str],
    options: ModelOptions,
    data: DataOptions,
    splits: SplitOptions,
    hyper: TrainingOptions,
    run: RunOptions,
    identity: dict[str, Any],
    report: Report,
    teacher: Teacher | None,
) -> Choice:
    components, opened = mixture.open_components(dataset, data, splits, report)
    first = select(components[0].source.splits, splits.train_split, data.limit)
    resolved, task, columns = _model_and_task(options, data, first, report, teacher.student if teacher else None)
    path = run.output or Path("runs") / f"{mixture.slug(components)}-{resolved.slug}"
    distillation.refuse_teachers_folder(teacher, path)
    folder = runs.open_run(path, run, identity, resolved.path)
    components = mixture.align_columns(components, task, columns, data, splits, resolved.config)
    rows = mixture.split_components(components, task, columns, data, splits, hyper.seed, report)
    if opened is not None:
        rows = replace(rows, name=opened.measured, streamed=True)
    return Choice(resolved, task, columns, mixture.joined(components), rows, folder, opened)


def _checked(
    chosen: Choice, splits: SplitOptions, hyper: TrainingOptions, report: Report
) -> tuple[list[Part], TrainAndValidation, Labels | None]:
    """Return usable rows, as often as they will be trained on, and their labels; warn of what is wrong with them."""
    task, columns, found = chosen.task, chosen.columns, chosen.rows
    parts = _usable(task, found, columns, report)
    rows = replace(found, train=parts[0].rows, validation=parts[1].rows)
    own = found.has_own_validation and splits.validation is None
    labels = task.columns.labels(rows.train, found.validation, columns)
    check(task, columns, [*parts, *_test(chosen.source, splits, rows, columns)], own, report)
    return parts, replace(rows, train=mixture.weighted(parts[0], rows.component_records, hyper.seed)), labels


def _reference(resolved: ResolvedModel) -> Reference:
    """Return the model that is trained as what it will be compared with."""
    if resolved.on_hub:
        return Reference(resolved.name, resolved.commit)
    return Reference(
        str(resolved.path.resolve()), weight_fingerprint=weight_fingerprint(models.weights_folder(resolved))
    )


def _model_and_task(
    options: ModelOptions, data: DataOptions, train: Dataset, report: Report, cut: ResolvedModel | None
) -> tuple[ResolvedModel, Task, dict[str, str]]:
    if options.model is None and cut is None:
        able = tasks.for_training(None, data.task, data)
        task, columns = tasks.choose(able, train, data.columns, "finetune", data)
        report.say(f"model: {task.base_model}, the default for {task.name}; -m names another")
        return models.resolve_model(options, report, task.base_model), task, columns
    resolved = cut or models.resolve_model(options, report)
    models.require_no_adapter(resolved)
    able = tasks.for_training(resolved.config, data.task, data)
    task, columns = tasks.choose(able, train, data.columns, "finetune", data, resolved.config)
    return resolved, task, columns


def _usable(task: Task, rows: TrainAndValidation, columns: dict[str, str], report: Report) -> list[Part]:
    """Leave out rows without text or label, and say how many."""
    parts = []
    for name, part in (("training", rows.train), ("validation", rows.validation)):
        joined = name == "validation"  # measured as eval measures, which keeps what the task's recipe keeps
        usable = (
            task.columns.evaluation_rows(part, TaskSettings(columns, 0))
            if joined
            else task.columns.usable_rows(part, columns)
        )
        if not usable:
            raise EmptyError(f"no usable row among the {len(part)} {name} rows: each lacks its text or its label")
        if len(usable) < len(part):
            report.warn(
                f"{len(part) - len(usable)} of {len(part)} {name} rows have {task.columns.unusable_reason}, left out"
            )
        kept = part.select(usable) if len(usable) < len(part) else part
        numbers = [place + 1 for place in usable] if len(usable) < len(part) else None
        parts.append(Part(name, kept, numbers, named=rows.numbered, filtered=True))
    return parts


def _test(source: Source, splits: SplitOptions, rows: TrainAndValidation, columns: dict[str, str]) -> list[Part]:
    """Return the test rows, of which none should be trained on; none where the user trains or measures on them."""
    inputs = set(input_columns(columns).values())
    taken = any("test" in spec for spec in (splits.train_split, rows.name))
    if taken or "test" not in source.splits or not inputs <= set(source.splits["test"].column_names):
        return []
    return [Part("test", source.splits["test"], filtered=True)]


def _prepared(
    dataset: str,
    task: Task,
    rows: TrainAndValidation,
    parts: Sequence[Part],
    tokenizers: tuple[PreTrainedTokenizerBase, PreTrainedTokenizerBase],
    settings: TaskSettings,
    report: Report,
) -> tuple[Dataset, Dataset]:
    """Return the rows to train on and to measure on, each by its tokenizer, as model inputs; say what is cut off."""
    reader, tokenizer = tokenizers
    train_rows = task.encoding.encode(rows.train, reader, settings, training=True)
    validation = task.encoding.encode(rows.validation, tokenizer, quick(settings), training=False)
    if not len(train_rows) or not len(validation):
        raise EmptyError(
            f"{dataset!r} holds too little text for rows of {settings.max_length} tokens; try --max-length"
        )
    train_rows = drop_rows_without_targets(task, train_rows, parts[0], settings, report)
    validation = drop_rows_without_targets(task, validation, parts[1], settings, report)
    _say_lengths(train_rows, settings, tokenizer, report)
    unread = task.encoding.truncation_warning(train_rows)
    if unread is not None:
        report.warn(f"training rows: {unread}")
    packed = task.encoding.pack(train_rows, settings)
    if len(packed) < len(train_rows):
        full = sum(packed["length"]) / (len(packed) * settings.max_length)
        report.say(
            f"packing: {len(train_rows)} rows in {len(packed)} sequences of {settings.max_length}, {full:.0%} full"
        )
    return packed, validation


def _say_plan(
    resolved: ResolvedModel, task: Task, settings: TaskSettings, rows: TrainAndValidation, report: Report
) -> None:
    columns = ", ".join(f"{role}={name}" for role, name in settings.columns.items())
    report.say(f"task: {task.name}; columns {columns}; model {resolved.name}")
    if settings.labels is not None:
        kind = "a number (regression)" if settings.labels.regression else listing(settings.labels.names)
        report.say(f"labels: {kind}")
    report.say(f"rows: {len(rows.train)} to train on, {len(rows.validation)} to measure on ({rows.name})")
    remark = task.remark(rows.train, settings)
    if remark is not None:
        report.say(f"training rows: {remark}")


def _say_lengths(train: Dataset, settings: TaskSettings, tokenizer: PreTrainedTokenizerBase, report: Report) -> None:
    lengths = train["length"]
    if "truncated" in train.column_names:
        cut = sum(train["truncated"])
        report.say(
            f"lengths: at most {max(lengths)} tokens; {cut} of {len(train)} rows truncated to {settings.max_length}"
        )
    else:
        report.say(f"lengths: {len(lengths)} blocks of up to {max(lengths)} tokens")
    unknown = tokenizer.unk_token_id
    if unknown is not None and tokenizer.unk_token not in {tokenizer.eos_token, tokenizer.pad_token}:
        sample = train.select(range(min(500, len(train))))["input_ids"]
        share = sum(ids.count(unknown) for ids in map(list, sample)) / sum(map(len, sample))
        if share > UNKNOWN_SHARE:
            report.warn(f"{share:.0%} of the tokens are unknown to this tokenizer: does the model know the language?")
