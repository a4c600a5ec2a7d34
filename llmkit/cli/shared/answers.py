"""Answers to rows, from the shell or from a file: what generate, classify and embed have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from llmkit.cli.shared.sources import say_sources
from llmkit.errors import EmptyError
from llmkit.options import RowOptions, TalkOptions
from llmkit.output.report import Report

if TYPE_CHECKING:
    from llmkit.data.columns import Row
    from llmkit.inference.answering import Answerer, Prepared


def answer_texts(
    answerer: Answerer[Prepared], inputs: Sequence[Row], options: RowOptions, talk: TalkOptions, report: Report
) -> None:
    """Answer texts from the command line: a table on a terminal, a JSON line for each in a pipe or under --json.

    `inputs` are those of each text, by role.
    """
    prepared = answerer.prepare(inputs, prompt_names(len(inputs)))
    if talk.dry_run:
        report.say(f"dry run: {answerer.dry_run(prepared)}")
        return
    answers = answerer.answer(prepared, options.batch_size)
    if report.table_wanted:
        cells = [answerer.cells(row, answer) for row, answer in zip(inputs, answers, strict=True)]
        report.table("", answerer.headings(), cells)
        return
    for row, answer in zip(inputs, answers, strict=True):
        repeated = {role: value for role, value in row.items() if role not in answerer.hidden_roles}
        report.json_line({**repeated, **answer})
        say_sources(answer.get("sources", ()), report)


def answer_file(
    answerer: Answerer[Prepared], options: RowOptions, talk: TalkOptions, report: Report, texts: Sequence[str] = ()
) -> None:
    """Answer the rows of a file, which keep their columns, or texts; into a file, or as JSON lines."""
    from llmkit.inference.row_files import inputs_of, process, read_rows

    rows: Sequence[Row] = [{answerer.role: text} for text in texts]
    columns = {answerer.role: answerer.role}
    if options.input:
        rows = read_rows(options)
        columns = answerer.columns(rows, options.columns)
        if answerer.announces_columns:
            report.say(f"columns: {', '.join(f'{role}={name}' for role, name in columns.items())}")
    names, inputs = [f"row {number}" for number in range(1, len(rows) + 1)], inputs_of(rows, columns)
    if options.input and not any(_asks(row) for row in inputs):
        raise EmptyError(f"{options.input}: nothing to answer, none of {len(rows)} rows has a {answerer.role}")
    prepared = answerer.prepare(inputs, names)
    if talk.dry_run:
        report.say(f"dry run: {answerer.dry_run(prepared, columns)}")
    elif options.output and options.output.suffix in answerer.one_piece_endings:
        answerer.write_in_one_piece(rows, prepared, options, report)
    else:
        process(rows, prepared, answerer, options, report)


def _asks(inputs: Row) -> bool:
    """Tell whether any of the inputs of a row holds more than blanks."""
    return any(value.strip() if isinstance(value, str) else value for value in inputs.values())


def prompt_names(count: int) -> list[str]:
    """Return what errors call the prompts of a command line."""
    return ["the prompt"] if count == 1 else [f"prompt {number}" for number in range(1, count + 1)]
