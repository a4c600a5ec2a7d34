"""What a finetuning is going to be, from what the user typed: settled and said before any weights are loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

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
from llmkit.inspection.unused import say_unused
from llmkit.metrics import require_known
from llmkit.models import ResolvedModel
from llmkit.models.weight_files import weight_fingerprint
from llmkit.options import FinetuneRequest, SplitOptions
from llmkit.options.training.recipe import AUTO
from llmkit.output.report import Report
from llmkit.runs import RunFolder
from llmkit.tasks import Reference, Task, TaskSettings, input_columns
from llmkit.training import distillation
from llmkit.training.distillation import Teacher
from llmkit.training.estimates.batch_size import with_auto_batch
from llmkit.training.jobs import require_same_data
from llmkit.training.loop.job import Job, Session, between_steps
from llmkit.training.loop.recipe import Recipe, amended, class_weights, finetuning_recipe, with_learning_rate
from llmkit.training.model_spec import ModelSpec, model_spec
from llmkit.training.precision import settled
from llmkit.training.rows import mixture, streaming
from llmkit.training.rows.streaming import StreamedDataset
from llmkit.training.series.trial import TrialRun

UNKNOWN_SHARE = 0.05  # of unknown tokens, above which the tokenizer does not fit the language


@dataclass(frozen=True)
class ChosenRows:
    """What is trained on what, and where it will be."""

    resolved: ResolvedModel
    task: Task
    columns: dict[str, str]
    given_columns: dict[str, str]  # as the dataset calls them
    source: Source
    rows: TrainAndValidation
    folder: RunFolder
    streamed: StreamedDataset | None  # where the rows to train on are streamed: `rows` holds the first of them


def plan(
    request: FinetuneRequest, command_identity: dict[str, object], overrides: dict[str, object], report: Report
) -> TrialRun:
    """Check everything that can be checked before the weights are loaded, and say what was chosen.

    `command_identity` holds the options of a series too, and `overrides` what --set names.

    Raises:
        OptionError, DataError, ModelError: something asked for is wrong.
        EmptyError: there is no usable row.
    """
    teacher = distillation.find_teacher(request.distilling, request.model, request.adapter.adapts, report)
    job = _job(request, command_identity, teacher, report)
    require_same_data(job)
    must_count = request.series.search is not None
    spec = model_spec(job, request.adapter, request.model, must_count)
    weights = class_weights(request.recipe, job.task, job.settings, job.encoded_train, report)
    default = finetuning_recipe(job.task, request.training, job.default_batch_size, overrides)
    recipe = _sized(amended(default, request.recipe, weights), spec, job)
    trial_run = TrialRun(job, spec, recipe, settled(Session(report, request.model), job, recipe))
    return replace(trial_run, recipe=with_auto_batch(trial_run.subject, request.training.batch_size == AUTO))


def _sized(recipe: Recipe, spec: ModelSpec, job: Job) -> Recipe:
    """Return the recipe with the learning rate of the model's size, where its skeleton tells it.

    A quantized model packs several weights into one, and is counted once it is open.
    """
    config = job.resolved.config
    quantized = spec.adapter.qlora or getattr(config, "quantization_config", None) is not None
    if quantized or spec.parameters is None:
        return recipe
    return with_learning_rate(recipe, spec.parameters, config, job.lr_multiplier)


def _job(request: FinetuneRequest, command_identity: dict[str, object], teacher: Teacher | None, report: Report) -> Job:
    chosen = _chosen_rows(request, command_identity, teacher, report)
    task, source = chosen.task, chosen.source
    parts, rows, labels = _checked(chosen, request, report)
    tokenizer = models.load_tokenizer(chosen.resolved, request.model)
    settings = _settings(chosen, request, labels, rows.train, tokenizer)
    parts = numbered(parts, chosen.rows)
    for part in parts:
        require_spelled(task, part, tokenizer, settings, report)
    best_metric = request.training.metric or task.headline_metric(settings)
    require_known(best_metric, task.metric_names(labels), "--metric")
    _say_plan(chosen, settings, rows, report)
    train_tokenizer = distillation.training_tokenizer(teacher, task, settings, rows.train, tokenizer, report)
    chosen = replace(chosen, rows=rows)
    encoded_train, encoded_validation = _encoded(chosen, parts, (train_tokenizer, tokenizer), settings, report)
    stream = streaming.stream_of(chosen.streamed, task, train_tokenizer, settings) if chosen.streamed else None
    return Job(
        command="finetune",
        identity=chosen.folder.options_with(request.identity),
        task=task,
        settings=settings,
        resolved=chosen.resolved,
        lr_multiplier=request.adapter.lr_multiplier * task.lr_multiplier,
        teacher=teacher,
        tokenizer=tokenizer,
        source=source,
        reference=source.reference,
        rows=rows,
        encoded_train=encoded_train,
        encoded_validation=encoded_validation,
        stream=stream,
        best_metric=best_metric,
        folder=chosen.folder,
        run=request.run,
    )


def _settings(
    chosen: ChosenRows,
    request: FinetuneRequest,
    labels: Labels | None,
    train: Dataset,
    tokenizer: PreTrainedTokenizerBase,
) -> TaskSettings:
    draft = TaskSettings(
        columns=chosen.columns,
        max_length=0,
        labels=labels,
        benchmark=chosen.source.benchmark,
        seed=request.training.seed,
        split_special_tokens=runs.split_special_tokens_of(chosen.folder.begun),
        reference=_reference(chosen.resolved) if chosen.task.needs_reference_outputs else None,
    )
    return tasks.settings_for(chosen.task, chosen.resolved, tokenizer, request.data, draft, train)


def _chosen_rows(
    request: FinetuneRequest, command_identity: dict[str, object], teacher: Teacher | None, report: Report
) -> ChosenRows:
    components, streamed = mixture.open_components(request.dataset, request.data, request.splits, report)
    first = select(components[0].source.splits, request.splits.train_split, request.data.limit)
    student = teacher.student if teacher else None
    evidence = tasks.Evidence.of(components[0].source, first)
    resolved, resolution = _model_and_task(request, evidence, student, report)
    task, columns = resolution.task, resolution.columns
    report.say_all(resolution.sentences())
    say_unused(resolution, evidence.rows, report)
    components = mixture.converted(components, resolution.conversions)
    streamed = streamed and streamed.convert(resolution.conversions)
    path = request.run.output or Path("runs") / f"{mixture.slug(components)}-{resolved.slug}"
    distillation.refuse_teachers_folder(teacher, path)
    folder = runs.open_run(path, request.run, command_identity, resolved.path)
    components = mixture.align_columns(components, task, columns, request.data, request.splits, resolved.config)
    rows = mixture.split_components(components, task, columns, request, report)
    if streamed is not None:
        rows = replace(rows, name=streamed.measured, streamed=True)
    return ChosenRows(
        resolved, task, columns, resolution.given_columns, mixture.joined(components), rows, folder, streamed
    )


def _model_and_task(
    request: FinetuneRequest, evidence: tasks.Evidence, student: ResolvedModel | None, report: Report
) -> tuple[ResolvedModel, tasks.Resolution]:
    """Return the model that is named or cut from a teacher, and the task that the rows fit, with its columns."""
    options, data = request.model, request.data
    if options.model is None and student is None:
        able = tasks.for_training(None, data.task, data)
        resolution = tasks.resolve_task(able, evidence, data.columns, "finetune", data)
        task = resolution.task
        report.say(f"model: {task.base_model}, the default for {task.name}; -m names another")
        return models.resolve_model(options, report, task.base_model), resolution
    resolved = student or models.resolve_model(options, report)
    models.require_no_adapter(resolved)
    return resolved, tasks.resolve_for_training(resolved.config, evidence, data)


def _checked(
    chosen: ChosenRows, request: FinetuneRequest, report: Report
) -> tuple[list[Part], TrainAndValidation, Labels | None]:
    """Return usable rows, as often as they will be trained on, and their labels; warn of what is wrong with them."""
    task, columns, given = chosen.task, chosen.columns, chosen.rows
    parts = _usable(task, given, columns, report)
    rows = replace(given, train=parts[0].rows, validation=parts[1].rows)
    own_validation = given.has_own_validation and request.splits.validation is None
    labels = task.columns.labels(rows.train, given.validation, columns)
    test = _test(chosen.source, request.splits, rows, columns)
    check(task, columns, [*parts, *test], own_validation, report)
    train = mixture.weighted(parts[0], rows.component_records, request.training.seed)
    return parts, replace(rows, train=train), labels


def _usable(task: Task, rows: TrainAndValidation, columns: dict[str, str], report: Report) -> list[Part]:
    """Leave out rows without text or label, and say how many."""
    train = task.columns.usable_rows(rows.train, columns)
    parts = [_usable_part(task, Part("training", rows.train, named=rows.numbered), train, report)]
    # measured as eval measures, which keeps what the task's recipe keeps
    validation = task.columns.evaluation_rows(rows.validation, TaskSettings(columns, 0))
    return [*parts, _usable_part(task, Part("validation", rows.validation, named=rows.numbered), validation, report)]


def _usable_part(task: Task, part: Part, usable: list[int], report: Report) -> Part:
    count, name = len(part.rows), part.name
    if not usable:
        raise EmptyError(f"no usable row among the {count} {name} rows: each lacks its text or its label")
    if len(usable) == count:
        return replace(part, filtered=True)
    report.warn(f"{count - len(usable)} of {count} {name} rows have {task.columns.unusable_reason}, left out")
    return replace(part, rows=part.rows.select(usable), numbers=[place + 1 for place in usable], filtered=True)


def _test(source: Source, splits: SplitOptions, rows: TrainAndValidation, columns: dict[str, str]) -> list[Part]:
    """Return the test rows, of which none should be trained on; none where the user trains or measures on them."""
    inputs = set(input_columns(columns).values())
    taken = any("test" in spec for spec in (splits.train_split, rows.name))
    if taken or "test" not in source.splits or not inputs <= set(source.splits["test"].column_names):
        return []
    return [Part("test", source.splits["test"], filtered=True)]


def _reference(resolved: ResolvedModel) -> Reference:
    """Return the model that is trained as what it will be compared with."""
    if resolved.on_hub:
        return Reference(resolved.name, resolved.commit)
    fingerprint = weight_fingerprint(models.weights_folder(resolved))
    return Reference(str(resolved.path.resolve()), weight_fingerprint=fingerprint)


def _encoded(
    chosen: ChosenRows,
    parts: Sequence[Part],
    tokenizers: tuple[PreTrainedTokenizerBase, PreTrainedTokenizerBase],
    settings: TaskSettings,
    report: Report,
) -> tuple[Dataset, Dataset]:
    """Return the rows to train on and to measure on, each by its tokenizer, as model inputs; say what is cut off."""
    encoding, (train_tokenizer, tokenizer) = chosen.task.encoding, tokenizers
    train = encoding.encode(chosen.rows.train, train_tokenizer, settings, training=True)
    validation = encoding.encode(chosen.rows.validation, tokenizer, between_steps(settings), training=False)
    if not len(train) or not len(validation):
        raise EmptyError(
            f"{chosen.source.reference!r} holds too little text for rows of {settings.max_length} tokens; "
            "try --max-length"
        )
    train = drop_rows_without_targets(chosen.task, train, parts[0], settings, report)
    validation = drop_rows_without_targets(chosen.task, validation, parts[1], settings, report)
    _say_lengths(train, settings, tokenizer, report)
    warning = encoding.truncation_warning(train)
    if warning is not None:
        report.warn(f"training rows: {warning}")
    packed = encoding.pack(train, settings)
    if len(packed) < len(train):
        filled = sum(packed["length"]) / (len(packed) * settings.max_length)
        report.say(f"packing: {len(train)} rows in {len(packed)} sequences of {settings.max_length}, {filled:.0%} full")
    return packed, validation


def _say_plan(chosen: ChosenRows, settings: TaskSettings, rows: TrainAndValidation, report: Report) -> None:
    columns = ", ".join(f"{role}={name}" for role, name in chosen.given_columns.items())
    report.say(f"task: {chosen.task.name}; columns {columns}; model {chosen.resolved.name}")
    if settings.labels is not None:
        kind = "a number (regression)" if settings.labels.regression else listing(settings.labels.names)
        report.say(f"labels: {kind}")
    report.say(f"rows: {len(rows.train)} to train on, {len(rows.validation)} to measure on ({rows.name})")
    remark = chosen.task.remark(rows.train, settings)
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
