"""Answers to rows, from the shell or from a file: what generate, classify and embed have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from llmkit.cli.shared.sources import say_sources
from llmkit.distributed.world import world
from llmkit.errors import EmptyError
from llmkit.options import LaunchOptions, RowOptions, TalkOptions
from llmkit.options.urls import is_url
from llmkit.output.report import Report

SERVER = "a server answers, and --concurrency says how many requests wait there at a time"

if TYPE_CHECKING:
    from llmkit.data.columns import Row
    from llmkit.inference.answering import Answerer, Prepared


def require_input(options: RowOptions) -> None:
    """Refuse an --input that is not on this machine, before a model is opened for it.

    Raises:
        DataError: naming it.
    """
    if options.input is not None and not is_url(options.input):
        from llmkit.inference.row_files import require_file

        require_file(options.input, options.input)


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
    answerer.say_truncated(report)
    if report.table_wanted:
        cells = [answerer.cells(row, answer) for row, answer in zip(inputs, answers, strict=True)]
        report.table("", answerer.headings(), cells)
        return
    for row, answer in zip(inputs, answers, strict=True):
        repeated = {role: value for role, value in row.items() if role not in answerer.hidden_roles}
        report.json_line({**repeated, **answer})
        say_sources(answer.get("sources", ()), report)


def answer_file(
    answerer: Answerer[Prepared],
    options: RowOptions,
    launch: LaunchOptions,
    talk: TalkOptions,
    report: Report,
    texts: Sequence[str] = (),
) -> None:
    """Answer the rows of a file, which keep their columns, or texts; into a file, or as JSON lines.

    Raises:
        OptionError: more processes were asked for than there are rows.
        DataError: of several processes one reads other rows, or another model.
    """
    from llmkit.inference.row_files import inputs_of, process, read_rows

    rows: Sequence[Row] = [{answerer.role: text} for text in texts]
    columns = {answerer.role: answerer.role}
    if options.input:
        rows = read_rows(options)
        _require_same_files(answerer, options)
        launch.require_enough(len(rows), world().size)
        columns = answerer.columns(rows, options.columns)
        if answerer.announces_columns:
            report.say(f"columns: {', '.join(f'{role}={name}' for role, name in columns.items())}")
    names = [f"row {number}" for number in range(1, len(rows) + 1)]
    inputs = inputs_of(rows, columns, answerer.list_roles)
    if options.input:
        _say_unanswerable(answerer, inputs, options, report)
    prepared = answerer.prepare(inputs, names)
    if talk.dry_run:
        report.say(f"dry run: {answerer.dry_run(prepared, columns)}")
    elif options.output and options.output.suffix in answerer.one_piece_endings:
        answerer.write_in_one_piece(rows, prepared, options, report)
        answerer.say_truncated(report)
    else:
        process(rows, prepared, answerer, options, report)
        answerer.say_truncated(report)


def _require_same_files(answerer: Answerer[Prepared], options: RowOptions) -> None:
    """Refuse rows, or a model, that are others where another of the processes runs.

    Raises:
        DataError: naming the file, or the model.
    """
    from llmkit.inference.row_files import require_same_rows
    from llmkit.models.fingerprints import fingerprints

    require_same_rows(options)
    if world().spans_nodes:
        world().require_alike(fingerprints(answerer.resolved), f"the files of {answerer.resolved.name}")


def _say_unanswerable(answerer: Answerer[Prepared], inputs: Sequence[Row], options: RowOptions, report: Report) -> None:
    """Say how many rows of a file ask nothing, and are answered null; and how many lack what they can do without.

    Raises:
        EmptyError: that is so of all of them.
    """
    from llmkit.data.columns import text_of

    left = [row for row in inputs if not answerer.is_answerable(row)]
    for role in sorted(answerer.optional_roles & inputs[0].keys()):
        lone = sum(answerer.is_answerable(row) and not text_of(row[role]).strip() for row in inputs)
        if lone:
            have, their = ("has", "its") if lone == 1 else ("have", "their")
            report.say(f"{lone} of {len(inputs)} rows {have} no {role}, and {their} {answerer.role} is read alone")
    if not left:
        return
    needed = [role for role in left[0] if role not in answerer.optional_roles]
    roles = [role for role in needed if any(not text_of(row[role]).strip() for row in left)] or [answerer.role]
    if len(left) == len(inputs):
        raise EmptyError(
            f"{options.input}: nothing to answer, none of {len(inputs)} rows has a {' and a '.join(roles)}"
        )
    nothing, (have, are) = " or no ".join(roles), ("has", "is") if len(left) == 1 else ("have", "are")
    report.say(f"{len(left)} of {len(inputs)} rows {have} no {nothing}, and {are} answered null")


def prompt_names(count: int) -> list[str]:
    """Return what errors call the prompts of a command line."""
    return ["the prompt"] if count == 1 else [f"prompt {number}" for number in range(1, count + 1)]
