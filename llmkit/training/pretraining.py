"""Train a language model on raw text, from scratch or from a model that there is."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase, set_seed

from llmkit import models, runs, tasks
from llmkit.data.parts import Part
from llmkit.errors import EmptyError, OptionError, listing
from llmkit.inspection.checks import check
from llmkit.metrics import require_known
from llmkit.models import ResolvedModel, architectures
from llmkit.models.architectures import SIZES, Size
from llmkit.options import (
    ArchitectureOptions,
    CorpusOptions,
    ModelOptions,
    RecipeOptions,
    RunOptions,
    SplitOptions,
    TrainingOptions,
)
from llmkit.output.report import Report
from llmkit.tasks import Task, TaskSettings
from llmkit.tasks.base.language_modeling import text_column
from llmkit.tasks.encoding.collation import IGNORED
from llmkit.training.jobs import Job, Trained, finished, quick, train
from llmkit.training.loop import trainer
from llmkit.training.loop.recipe import Recipe, amended, learning_rate_for, require_one_schedule
from llmkit.training.rows import mixture, streaming
from llmkit.training.rows.corpus import Corpus, read_corpus
from llmkit.training.rows.streaming import Opened

EPOCHS = 4.0  # repeated text is nearly as good as fresh up to four times: Muennighoff et al., 2023
MEASUREMENTS = 5


@dataclass(frozen=True)
class Start:
    """What training starts from: a task, a tokenizer, and a new config or a model that there is."""

    task: Task
    tokenizer: PreTrainedTokenizerBase
    size: Size
    context: int
    config: PretrainedConfig | None = None
    resolved: ResolvedModel | None = None


def pretrain(
    corpus: list[str] | str,
    model: str | ModelOptions | None = None,
    architecture: ArchitectureOptions | None = None,
    data: CorpusOptions | None = None,
    splits: SplitOptions | None = None,
    training_options: TrainingOptions | None = None,
    run: RunOptions | None = None,
    report: Report | None = None,
    dry_run: bool = False,
    recipe: RecipeOptions | None = None,
) -> Trained | None:
    """Train on raw text and return the figures of the saved model on held-out text; None after a dry run.

    Raises:
        OptionError, DataError, ModelError: something asked for is wrong; nothing costly was done, no file written.
        EmptyError: there is too little text.
        Stopped: a signal came and a checkpoint was saved.
    """
    references = [corpus] if isinstance(corpus, str) else list(corpus)
    options = model if isinstance(model, ModelOptions) else ModelOptions(model=model)
    shape, data, splits = architecture or ArchitectureOptions(), data or CorpusOptions(), splits or SplitOptions()
    hyper, run, report = training_options or TrainingOptions(), run or RunOptions(), report or Report()
    overrides, recipe = trainer.checked_overrides(hyper.set), recipe or RecipeOptions()
    require_one_schedule(recipe, overrides)
    streaming.require_steps(splits, hyper)
    trainer.precision(options, models.pick_device(options.device))
    identity: dict[str, Any] = {"corpus": references}
    for group in (options, shape, data, splits, hyper):
        identity |= asdict(group)
    identity |= recipe.given
    job, start = _planned(references, options, shape, data, splits, hyper, run, identity, report)
    if dry_run:
        return None
    if job.folder.finished:
        report.say(f"{job.folder.path} holds this run, finished: nothing to do")
        return finished(job, options, report)
    set_seed(hyper.seed)
    recipe_for = partial(_recipe, start, hyper, recipe, overrides)
    trained = train(job, _model(start, options), recipe_for, identity, run, options, report)
    report.say(f"for comparison, a smoothed unigram model of this tokenizer: loss {unigram_loss(job):.4f}")
    return trained


def _planned(
    references: list[str],
    options: ModelOptions,
    shape: ArchitectureOptions,
    data: CorpusOptions,
    splits: SplitOptions,
    hyper: TrainingOptions,
    run: RunOptions,
    identity: dict[str, Any],
    report: Report,
) -> tuple[Job, Start]:
    """Settle and say all that the training is, up to the model that it starts from."""
    if hyper.metric is not None and options.model is None:
        require_known(hyper.metric, _family(shape, data)[0].metric_names(None), "--metric")
    components, opened = mixture.open_components(references, data, splits, report)
    text = read_corpus(components, data, splits, hyper.seed, report)
    name = Path(options.model).name if options.model else f"{_family(shape, data)[1]}-{shape.size}"
    path = run.output or Path("runs") / f"{text.sources[0].slug}-{name}"
    folder = runs.open_run(path, run, identity, Path(options.model) if options.model else None)
    start = _start(text, options, shape, data, report)
    _check_documents(text, start.task, report)
    job = _job(text, start, shape, hyper, folder, report)
    return (job if opened is None else _streamed(job, opened, data)), start


def _check_documents(corpus: Corpus, task: Task, report: Report) -> None:
    """Warn of documents that come again, or that are held out and learned from too."""
    named = (("training", corpus.rows.train), ("held-out", corpus.rows.validation))
    check(task, {"text": "text"}, [Part(name, rows, named=False, filtered=True) for name, rows in named], False, report)


def _family(shape: ArchitectureOptions, data: CorpusOptions) -> tuple[Task, str]:
    """Return the task and the model family that --arch and --task ask for; each implies the other.

    Raises:
        OptionError: they contradict each other.
    """
    pretrained = [task for task in tasks.TASKS.values() if task.architectures]
    if data.task is not None:
        task = tasks.named(data.task)
        if task not in pretrained:
            raise OptionError(f"--task {task.name} is not pretrained; {listing(t.name for t in pretrained)} are")
        if shape.arch not in (None, *task.architectures):
            raise OptionError(f"--arch {shape.arch} does not learn {task.name}; {listing(task.architectures)} does")
        return task, shape.arch or task.architectures[0]
    arch = shape.arch or "llama"
    return next(task for task in pretrained if arch in task.architectures), arch


def _start(
    corpus: Corpus, options: ModelOptions, shape: ArchitectureOptions, data: CorpusOptions, report: Report
) -> Start:
    """Settle task, tokenizer and config; say what was chosen."""
    if options.model is not None:
        return _go_on(options, shape, data, report)
    task, arch = _family(shape, data)
    size = architectures.preset(arch, shape.size)
    described = architectures.read_model_config(shape.model_config) if shape.model_config else {}
    context = data.max_length or size.context
    tokenizer = _tokenizer(corpus, task, options, shape, size, context, report)
    if shape.model_config is not None:
        config = architectures.config_from(described, shape.model_config, tokenizer)
        if not task.can_pretrain(config):
            kind = f"--model-config {shape.model_config}: a {config.model_type}"
            raise OptionError(f"{kind} does not learn {task.name}; --task names the task that it is for")
        limit = getattr(config, "max_position_embeddings", None) or size.context
        if data.max_length and data.max_length > limit:
            raise OptionError(f"--max-length {data.max_length}: the model of {shape.model_config} takes {limit} tokens")
        context = data.max_length or min(size.context, limit)
    else:
        config = architectures.build_config(arch, size, tokenizer, context)
    report.say(f"task: {task.name}; from scratch: {architectures.describe(config)}, blocks of {context} tokens")
    return Start(task, tokenizer, size, context, config=config)


def _go_on(options: ModelOptions, shape: ArchitectureOptions, data: CorpusOptions, report: Report) -> Start:
    if shape.model_config or shape.tokenizer or shape.vocab_size:
        raise OptionError("-m goes on with a model, which has its own architecture and tokenizer; leave out the others")
    resolved = models.resolve_model(options, report)
    models.require_no_adapter(resolved)
    task = tasks.for_model(resolved.config, "pretrain", resolved.name, data.task)[0]
    tokenizer = models.load_tokenizer(resolved, options)
    context = tasks.max_length_for(resolved, tokenizer, data.max_length, task.encoding.default_max_length)
    report.say(f"task: {task.name}; going on with {resolved.name}, blocks of {context} tokens")
    return Start(task, tokenizer, SIZES["base"], context, resolved=resolved)


def _tokenizer(
    corpus: Corpus,
    task: Task,
    options: ModelOptions,
    shape: ArchitectureOptions,
    size: Size,
    context: int,
    report: Report,
) -> PreTrainedTokenizerBase:
    if shape.tokenizer is not None:
        tokenizer = models.load_tokenizer_alone(shape.tokenizer, options, report)
        report.say(f"tokenizer: {shape.tokenizer}, {len(tokenizer)} tokens")
        return tokenizer
    tokenizer = task.encoding.train_tokenizer(corpus.rows.train["text"], shape.vocab_size or size.vocabulary, context)
    kind = type(tokenizer.backend_tokenizer.model).__name__
    report.say(f"tokenizer: {kind} trained on the corpus, {len(tokenizer)} tokens")
    return tokenizer


def _job(
    corpus: Corpus,
    start: Start,
    shape: ArchitectureOptions,
    hyper: TrainingOptions,
    folder: runs.RunFolder,
    report: Report,
) -> Job:
    settings = TaskSettings(columns={"text": "text"}, max_length=start.context, seed=hyper.seed)
    masks = replace(
        settings, mask_share=shape.mask_share or start.task.mask_share, whole_words=shape.whole_word_masking
    )
    best = hyper.metric or start.task.headline_metric(settings)
    require_known(best, start.task.metric_names(None), "--metric")
    start.task.encoding.collator(start.tokenizer, masks)  # refuses a tokenizer that the task cannot use
    documents = mixture.weighted(Part("training", corpus.rows.train), corpus.rows.component_records, hyper.seed)
    train_rows = start.task.encoding.encode(documents, start.tokenizer, masks, training=True)
    held_out = start.task.encoding.encode(corpus.rows.validation, start.tokenizer, quick(settings), training=False)
    if not len(train_rows) or not len(held_out):
        raise EmptyError(f"too little text for blocks of {start.context} tokens; try --max-length, or add text")
    tokens = sum(train_rows["length"])
    report.say(f"text: {tokens:,} tokens to train on in {len(train_rows)} blocks, {sum(held_out['length']):,} held out")
    resolved = start.resolved or ResolvedModel("scratch", folder.path, start.config or PretrainedConfig())
    reference = listing(source.reference for source in corpus.sources)
    return Job(
        resolved,
        corpus.sources[0],
        reference,
        start.task,
        settings,
        corpus.rows,
        start.tokenizer,
        train_rows,
        held_out,
        folder,
        best,
        "pretrain",
        train_setup=masks,
    )


def _streamed(job: Job, opened: Opened, data: CorpusOptions) -> Job:
    """Return a job that reads its training text as it is needed; what it holds are the first documents."""
    train = opened.source.any()
    columns = text_column(train, data.columns) or {}
    settings = replace(job.train_setup or job.settings, columns=columns)
    rows = replace(job.rows, name=opened.measured)
    return replace(job, rows=rows, stream=streaming.stream_of(opened, job.task, job.tokenizer, settings))


def _model(start: Start, options: ModelOptions) -> PreTrainedModel:
    if start.resolved is not None:
        return models.load_model(start.resolved, start.task.auto_class, start.tokenizer, options, training=True)
    assert start.config is not None  # one of the two is set
    model = architectures.build_model(start.config, start.task.auto_class)
    return model.to(models.pick_device(options.device))


def _recipe(
    start: Start, hyper: TrainingOptions, asked: RecipeOptions, overrides: dict[str, Any], parameters: int
) -> Recipe:
    """From scratch as GPT-3 and Llama do it: a cosine, betas .9 and .95, weight decay 0.1; gentler when going on."""
    known = start.resolved
    rate = learning_rate_for(parameters, known.config) if known is not None else start.size.learning_rate
    usual = Recipe(
        epochs=hyper.epochs or EPOCHS,
        max_steps=hyper.max_steps,
        batch_size=hyper.batch_size or start.size.batch_size,
        learning_rate=hyper.learning_rate or rate,
        seed=hyper.seed,
        measurements=MEASUREMENTS,
        warmup=start.size.warmup,
        schedule="cosine",
        weight_decay=0.1,
        betas=(0.9, 0.95),
        overrides=overrides,
    )
    return amended(usual, asked)


def unigram_loss(job: Job) -> float:
    """Return the nats per token of an add-one-smoothed unigram model on the tokens that the evaluation scores."""
    counts = np.ones(len(job.tokenizer))
    for start in range(0, len(job.train), 1000):
        rows = job.train.select(range(start, min(start + 1000, len(job.train))))
        learned = list(job.task.encoding.target_tokens(rows, job.tokenizer, job.settings))
        counts += np.bincount(np.concatenate(learned), minlength=len(counts))
    targets = scored_tokens(job)
    return float(-np.log(counts / counts.sum())[targets].mean()) if len(targets) else math.nan


def scored_tokens(job: Job) -> np.ndarray:
    """Return the ids of the tokens that the evaluation scores: all but the first, or what was taken out."""
    prepared = job.task.encoding.encode(job.rows.validation, job.tokenizer, job.settings, training=False)
    labels = job.task.encoding.collator(job.tokenizer, job.settings)(prepared.to_list())["labels"].numpy()
    ids = labels.reshape(-1)
    scored: np.ndarray = ids[ids != IGNORED]
    return scored
