"""curves.png: the losses and the metric over the steps of a run, from its metrics.jsonl."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from llmkit.output.canvas import canvas, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MetricsLine = dict[str, float]


def draw_curves(folder: Path, best: str) -> None:
    """Draw the training loss, and the validation metric `best` on an axis of its own."""
    with canvas(framed=True) as pyplot:
        save_figure(_curves(pyplot, read_metrics(folder), best), folder / "curves.png", dpi=120)


def _curves(pyplot: ModuleType, rows: list[MetricsLine], best: str) -> Figure:
    figure: Figure
    figure, losses = pyplot.subplots(figsize=(7, 4), layout="constrained")
    steps, values = _series(rows, "loss")
    losses.plot(steps, values, color="tab:blue", label="training loss")
    losses.set_xlabel("step")
    losses.set_ylabel("training loss")
    scores = losses.twinx()
    steps, values = _series(rows, f"eval_{best}")
    scores.plot(steps, values, color="tab:orange", marker="o", label=f"validation {best}")
    scores.set_ylabel(f"validation {best}")
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure


def read_metrics(folder: Path) -> list[MetricsLine]:
    """Return the lines of metrics.jsonl: the step, and what was measured at it."""
    file = folder / "metrics.jsonl"
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def _series(rows: list[MetricsLine], name: str) -> tuple[list[float], list[float]]:
    points = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
    return [step for step, _ in points], [value for _, value in points]
