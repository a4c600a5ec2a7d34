"""The figures of a training run as a person or a script reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmkit.output.report import Report

if TYPE_CHECKING:
    from llmkit.training.jobs import Trained


def show_trained(trained: Trained | None, report: Report) -> None:
    """Print the figures of a training run and where it lies; nothing after a dry run."""
    if trained is None:
        report.say("dry run: everything checked, nothing trained, no file written")
        return
    if report.json:
        report.json_line(trained.as_dict())
        return
    from llmkit.output import terminal, trials

    if "seeds" in trained.run_record:  # the figures of one seed beside the mean would be taken for it
        trials.show_seeds(trained.run_record["seeds"], report)
        report.say(f"saved in {trained.folder}")
        return
    if "search" in trained.run_record:
        trials.show_trials(trained.run_record["search"], report)
    terminal.show_results([trained.evaluation.as_dict()], report)
    report.say(f"saved in {trained.folder}")
