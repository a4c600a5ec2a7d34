"""Figures as a person or a script reads them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from llmkit.report import Report

if TYPE_CHECKING:
    from llmkit.evaluation import Evaluation
    from llmkit.jobs import Trained


def show_evaluation(evaluation: Evaluation, report: Report) -> None:
    """Print the figures: a table, or with --json one object."""
    if report.json:
        report.record(evaluation.as_dict())
        return
    counts = ", ".join(f"{count} {what}" for what, count in evaluation.scores.counts.items())
    notes = evaluation.scores.notes
    rows = [
        [name + (f" ({notes[name]})" if name in notes else ""), f"{value:.4f}"]
        for name, value in evaluation.scores.metrics.items()
    ]
    report.say(f"{evaluation.task} on {evaluation.dataset}, {evaluation.split}: {counts}")
    report.table("", ["metric", "value"], rows)
    if evaluation.scores.per_class:
        header = ["class", "precision", "recall", "f1", "support"]
        classes = evaluation.scores.per_class.items()
        report.table(
            "",
            header,
            [[name, *(f"{c[k]:.4f}" for k in header[1:4]), str(c["support"])] for name, c in classes],
        )
    for gate in evaluation.gates:
        if gate.met:  # those that are not are said last, with the exit code
            report.say(gate.sentence())


def write_step_summary(evaluation: Evaluation) -> None:
    """Add a Markdown table to the summary page of a GitHub job, when there is one."""
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if not path:
        return
    lines = [f"### {evaluation.task}: {evaluation.model} on {evaluation.dataset} ({evaluation.split})", ""]
    lines += ["| metric | value |", "|---|---|"]
    lines += [f"| {name} | {value:.4f} |" for name, value in evaluation.scores.metrics.items()]
    lines += ["", *(f"- {gate.sentence()}" for gate in evaluation.gates), ""]
    with Path(path).open("a", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def show_trained(trained: Trained | None, report: Report) -> None:
    """Print the figures of a training run and where it lies; nothing after a dry run."""
    if trained is None:
        report.say("dry run: everything checked, nothing trained, no file written")
        return
    if report.json:
        report.record(trained.as_dict())
        return
    show_evaluation(trained.evaluation, report)
    report.say(f"saved in {trained.folder}")
