"""Hand an outcome over: to the terminal or as JSON, and to every file that was asked for."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from llmkit.distributed.world import world
from llmkit.errors import GateMissed
from llmkit.options import ResultOptions
from llmkit.output.atomic import write_whole
from llmkit.output.report import Report, to_json
from llmkit.output.result import Result

if TYPE_CHECKING:
    from llmkit.evaluation.suite import Outcome


def check_files(files: ResultOptions) -> None:
    """Refuse a file that could not be written in the end.

    Raises:
        OptionError: an extra is missing.
    """
    if files.junit is not None:
        from llmkit.output.junit import require_junitparser

        require_junitparser()


def deliver(outcome: Outcome, files: ResultOptions, report: Report) -> None:
    """Show the results, write the files, and leave with the error that the outcome holds, if any.

    The files always tell of this run: where it failed, the JSON and the JUnit report say so, and predictions of an
    earlier run are removed. Of several processes the main one does all this.
    """
    from llmkit.output import markdown, terminal

    if not world().is_main:
        if not isinstance(outcome.error(), GateMissed):  # the main one says which
            outcome.require_success()
        return
    results = [result.as_dict() for result in outcome.results]
    write_files(outcome, results, files)
    single_failed = outcome.suite is None and results[0]["status"] != "ok"
    if report.json and not single_failed:
        report.json_line(outcome.as_dict())
    elif not single_failed:  # its error is all there is to say
        terminal.show_results(results, report)
    unwritten = markdown.append_step_summary(results)
    if unwritten:
        report.warn(unwritten)
    if os.environ.get("GITHUB_ACTIONS") == "true":
        for line in markdown.annotations(results):
            print(line, file=sys.stderr)
    outcome.require_success()


def write_files(outcome: Outcome, results: list[Result], files: ResultOptions) -> None:
    """Write what was asked for, each file whole."""
    from llmkit.output import markdown

    if files.output:
        write_whole(files.output, (to_json(outcome.as_dict(rows=True), indent=1) + "\n").encode())
    if files.junit:
        from llmkit.output.junit import write_junit

        write_junit(files.junit, results)
    if files.markdown:
        markdown.write_markdown(files.markdown, results)
    if files.save_predictions:
        _write_predictions(outcome, files.save_predictions)
    if files.plots:
        _draw(results, files.plots, numbered=outcome.suite is not None)


def _write_predictions(outcome: Outcome, path: Path) -> None:
    from llmkit.data.predictions import write_predictions
    from llmkit.evaluation import Evaluation
    from llmkit.evaluation.result_rows import prediction_rows

    done = [result for result in outcome.results if isinstance(result, Evaluation)]
    if len(done) < len(outcome.results):
        path.unlink(missing_ok=True)  # a half of the rows, or an earlier run's, would pass for this one's
        return
    rows = [
        {**({"name": evaluation.name} if outcome.suite else {}), **row}
        for evaluation in done
        for row in prediction_rows(evaluation.subject.observations, evaluation.subject.ids)
    ]
    write_predictions(path, rows)


def _draw(results: list[Result], folder: Path, numbered: bool) -> None:
    from llmkit.output.plots import draw_results

    for number, result in enumerate(results):  # of a failed one there is nothing to draw
        draw_results(folder / f"{number:02d}" if numbered else folder, result)
