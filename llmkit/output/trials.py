"""What a person sees of several trainings: the spread over seeds, the trials of a search, and a picture of those."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmkit.output.atomic import staged
from llmkit.output.formatting import metric_name, number
from llmkit.output.plots import BLUE, DPI, GREY, ORANGE, canvas
from llmkit.output.report import Report


def show_seeds(told: Mapping[str, Any], report: Report) -> None:
    """Print the mean and the spread of each metric over seeds."""
    rows = [
        [metric_name(name, figure), *(number(figure[key]) for key in ("mean", "sd", "min", "max")), str(told["n"])]
        for name, figure in told["metrics"].items()
    ]
    report.table("", ["metric", "mean", "sd", "min", "max", "seeds"], rows)


def show_trials(told: Mapping[str, Any], report: Report) -> None:
    """Print the trials of a search in their order."""
    names = list(told["space"])
    rows = [
        [
            str(trial["trial"]),
            number(trial["value"]),
            _remark(trial, told["best"]),
            *(_spelled(trial["values"][name]) for name in names),
            str(trial["steps"] or ""),
            f"{trial['seconds']:g}",
        ]
        for trial in told["trials"]
    ]
    report.table("", ["trial", told["by"], "state", *names, "steps", "seconds"], rows)


def _remark(trial: Mapping[str, Any], best: int) -> str:
    marks = [trial["state"], *["default"] * (trial["trial"] == 0), *["best"] * (trial["trial"] == best)]
    return ", ".join(marks)


def _spelled(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def draw_trials(folder: Path, told: Mapping[str, Any]) -> Path:
    """Draw the value of each trial, the best so far, and the default, into trials.png."""
    trials = [trial for trial in told["trials"] if trial["value"] is not None]
    choose = max if told["greater_is_better"] else min
    with canvas() as pyplot, staged(folder / "trials.png") as beside:
        figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
        for state, marker, colour in (("complete", "o", BLUE), ("pruned", "x", GREY)):
            some = [trial for trial in trials if trial["state"] == state]
            places, values = [trial["trial"] for trial in some], [trial["value"] for trial in some]
            if some:
                axes.plot(places, values, marker, color=colour, label=state)
        complete = [trial for trial in trials if trial["state"] == "complete"]
        so_far = [choose(one["value"] for one in complete[: place + 1]) for place in range(len(complete))]
        axes.step([trial["trial"] for trial in complete], so_far, color=ORANGE, where="post", label="best so far")
        if told["default_value"] is not None:
            axes.axhline(told["default_value"], color=GREY, linestyle="--", label="default recipe")
        axes.set_xlabel("trial")
        axes.set_ylabel(f"validation {told['by']}")
        axes.xaxis.get_major_locator().set_params(integer=True)
        figure.legend(loc="outside upper center", ncols=4, frameon=False)
        figure.savefig(beside, dpi=DPI, format="png")
        pyplot.close(figure)
    return folder / "trials.png"
