"""llmkit generate PROMPT..."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmkit.cli.shared.answers import answer_file, answer_texts
from llmkit.cli.shared.sources import say_sources, show_passages
from llmkit.cli.shared.stdin import read_stdin
from llmkit.errors import DataError, OptionError, listing
from llmkit.options import AskOptions, GenerationOptions, ModelOptions, RetrievalOptions, RowOptions, TalkOptions
from llmkit.options.flags import flag, option_groups, with_examples
from llmkit.output.report import Report, quiet_libraries

if TYPE_CHECKING:
    from llmkit.inference.generation import Generator, Prompt
    from llmkit.models import ResolvedModel
    from llmkit.tasks import Task


@with_examples(
    'llmkit generate "Once upon a time"',
    'llmkit generate "Once upon a time" --temperature 0.8 --top-p 0.95 -n 3',
    'llmkit generate -m HuggingFaceTB/SmolLM2-135M-Instruct "What is a fox?" --system "Answer briefly."',
    'llmkit generate -m google-t5/t5-small --task translation --source en --target de "A dog runs."',
    'llmkit generate "The [MASK] was sad." -m runs/bert --top 3',
    'llmkit generate -m HuggingFaceTB/SmolLM2-135M-Instruct --retrieve docs/ "How are gates set?"',
    "llmkit generate --input prompts.jsonl --output answers.jsonl --batch-size 32",
    'echo "The king said" | llmkit generate --stop "." --json',
)
@option_groups
def generate(
    prompts: Annotated[list[str] | None, typer.Argument(help="Prompts; without any, standard input is one.")] = None,
    *,
    context: Annotated[
        str | None,
        flag(panel="Prompt", help="Question answering: the text that holds the answer, a file, or - (stdin)."),
    ] = None,
    model: ModelOptions,
    asked: AskOptions,
    decoding: GenerationOptions,
    retrieval: RetrievalOptions,
    rows: RowOptions,
    talk: TalkOptions,
) -> None:
    """Continue a prompt, answer it with a chat model, translate, summarize, find an answer in a text, fill a mask.

    Greedy, unless a sampling flag is given. Without -m the small built-in model answers, offline, as a demonstration.
    """
    if decoding.echo and (rows.input or talk.json):
        raise OptionError("--echo is for text: rows and --json hold the prompt anyway")
    _check(prompts, context, rows)
    texts = prompts or ([] if rows.input else [_stdin(rows.encoding)])
    quiet_libraries(talk, model.offline)
    from llmkit.inference.prediction import find
    from llmkit.models import BUILTIN_NAME

    report = Report(talk)
    roles = () if context is None else ("context",)
    task, resolved = find("generate", model, asked, report, BUILTIN_NAME, roles)
    if model.model is None:
        report.say(
            "model: the built-in one, a small demonstration; -m names another, such as HuggingFaceTB/SmolLM2-135M"
        )
    if retrieval.retrieve is not None and (task.columns.input_roles or not task.answers.continues_prompt):
        raise OptionError(f"--retrieve puts passages in a prompt, and {task.name} takes none")
    if not task.answers.continues_prompt:
        _predict(task, resolved, texts, context, model, asked, decoding, rows, talk, report)
        return
    _continue(task, resolved, texts, model, asked, decoding, retrieval, rows, talk, report)


def _continue(
    task: Task,
    resolved: ResolvedModel,
    texts: list[str],
    model: ModelOptions,
    asked: AskOptions,
    decoding: GenerationOptions,
    retrieval: RetrievalOptions,
    rows: RowOptions,
    talk: TalkOptions,
    report: Report,
) -> None:
    """Answer with a task that continues a prompt, which can hold passages."""
    own = (task, resolved, model, asked, decoding, report)
    if retrieval.retrieve is None:
        from llmkit.inference.generation import Generator

        _answer(Generator(*own), texts, rows, talk, report)
        return
    from llmkit.inference.grounded_generation import GroundedGenerator

    grounded = GroundedGenerator(*own, retrieval, rows.encoding)
    if talk.dry_run and not rows.input:
        show_passages(grounded, texts, report)
    else:
        _answer(grounded, texts, rows, talk, report)


def _answer(generator: Generator, texts: list[str], rows: RowOptions, talk: TalkOptions, report: Report) -> None:
    if rows.input:
        _file(generator, rows, talk, report)
    else:
        _shell(generator, texts, rows, talk, report)


def _check(prompts: list[str] | None, context: str | None, rows: RowOptions) -> None:
    problems = []
    if prompts and rows.input:
        problems.append("give prompts or --input, not both")
    if context is not None and rows.input:
        problems.append("--context is for the command line; a file's contexts are named by --column context=NAME")
    if context == "-" and not prompts:
        problems.append("--context - takes standard input, so the question must be an argument")
    if problems:
        raise OptionError(*problems)


def _predict(
    task: Task,
    resolved: ResolvedModel,
    texts: list[str],
    context: str | None,
    model: ModelOptions,
    asked: AskOptions,
    decoding: GenerationOptions,
    rows: RowOptions,
    talk: TalkOptions,
    report: Report,
) -> None:
    """Answer with a task that predicts, and samples nothing."""
    if decoding != GenerationOptions():
        given = [field.name for field in fields(decoding) if getattr(decoding, field.name) != field.default]
        flags = listing("--" + name.replace("_", "-") for name in given)
        raise OptionError(f"{flags}: {task.name} generates no text step by step, so there is nothing to decode")
    from llmkit.inference.prediction import Predictor

    predictor = Predictor(task, resolved, model, asked)
    if rows.input:
        answer_file(predictor, rows, talk, report)
        return
    more = {"context": _text_of(context, rows.encoding)} if context is not None else {}
    answer_texts(predictor, texts, [more] * len(texts), rows, talk, report)


def _text_of(context: str, encoding: str) -> str:
    """Return the text that --context names: standard input, the content of a file, or the text itself.

    Raises:
        DataError: it looks like the name of a file that is not there, or the file is in another encoding.
    """
    from llmkit.data.files import decode

    if context == "-":
        return read_stdin(encoding)
    path = Path(context)
    try:
        is_file = path.is_file()
    except OSError:  # longer than a file name can be
        is_file = False
    if is_file:
        return decode(path.read_bytes(), encoding, context)
    if len(context.split()) == 1 and path.suffix[1:].isascii() and path.suffix[1:].isalpha():
        raise DataError(f"--context {context}: there is no such file; a text has several words, - means stdin")
    return context


def _stdin(encoding: str) -> str:
    if sys.stdin is None or sys.stdin.isatty():
        raise OptionError('no prompt: llmkit generate "Once upon a time", or send one by standard input')
    text = read_stdin(encoding)
    return text.removesuffix("\n").removesuffix("\r")


def _shell(generator: Generator, texts: list[str], rows: RowOptions, talk: TalkOptions, report: Report) -> None:
    where = ("the prompt",) if len(texts) == 1 else tuple(f"prompt {number}" for number in range(1, len(texts) + 1))
    prepared = [generator.prompt(text, name) for text, name in zip(texts, where, strict=True)]
    if talk.dry_run:
        report.say(f"dry run: {len(prepared)} prompts of {', '.join(str(len(p.ids)) for p in prepared)} tokens fit")
        return
    if len(prepared) == 1 and generator.streams and sys.stdout.isatty() and not report.json:
        report.stream(texts[0] if generator.decoding.echo else "")
        if prepared[0].ids:
            generator.stream(prepared[0], report.stream)
        report.stream("\n")
        say_sources(prepared[0].sources, report)
        return
    made = zip(prepared, generator.answers(prepared, rows.batch_size), strict=True)
    for number, (prompt, answers) in enumerate(made):
        if report.json:
            report.json_line({generator.role: prompt.text, **_fields(prompt, answers)})
        for place, answer in enumerate([] if report.json else answers):
            report.stream("\n" if number or place else "")
            report.line((prompt.text if generator.decoding.echo else "") + (answer or ""))
        say_sources(prompt.sources, report)


def _fields(prompt: Prompt, answers: list[str | None]) -> dict[str, Any]:
    made = {"completion": answers[0]} if len(answers) == 1 else {"completions": answers}
    return {**made, "sources": prompt.sources} if prompt.sources else made


def _file(generator: Generator, options: RowOptions, talk: TalkOptions, report: Report) -> None:
    from llmkit.data.columns import column_for
    from llmkit.inference.row_files import Row, as_text, identity_of, process, read_rows
    from llmkit.tasks import require_roles

    rows = read_rows(options)
    role = generator.role
    require_roles(options.columns, (role,))
    column = column_for(rows, role, options.columns, generator.task.columns.column_names.get(role, ("prompt", "text")))
    prepared = [generator.prompt(as_text(row.get(column)), f"row {n}") for n, row in enumerate(rows, start=1)]
    if talk.dry_run:
        report.say(f"dry run: {len(rows)} prompts in column {column!r}, all fit")
        return

    def work(part: Any, start: int) -> list[Row]:
        seed = generator.decoding.seed + start  # so that a run that was stopped samples as one that was not
        made = generator.answers(prepared[start : start + len(part)], options.batch_size, seed)
        return [_fields(prompt, answers) for prompt, answers in zip(prepared[start:], made, strict=False)]

    process(rows, work, options, identity_of(options, **generator.identity()), report)
