"""Answers of a task to rows, from the shell or from a file: what classify and generate have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llmkit.options import RowOptions, TalkOptions
from llmkit.output.report import Report

if TYPE_CHECKING:
    from llmkit.inference.prediction import Predictor


def answer_texts(
    predictor: Predictor,
    texts: Sequence[str],
    more: Sequence[dict[str, Any]],
    options: RowOptions,
    talk: TalkOptions,
    report: Report,
) -> None:
    """Answer texts from the command line: a table on a terminal, a JSON line for each in a pipe or under --json.

    `more` are the inputs of each text beside it, by role.
    """
    predictor.require_inputs(more[0])
    if talk.dry_run:
        report.say(f"dry run: {len(texts)} texts for {predictor.resolved.name}")
        return
    first = predictor.task.columns.input_roles[0]
    inputs = [{first: text, **others} for text, others in zip(texts, more, strict=True)]
    answers = predictor.answer(inputs, options.batch_size)
    if not report.table_wanted:
        for row, answer in zip(inputs, answers, strict=True):
            echoed = {role: value for role, value in row.items() if role not in predictor.task.answers.hidden_roles}
            report.json_line({**echoed, **answer})
        return
    cells = [predictor.task.answers.cells(row, answer) for row, answer in zip(inputs, answers, strict=True)]
    report.table("", predictor.task.answers.headings(), cells)


def answer_file(predictor: Predictor, options: RowOptions, talk: TalkOptions, report: Report) -> None:
    """Answer the rows of a file, which keep their columns; into a file, or as JSON lines."""
    from llmkit.inference.row_files import Row, identity_of, process, read_rows

    rows = read_rows(options)
    columns = predictor.columns(rows, options.columns)
    report.say(f"columns: {', '.join(f'{role}={name}' for role, name in columns.items())}")
    if talk.dry_run:
        report.say(f"dry run: {len(rows)} rows for {predictor.resolved.name}")
        return

    def work(part: Sequence[Row], start: int) -> list[Row]:
        inputs = [{role: _cell(row.get(name)) for role, name in columns.items()} for row in part]
        return predictor.answer(inputs, options.batch_size, start)

    process(rows, work, options, identity_of(options, **predictor.identity()), report)


def _cell(value: Any) -> Any:
    """Return a cell as text, and a list or an object as it is."""
    return value if isinstance(value, list | dict) else "" if value is None else str(value)
