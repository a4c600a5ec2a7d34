"""Train a language model on raw text, from scratch or from a model that there is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict, Unpack

from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase, set_seed

from llmkit import models, runs, tasks
from llmkit.data.parts import Part
from llmkit.distributed.world import world
from llmkit.errors import EmptyError, OptionError, listing
from llmkit.inspection.checks import check
from llmkit.metrics import require_known
from llmkit.models import ResolvedModel, architectures
from llmkit.models.architectures import SIZES, Size
from llmkit.options import (
    ArchitectureOptions,
    CorpusOptions,
    ModelOptions,
    PretrainRequest,
    RecipeOptions,
    RunOptions,
    SplitOptions,
    TrainingOptions,
)
from llmkit.output.report import Report
from llmkit.runs import RunFolder
from llmkit.tasks import Task, TaskSettings
from llmkit.tasks.base.language_modeling import text_column
from llmkit.training.jobs import Trained, finished, require_same_data, train
from llmkit.training.loop import strategies
from llmkit.training.loop.arguments import checked_overrides, precision
from llmkit.training.loop.job import Job, OpenModel, Session, between_steps
from llmkit.training.loop.recipe import Recipe, amended, require_one_schedule, require_rows_for_all
from llmkit.training.rows import mixture, streaming
from llmkit.training.rows.corpus import Corpus, read_corpus
from llmkit.training.rows.streaming import StreamedDataset
from llmkit.training.unigram import unigram_loss

DEFAULT_EPOCHS = 4.0  # repeated text is nearly as good as fresh up to four times: Muennighoff et al., 2023
MEASUREMENTS = 5


@dataclass(frozen=True)
class Start:
    """What training starts from: a task, a tokenizer, and a new config or a model that there is."""

    task: Task
    tokenizer: PreTrainedTokenizerBase
    size: Size
    context: int  # tokens of a block
    config: PretrainedConfig | None = None
    resolved: ResolvedModel | None = None


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
    job, start = _plan(request, report)
    job = strategies.with_strategy(job, device, None, report)
    if dry_run:
        return None
    session = Session(report, request.model)
    if job.folder.finished:
        report.say(f"{job.folder.path} holds this run, finished: nothing to do")
        return finished(job, session)
    set_seed(request.training.seed)
    model = OpenModel(_open(start, request.model, job.run.strategy))
    trained = train(job, model, _recipe(start, request, overrides), session)
    report.say(f"for comparison, a smoothed unigram model of this tokenizer: loss {unigram_loss(job):.4f}")
    return trained


def _plan(request: PretrainRequest, report: Report) -> tuple[Job, Start]:
    """Settle and say all that the training is, up to the model that it starts from."""
    model, data, run = request.model.model, request.data, request.run
    if request.training.metric is not None and model is None:
        require_known(request.training.metric, _family(request)[0].metric_names(None), "--metric")
    components, streamed = mixture.open_components(request.corpus, data, request.splits, report)
    corpus = read_corpus(components, data, request.splits, request.training.seed, report)
    name = Path(model).name if model else f"{_family(request)[1]}-{request.architecture.size}"
    path = run.output or Path("runs") / f"{corpus.sources[0].slug}-{name}"
    folder = runs.open_run(path, run, request.identity, Path(model) if model else None)
    start = _start(corpus, request, report)
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


def _family(request: PretrainRequest) -> tuple[Task, str]:
    """Return the task and the model family that --arch and --task ask for; each implies the other.

    Raises:
        OptionError: they contradict each other.
    """
    pretrained, arch = [task for task in tasks.TASKS.values() if task.architectures], request.architecture.arch
    if request.data.task is not None:
        task = tasks.get_task(request.data.task)
        if task not in pretrained:
            raise OptionError(f"--task {task.name} is not pretrained; {listing(t.name for t in pretrained)} are")
        if arch not in (None, *task.architectures):
            raise OptionError(f"--arch {arch} does not learn {task.name}; {listing(task.architectures)} does")
        return task, arch or task.architectures[0]
    arch = arch or "llama"
    return next(task for task in pretrained if arch in task.architectures), arch


def _start(corpus: Corpus, request: PretrainRequest, report: Report) -> Start:
    """Settle task, tokenizer and config; say what was chosen."""
    if request.model.model is not None:
        return _go_on(request, report)
    task, arch = _family(request)
    size, file = architectures.preset(arch, request.architecture.size), request.architecture.model_config
    described = architectures.read_model_config(file) if file else {}
    context = request.data.max_length or size.context
    tokenizer = _tokenizer(corpus, task, replace(size, context=context), request, report)
    if file is not None:
        config = architectures.config_from(described, file, tokenizer)
        context = _context_of(config, file, task, size, request.data.max_length)
    else:
        config = architectures.build_config(arch, size, tokenizer, context)
    report.say(f"task: {task.name}; from scratch: {architectures.describe(config)}, blocks of {context} tokens")
    return Start(task, tokenizer, size, context, config=config)


def _context_of(config: PretrainedConfig, file: Path, task: Task, size: Size, asked: int | None) -> int:
    """Return how many tokens a block has, for the model of --model-config.

    Raises:
        OptionError: it takes fewer than are asked for, or is for another task.
    """
    if not task.can_pretrain(config):
        kind = f"--model-config {file}: a {config.model_type}"
        raise OptionError(f"{kind} does not learn {task.name}; --task names the task that it is for")
    limit = getattr(config, "max_position_embeddings", None) or size.context
    if asked and asked > limit:
        raise OptionError(f"--max-length {asked}: the model of {file} takes {limit} tokens")
    return asked or min(size.context, limit)


def _go_on(request: PretrainRequest, report: Report) -> Start:
    architecture, options = request.architecture, request.model
    if architecture.model_config or architecture.tokenizer or architecture.vocab_size:
        raise OptionError("-m goes on with a model, which has its own architecture and tokenizer; leave out the others")
    resolved = models.resolve_model(options, report)
    models.require_no_adapter(resolved)
    task = tasks.for_model(resolved.config, "pretrain", resolved.name, request.data.task)[0]
    tokenizer = models.load_tokenizer(resolved, options)
    default = task.encoding.default_max_length
    context = tasks.max_length_for(resolved, tokenizer, request.data.max_length, default)
    report.say(f"task: {task.name}; going on with {resolved.name}, blocks of {context} tokens")
    return Start(task, tokenizer, SIZES["base"], context, resolved=resolved)


def _tokenizer(
    corpus: Corpus, task: Task, size: Size, request: PretrainRequest, report: Report
) -> PreTrainedTokenizerBase:
    """Return the tokenizer that is named, or one that is trained on the corpus, for the context of that size."""
    architecture = request.architecture
    if architecture.tokenizer is not None:
        tokenizer = models.load_tokenizer_alone(architecture.tokenizer, request.model, report)
        report.say(f"tokenizer: {architecture.tokenizer}, {len(tokenizer)} tokens")
        return tokenizer
    vocabulary = architecture.vocab_size or size.vocabulary
    here = world()  # one process trains it: ties among pairs of equal count would be broken by each in its own way
    trained = (
        task.encoding.train_tokenizer(corpus.rows.train["text"], vocabulary, size.context) if here.is_main else None
    )
    tokenizer = here.from_main(trained)
    kind = type(tokenizer.backend_tokenizer.model).__name__
    report.say(f"tokenizer: {kind} trained on the corpus, {len(tokenizer)} tokens")
    return tokenizer


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
        batch_size=options.batch_size or size.batch_size,
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
