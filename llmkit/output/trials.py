"""What a person sees of several trainings: the spread over seeds, the trials of a search, and a picture of those."""

from __future__ import annotations

from pathlib import Path

from llmkit.output.canvas import BLUE, GREY, ORANGE, canvas, save_figure
from llmkit.output.formatting import metric_name, number
from llmkit.output.report import Report
from llmkit.output.result import SearchResult, SeedsResult, TrialResult


def show_seeds(outcome: SeedsResult, report: Report) -> None:
    """Print the mean and the spread of each metric over seeds."""
    rows = [
        [metric_name(name, figure), *(number(figure[key]) for key in ("mean", "sd", "min", "max")), str(outcome["n"])]
        for name, figure in outcome["metrics"].items()
    ]
    report.table("", ["metric", "mean", "sd", "min", "max", "seeds"], rows)


def show_trials(outcome: SearchResult, report: Report) -> None:
    """Print the trials of a search in their order."""
    names = list(outcome["space"])
    rows = [
        [
            str(trial["trial"]),
            number(trial["value"]),
            _remark(trial, outcome["best"]),
            *(_text(trial["values"][name]) for name in names),
            str(trial["steps"] or ""),
            f"{trial['seconds']:g}",
        ]
        for trial in outcome["trials"]
    ]
    report.table("", ["trial", outcome["by"], "state", *names, "steps", "seconds"], rows)


def _remark(trial: TrialResult, best: int) -> str:
    marks = [trial["state"], *["default"] * (trial["trial"] == 0), *["best"] * (trial["trial"] == best)]
    return ", ".join(marks)


def _text(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def draw_trials(folder: Path, outcome: SearchResult) -> Path:
    """Draw the value of each trial, the best so far, and the default, into trials.png."""
    trials = [(trial, trial["value"]) for trial in outcome["trials"] if trial["value"] is not None]
    choose = max if outcome["greater_is_better"] else min
    with canvas() as pyplot:
        figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
        for state, marker, colour in (("complete", "o", BLUE), ("pruned", "x", GREY)):
            numbers = [trial["trial"] for trial, _ in trials if trial["state"] == state]
            values = [value for trial, value in trials if trial["state"] == state]
            if values:
                axes.plot(numbers, values, marker, color=colour, label=state)
        complete = [value for trial, value in trials if trial["state"] == "complete"]
        so_far = [choose(complete[: index + 1]) for index in range(len(complete))]
        numbers = [trial["trial"] for trial, _ in trials if trial["state"] == "complete"]
        axes.step(numbers, so_far, color=ORANGE, where="post", label="best so far")
        if outcome["default_value"] is not None:
            axes.axhline(outcome["default_value"], color=GREY, linestyle="--", label="default recipe")
        axes.set_xlabel("trial")
        axes.set_ylabel(f"validation {outcome['by']}")
        axes.xaxis.get_major_locator().set_params(integer=True)
        figure.legend(loc="outside upper center", ncols=4, frameon=False)
        return save_figure(figure, folder / "trials.png")
