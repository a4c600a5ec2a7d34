"""llmkit generate PROMPT..."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmkit.commands.helping import with_examples
from llmkit.commands.standard_input import read_stdin
from llmkit.errors import OptionError
from llmkit.flags import option_groups
from llmkit.options import GenerationOptions, ModelOptions, RowOptions, TalkOptions
from llmkit.report import Report, quiet_libraries

if TYPE_CHECKING:
    from llmkit.decoding import Generator


@with_examples(
    'llmkit generate "Once upon a time"',
    'llmkit generate "Once upon a time" --temperature 0.8 --top-p 0.95 -n 3',
    'llmkit generate -m HuggingFaceTB/SmolLM2-135M-Instruct "What is a fox?" --system "Answer briefly."',
    "llmkit generate --input prompts.jsonl --output answers.jsonl --batch-size 32",
    'echo "The king said" | llmkit generate --stop "." --json',
)
@option_groups
def generate(
    prompts: Annotated[list[str] | None, typer.Argument(help="Prompts; without any, standard input is one.")] = None,
    *,
    model: ModelOptions,
    decoding: GenerationOptions,
    rows: RowOptions,
    talk: TalkOptions,
) -> None:
    """Continue a prompt, or answer it with a chat model. Greedy, unless a sampling flag is given.

    Without -m the small built-in model answers: a demonstration that works offline.
    """
    if prompts and rows.input:
        raise OptionError("give prompts or --input, not both")
    if decoding.echo and (rows.input or talk.json):
        raise OptionError("--echo is for text: rows and --json hold the prompt anyway")
    texts = prompts or ([] if rows.input else [_stdin(rows.encoding)])
    quiet_libraries(talk, model.offline)
    from llmkit.decoding import Generator

    report = Report(talk)
    generator = Generator(model, decoding, report)
    if model.model is None:
        report.say(
            "model: the built-in one, a small demonstration; -m names another, such as HuggingFaceTB/SmolLM2-135M"
        )
    if rows.input:
        _file(generator, rows, talk, report)
    else:
        _shell(generator, texts, rows, talk, report)


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
        report.piece(texts[0] if generator.decoding.echo else "")
        generator.stream(prepared[0], report.piece)
        report.piece("\n")
        return
    for number, (text, answers) in enumerate(zip(texts, generator.answers(prepared, rows.batch_size), strict=True)):
        if report.json:
            report.record({"prompt": text, **_fields(answers)})
            continue
        for place, answer in enumerate(answers):
            report.piece("\n" if number or place else "")
            report.line(text + answer if generator.decoding.echo else answer)


def _fields(answers: list[str]) -> dict[str, Any]:
    return {"completion": answers[0]} if len(answers) == 1 else {"completions": answers}


def _file(generator: Generator, options: RowOptions, talk: TalkOptions, report: Report) -> None:
    from llmkit.rowfiles import Row, as_text, column_for, identity_of, process, read_rows
    from llmkit.tasks import require_roles

    rows = read_rows(options)
    require_roles(options.columns, ("prompt",))
    column = column_for(rows, "prompt", options.columns, ("prompt", "text"))
    prepared = [generator.prompt(as_text(row.get(column)), f"row {n}") for n, row in enumerate(rows, start=1)]
    if talk.dry_run:
        report.say(f"dry run: {len(rows)} prompts in column {column!r}, all fit")
        return

    def work(part: Any, start: int) -> list[Row]:
        seed = generator.decoding.seed + start  # so that a run that was stopped samples as one that was not
        made = generator.answers(prepared[start : start + len(part)], options.batch_size, seed)
        return [_fields(answers) for answers in made]

    process(rows, work, options, identity_of(options, **generator.identity()), report)
