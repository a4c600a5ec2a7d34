"""Train a language model on raw text, from scratch or from a model that there is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict, Unpack

from transformers import PretrainedConfig, PreTrainedModel, set_seed

from llmkit import models, runs
from llmkit.data.parts import Part
from llmkit.errors import EmptyError, listing
from llmkit.inspection.checks import check
from llmkit.metrics import require_known
from llmkit.models import ResolvedModel, architectures
from llmkit.options import (
    AdapterOptions,
    ArchitectureOptions,
    CorpusOptions,
    ModelOptions,
    PretrainRequest,
    RecipeOptions,
    RunOptions,
    SplitOptions,
    TrainingOptions,
)
from llmkit.options.training.recipe import AUTO
from llmkit.output.report import Report
from llmkit.runs import RunFolder
from llmkit.tasks import Task, TaskSettings
from llmkit.tasks.base.language_modeling import text_column
from llmkit.training.estimates.batch_size import with_auto_batch, with_room
from llmkit.training.estimates.estimate import say_estimate, warn_if_too_large
from llmkit.training.estimates.strategies import suggested_strategy
from llmkit.training.estimates.tracked import Subject
from llmkit.training.jobs import Trained, finished, require_same_data, train
from llmkit.training.loop import acceleration, strategies
from llmkit.training.loop.arguments import checked_overrides, precision
from llmkit.training.loop.job import Job, OpenModel, Session, between_steps
from llmkit.training.loop.recipe import Recipe, amended, require_one_schedule, require_rows_for_all
from llmkit.training.model_spec import ModelSpec
from llmkit.training.precision import settled
from llmkit.training.pretraining_start import Start, family, start_of
from llmkit.training.rows import mixture, streaming
from llmkit.training.rows.corpus import Corpus, read_corpus
from llmkit.training.rows.streaming import StreamedDataset
from llmkit.training.unigram import unigram_loss

DEFAULT_EPOCHS = 4.0  # repeated text is nearly as good as fresh up to four times: Muennighoff et al., 2023
MEASUREMENTS = 5


class PretrainGroups(TypedDict, total=False):
    """The option groups of `pretrain`, beside those of the model and of the training; None is a group of defaults."""

    architecture: ArchitectureOptions | None
    data: CorpusOptions | None
    splits: SplitOptions | None
    run: RunOptions | None
    recipe: RecipeOptions | None


def pretrain(
    corpus: list[str] | str,
    model: str | ModelOptions | None = None,
    *,
    training_options: TrainingOptions | None = None,
    report: Report | None = None,
    dry_run: bool = False,
    **groups: Unpack[PretrainGroups],
) -> Trained | None:
    """Train on raw text and return the figures of the saved model on held-out text; None after a dry run.

    Raises:
        OptionError, DataError, ModelError: something asked for is wrong; nothing costly was done, no file written.
        EmptyError: there is too little text.
        DivergedError: the loss or a weight is not finite.
        Stopped: a signal came and a checkpoint was saved.
    """
    given: dict[str, Any] = {name: group for name, group in groups.items() if group is not None}
    request = PretrainRequest(
        corpus=[corpus] if isinstance(corpus, str) else list(corpus),
        model=model if isinstance(model, ModelOptions) else ModelOptions(model=model),
        training=training_options or TrainingOptions(),
        **given,
    )
    return run_pretrain(request, report or Report(), dry_run)


def run_pretrain(request: PretrainRequest, report: Report, dry_run: bool = False) -> Trained | None:
    """Do what `pretrain` does, for a request.

    Raises:
        OptionError, DataError, ModelError, EmptyError, DivergedError, Stopped: as `pretrain`.
    """
    overrides = checked_overrides(request.training.set)
    require_one_schedule(request.recipe, overrides)
    streaming.require_steps(request.splits, request.training)
    device = models.pick_device(request.model.device)
    precision(request.model, device)
    strategies.require_possible(request.run.strategy, device)
    acceleration.require_possible(request.run, request.model, device)
    job, start = _plan(request, report)
    subject = _subject(job, start, request, overrides, report)
    job = strategies.with_strategy(job, device, suggested_strategy(subject), report)
    subject = replace(subject, recipe=with_room(subject, request.recipe))
    session = subject.session
    if dry_run:
        say_estimate(subject)
        return None
    if job.folder.finished:
        report.say(f"{job.folder.path} holds this run, finished: nothing to do")
        return finished(job, session)
    warn_if_too_large(subject)
    set_seed(request.training.seed)
    model = OpenModel(_open(start, session.options, job.run.strategy))
    trained = train(job, model, subject.recipe, session)
    report.say(f"for comparison, a smoothed unigram model of this tokenizer: loss {unigram_loss(job):.4f}")
    return trained


def planned(request: PretrainRequest, report: Report) -> Subject:
    """Return what is estimated of a pretraining, after all that its dry run checks.

    Raises:
        OptionError, DataError, ModelError, EmptyError: as `pretrain`.
    """
    overrides = checked_overrides(request.training.set)
    require_one_schedule(request.recipe, overrides)
    streaming.require_steps(request.splits, request.training)
    return _subject(*_plan(request, report), request, overrides, report)


def open_planned(subject: Subject) -> OpenModel:
    """Return the model of a planned pretraining: a new one, or the one that it goes on with."""
    job, options = subject.job, subject.session.options
    if job.resolved.path == job.folder.path:  # nothing is there yet
        return OpenModel(architectures.build_model(job.resolved.config, job.task.auto_class))
    return OpenModel(models.load_model(job.resolved, job.task.auto_class, job.tokenizer, options, training=True))


def _subject(job: Job, start: Start, request: PretrainRequest, overrides: dict[str, object], report: Report) -> Subject:
    """Return what is estimated of a job, with the batch that --batch-size auto comes to."""
    device, recipe = models.pick_device(request.model.device), _recipe(start, request, overrides)
    session = settled(Session(report, request.model), job, recipe)
    subject = Subject(job, ModelSpec(AdapterOptions()), recipe, session, device)
    return replace(subject, recipe=with_auto_batch(subject, request.training.batch_size == AUTO))


def _plan(request: PretrainRequest, report: Report) -> tuple[Job, Start]:
    """Settle and say all that the training is, up to the model that it starts from."""
    model, data, run = request.model.model, request.data, request.run
    if request.training.metric is not None and model is None:
        require_known(request.training.metric, family(request)[0].metric_names(None), "--metric")
    components, streamed = mixture.open_components(request.corpus, data, request.splits, report)
    corpus = read_corpus(components, data, request.splits, request.training.seed, report)
    name = Path(model).name if model else f"{family(request)[1]}-{request.architecture.size}"
    path = run.output or Path("runs") / f"{corpus.sources[0].slug}-{name}"
    folder = runs.open_run(path, run, request.identity, Path(model) if model else None)
    start = start_of(corpus, request, report)
    _check_documents(corpus, start.task, report)
    job = _job(corpus, start, request, folder, report)
    job = job if streamed is None else _streamed(job, streamed, data)
    require_same_data(job)
    return job, start


def _check_documents(corpus: Corpus, task: Task, report: Report) -> None:
    """Warn of documents that come again, or that are held out and learned from too."""
    rows = {"training": corpus.rows.train, "held-out": corpus.rows.validation}
    parts = [Part(name, documents, named=False, filtered=True) for name, documents in rows.items()]
    check(task, {"text": "text"}, parts, False, report)


def _job(corpus: Corpus, start: Start, request: PretrainRequest, folder: RunFolder, report: Report) -> Job:
    task, tokenizer, architecture, seed = start.task, start.tokenizer, request.architecture, request.training.seed
    settings = TaskSettings(columns={"text": "text"}, max_length=start.context, seed=seed)
    train_settings = task.pretraining_settings(settings, architecture.mask_share, architecture.whole_word_masking)
    best_metric = request.training.metric or task.headline_metric(settings)
    require_known(best_metric, task.metric_names(None), "--metric")
    task.encoding.collator(tokenizer, train_settings)  # refuses a tokenizer that the task cannot use
    documents = mixture.weighted(Part("training", corpus.rows.train), corpus.rows.component_records, seed)
    encoded_train = task.encoding.encode(documents, tokenizer, train_settings, training=True)
    held_out = task.encoding.encode(corpus.rows.validation, tokenizer, between_steps(settings), training=False)
    if not len(encoded_train) or not len(held_out):
        raise EmptyError(f"too little text for blocks of {start.context} tokens; try --max-length, or add text")
    tokens, blocks, others = sum(encoded_train["length"]), len(encoded_train), sum(held_out["length"])
    report.say(f"text: {tokens:,} tokens to train on in {blocks} blocks, {others:,} held out")
    return Job(
        command="pretrain",
        identity=request.identity,
        task=task,
        settings=settings,
        train_settings=train_settings,
        resolved=start.resolved or ResolvedModel("scratch", folder.path, start.config or PretrainedConfig()),
        tokenizer=tokenizer,
        source=corpus.sources[0],
        reference=listing(source.reference for source in corpus.sources),
        rows=corpus.rows,
        encoded_train=encoded_train,
        encoded_validation=held_out,
        best_metric=best_metric,
        folder=folder,
        run=request.run,
    )


def _streamed(job: Job, streamed: StreamedDataset, data: CorpusOptions) -> Job:
    """Return a job that reads its training text as it is needed; what it holds are the first documents."""
    columns = text_column(streamed.source.any(), data.columns) or {}
    settings = replace(job.train_settings or job.settings, columns=columns)
    stream = streaming.stream_of(streamed, job.task, job.tokenizer, settings)
    return replace(job, rows=replace(job.rows, name=streamed.measured), stream=stream)


def _open(start: Start, options: ModelOptions, strategy: str) -> PreTrainedModel:
    if start.resolved is not None:
        if strategies.loads_on_cpu(strategy):
            options = replace(options, device="cpu")
        return models.load_model(start.resolved, start.task.auto_class, start.tokenizer, options, training=True)
    assert start.config is not None  # one of the two is set
    model = architectures.build_model(start.config, start.task.auto_class)
    return model if strategies.loads_on_cpu(strategy) else model.to(models.pick_device(options.device))


def _recipe(start: Start, request: PretrainRequest, overrides: dict[str, object]) -> Recipe:
    """From scratch as GPT-3 and Llama do it: a cosine, betas .9 and .95, weight decay 0.1; gentler when going on."""
    options, size = request.training, start.size
    from_scratch = size.learning_rate if start.resolved is None else None  # else that of the model's size
    default = Recipe(
        epochs=options.epochs or DEFAULT_EPOCHS,
        max_steps=options.max_steps,
        batch_size=options.rows or size.batch_size,
        learning_rate=options.learning_rate or from_scratch,
        seed=options.seed,
        measurements=MEASUREMENTS,
        warmup=size.warmup,
        schedule="cosine",
        weight_decay=0.1,
        betas=(0.9, 0.95),
        overrides=overrides,
    )
    recipe = amended(default, request.recipe)
    require_rows_for_all(recipe, request.launch)
    return recipe
