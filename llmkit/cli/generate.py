"""llmkit generate PROMPT..."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from llmkit.cli.launch import run_on_ranks
from llmkit.cli.shared.answers import SERVER, answer_file, answer_texts, prepare_to_ask, require_input
from llmkit.cli.shared.completions import print_completions
from llmkit.cli.shared.sources import show_passages
from llmkit.cli.shared.stdin import flag_text, stdin_prompt
from llmkit.options import GenerateRequest
from llmkit.options.flags import option_groups, with_examples
from llmkit.output.report import Report

if TYPE_CHECKING:
    from llmkit.inference.answering import Answerer

ONE_PROCESS = "prompts on the command line are answered in one; --input FILE is for many"


@with_examples(
    'llmkit generate "Once upon a time"',
    'llmkit generate "Once upon a time" --temperature 0.8 --top-p 0.95 -n 3',
    'llmkit generate -m HuggingFaceTB/SmolLM2-135M-Instruct "What is a fox?" --system "Answer briefly."',
    'llmkit generate -m google-t5/t5-small --task translation --source en --target de "A dog runs."',
    'llmkit generate "The [MASK] was sad." -m runs/bert --top 3',
    'llmkit generate -m HuggingFaceTB/SmolLM2-135M-Instruct --retrieve docs/ "How are gates set?"',
    "llmkit generate --input prompts.jsonl --output answers.jsonl --batch-size 32",
    "llmkit generate --endpoint http://localhost:8000/v1 --input prompts.jsonl --output answers.jsonl",
    'echo "The king said" | llmkit generate --stop "." --json',
)
@option_groups
def generate(call: typer.Context, *, request: GenerateRequest) -> None:
    """Continue a prompt, answer it with a chat model, translate, summarize, find an answer in a text, fill a mask.

    Greedy, unless a sampling flag is given. Without -m the small built-in model answers, offline, as a demonstration.
    """
    request.check()
    require_input(request.rows)
    rows, talk = request.rows, request.talk
    one_process = SERVER if request.endpoint.asks_server else None if rows.input else ONE_PROCESS
    run_on_ranks(call, request.launch, request.model.device, talk, one_process)
    prompts = request.prompts or ([] if rows.input else [stdin_prompt(rows.encoding)])
    prepare_to_ask(request.model, talk, is_here=request.endpoint.endpoint is None)
    from llmkit.inference.answering import resolve_task_and_model
    from llmkit.models import BUILTIN_NAME

    report = Report(talk)
    if request.endpoint.endpoint is not None:
        from llmkit.inference.endpoints.generating import EndpointGenerator

        _answer(EndpointGenerator.open(request, report), prompts, request, report)
        return
    roles = () if request.context is None else ("context",)
    task, resolved = resolve_task_and_model("generate", request.model, request.asked, report, BUILTIN_NAME, roles)
    if request.model.model is None:
        report.say(
            "model: the built-in one, a small demonstration; -m names another, such as HuggingFaceTB/SmolLM2-135M"
        )
    # a model that is not there is known before generation is imported
    from llmkit.inference.opening import open_answerer, require_readable

    require_readable(task, request)
    if request.endpoint.asks_server:
        from llmkit.inference.endpoints.opening import served_generator

        with served_generator(task, resolved, request, report) as generator:
            _answer(generator, prompts, request, report)
        return
    _answer(open_answerer(task, resolved, request, report), prompts, request, report)


def _answer(answerer: Answerer[Any], prompts: list[str], request: GenerateRequest, report: Report) -> None:
    """Answer prompts, or the rows of a file, in the form that is asked for."""
    from llmkit.inference.endpoints.generating import EndpointGenerator
    from llmkit.inference.generation import Generator
    from llmkit.inference.grounded_generation import GroundedGenerator

    rows, talk = request.rows, request.talk
    if rows.input:
        answer_file(answerer, rows, request.launch, talk, report)
    elif talk.dry_run and isinstance(answerer, GroundedGenerator):
        show_passages(answerer, prompts, report)
    elif isinstance(answerer, Generator | EndpointGenerator) and not (talk.dry_run or talk.json):
        print_completions(answerer, prompts, rows.batch_size, report)
    else:
        context = {} if request.context is None else {"context": flag_text(request.context, rows.encoding)}
        answer_texts(answerer, [{answerer.role: text, **context} for text in prompts], rows, talk, report)
