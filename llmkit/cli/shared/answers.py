"""Answers to rows, from the shell or from a file: what generate, classify and embed have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from llmkit.cli.shared.sources import say_sources
from llmkit.distributed.world import world
from llmkit.options import LaunchOptions, ModelOptions, RowOptions, TalkOptions
from llmkit.options.urls import is_url
from llmkit.output.report import Report, quiet_libraries

SERVER = "a server answers, and --concurrency says how many requests wait there at a time"

if TYPE_CHECKING:
    from llmkit.data.columns import Row
    from llmkit.inference.answering import Answerer, Prepared
    from llmkit.inference.row_files import RowJob


def prepare_to_ask(model: ModelOptions, talk: TalkOptions, is_here: bool = True) -> None:
    """Settle what the libraries say and load, and look at a model folder, before what answers is imported.

    `is_here` is False for a model that a server has.

    Raises:
        ModelError: the folder holds no model.
    """
    quiet_libraries(talk, model.offline)
    from llmkit.models import require_folder
    from llmkit.models.deferred_modules import defer_modules

    defer_modules()
    if is_here:
        require_folder(model)


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
        report.say(f"dry run: {answerer.dry_run(len(prepared), prepared=prepared)}")
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
    from llmkit.inference.row_files import InputRows, RowJob

    if not options.input:
        rows = InputRows([{answerer.role: text} for text in texts])
        _answer_rows(RowJob(rows, {answerer.role: answerer.role}, answerer, options, report), talk)
        return
    with InputRows.opened(options) as rows:
        _require_same_files(answerer, options)
        launch.require_enough(rows.total, world().size)
        columns = answerer.columns(rows.sample, options.columns)
        rows.sample = []
        if answerer.announces_columns:
            report.say(f"columns: {', '.join(f'{role}={name}' for role, name in columns.items())}")
        _answer_rows(RowJob(rows, columns, answerer, options, report), talk)


def _answer_rows(job: RowJob[Prepared], talk: TalkOptions) -> None:
    """Answer rows into a file, or as JSON lines; a dry run says what there is to do."""
    answerer, output = job.answerer, job.options.output
    job.check()
    if talk.dry_run:
        job.report.say(f"dry run: {answerer.dry_run(job.rows.total, job.columns)}")
        return
    if output and output.suffix in answerer.one_piece_endings:
        answerer.write_in_one_piece(job)
    else:
        job.run()
    answerer.say_truncated(job.report)


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


def prompt_names(count: int) -> list[str]:
    """Return what errors call the prompts of a command line."""
    return ["the prompt"] if count == 1 else [f"prompt {number}" for number in range(1, count + 1)]
