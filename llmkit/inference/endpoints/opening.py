"""What answers rows through vLLM, for each command: opened and checked here, and ended with the command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from llmkit import models
from llmkit.errors import ModelError, OptionError
from llmkit.inference.embedding import DEFAULT_MODEL
from llmkit.inference.endpoints.bodies import TextRequests
from llmkit.inference.endpoints.client import Client
from llmkit.inference.endpoints.engines import (
    ServedEmbedder,
    ServedGenerator,
    ServedPredictor,
    length_flag,
    vllm_server,
)
from llmkit.inference.endpoints.generating import ServerTexts, require_no_model_flags
from llmkit.models import ResolvedModel
from llmkit.options import (
    ClassifyRequest,
    EmbedRequest,
    EndpointOptions,
    GenerateRequest,
    GenerationOptions,
    ModelOptions,
)
from llmkit.output.report import Report
from llmkit.tasks import Task


@contextmanager
def chat_texts(
    model: ModelOptions, options: EndpointOptions, decoding: GenerationOptions, max_tokens: int, report: Report
) -> Iterator[ServerTexts]:
    """Open a chat model that a server runs, that of --endpoint or a vLLM of its own, while the context lasts.

    Raises:
        OptionError, ModelError, HubError: it is not there, or cannot do what is asked for.
    """
    if options.endpoint is not None:
        require_no_model_flags(model)
        yield ServerTexts.find(Client.of(options, report), model.model, decoding, max_tokens, report)
        return
    resolved = models.resolve_model(model, report)
    tokenizer = models.load_tokenizer(resolved, model)
    if not tokenizer.chat_template:
        raise ModelError(f"{resolved.name!r} has no chat template, in which a server is asked; leave --engine out")
    more = length_flag(models.context_length(resolved.config, tokenizer))
    with vllm_server(resolved, model, options, report, *more) as server:
        yield ServerTexts(server.client, TextRequests(server.command.model, True, max_tokens, decoding), report)


@contextmanager
def served_generator(
    task: Task, resolved: ResolvedModel, request: GenerateRequest, report: Report
) -> Iterator[ServedGenerator]:
    """Open a model that vLLM continues prompts with, while the context lasts.

    Raises:
        OptionError, ModelError: vLLM is not there, or cannot do what is asked for.
    """
    if not task.answers.continues_prompt or request.retrieval.retrieve is not None:
        what = "--retrieve" if request.retrieval.retrieve is not None else task.name
        raise OptionError(f"--engine vllm continues prompts, and does no {what} here; leave --engine out")
    generator = ServedGenerator(task, resolved, request, report)
    generator.require_served()
    more = length_flag(generator.context)
    with vllm_server(resolved, request.model, request.endpoint, report, *more) as generator.server:
        yield generator


@contextmanager
def served_predictor(
    task: Task, resolved: ResolvedModel, request: ClassifyRequest, report: Report
) -> Iterator[ServedPredictor]:
    """Open a classifier that vLLM runs, while the context lasts.

    Raises:
        OptionError, ModelError: vLLM is not there, or cannot do what is asked for.
    """
    predictor = ServedPredictor(task, resolved, request.model, request.asked)
    predictor.require_served()
    more = ["--runner", "pooling", *length_flag(models.context_length(resolved.config, predictor.tokenizer))]
    with vllm_server(resolved, request.model, request.engine, report, *more) as predictor.server:
        yield predictor


@contextmanager
def served_embedder(request: EmbedRequest, report: Report) -> Iterator[ServedEmbedder]:
    """Open a model that vLLM embeds with, while the context lasts.

    Raises:
        OptionError, ModelError: vLLM is not there, or cannot do what is asked for.
        HubError: the Hub cannot be reached or refuses access.
    """
    resolved = models.resolve_model(request.model, report, DEFAULT_MODEL)
    embedder = ServedEmbedder(resolved, request.model, request.embedding)
    embedder.require_served()
    report.say(f"pooling: {embedder.pooling.description}")
    more = [*embedder.pooler_flags, *length_flag(models.context_length(resolved.config, embedder.tokenizer))]
    with vllm_server(resolved, request.model, request.engine, report, *more) as embedder.server:
        yield embedder
