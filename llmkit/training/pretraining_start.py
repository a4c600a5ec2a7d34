"""What a pretraining starts from: a task, a tokenizer, and a new config or a model that there is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from transformers import PretrainedConfig, PreTrainedTokenizerBase

from llmkit import models, tasks
from llmkit.distributed.world import world
from llmkit.errors import OptionError, listing
from llmkit.models import ResolvedModel, architectures
from llmkit.models.architectures import SIZES, Size
from llmkit.options import PretrainRequest
from llmkit.output.report import Report
from llmkit.tasks import Task
from llmkit.training.rows.corpus import Corpus


@dataclass(frozen=True)
class Start:
    """What training starts from: a task, a tokenizer, and a new config or a model that there is."""

    task: Task
    tokenizer: PreTrainedTokenizerBase
    size: Size
    context: int  # tokens of a block
    config: PretrainedConfig | None = None
    resolved: ResolvedModel | None = None


def family(request: PretrainRequest) -> tuple[Task, str]:
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


def start_of(corpus: Corpus, request: PretrainRequest, report: Report) -> Start:
    """Settle task, tokenizer and config; say what was chosen."""
    if request.model.model is not None:
        return _go_on(request, report)
    task, arch = family(request)
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
