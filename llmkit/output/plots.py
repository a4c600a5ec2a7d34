"""The pictures of a result: confusion.png, calibration.png, metrics.png, slices.png."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from llmkit.output.canvas import BLUE, GREY, ORANGE, canvas, save_figure
from llmkit.output.formatting import answered_by, interval_heading, number, printable
from llmkit.output.result import EvaluationResult, Result
from llmkit.output.result_parts import ColumnSlices, MetricResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_CLASSES_NUMBERED = 40  # the cells of a larger confusion matrix hold no numbers
MAX_SLICES_DRAWN = 40  # values of a column: the lowest are shown

Figures = Mapping[str, MetricResult]


def draw_results(folder: Path, result: Result) -> list[Path]:
    """Draw what the result holds into the folder, and return the files; a failed result has nothing to draw."""
    if result["status"] != "ok":
        return []
    pictures = {
        "confusion": bool(result.get("confusion")),
        "calibration": bool(result.get("calibration")),
        "metrics": any(figure["value"] is not None for figure in result["metrics"].values()),
        "slices": bool(result.get("slices")),
    }
    folder.mkdir(parents=True, exist_ok=True)
    with canvas() as pyplot:
        return [
            save_figure(DRAWINGS[name](pyplot, result), folder / f"{name}.png") for name, has in pictures.items() if has
        ]


def _title(result: EvaluationResult) -> str:
    return (
        f"{printable(answered_by(result), 50)}\non {printable(result['dataset'], 36)}, {printable(result['split'], 14)}"
    )


def _confusion(pyplot: ModuleType, result: EvaluationResult) -> Figure:
    matrix = result["confusion"]
    assert matrix is not None
    labels, counts = [printable(label, 24) for label in matrix["labels"]], matrix["counts"]
    size = max(4.6, 2.6 + 0.42 * len(labels))
    figure: Figure
    figure, axes = pyplot.subplots(figsize=(size + 0.8, size), layout="constrained")
    shares = [[count / max(sum(row), 1) for count in row] for row in counts]
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    slanted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if _wide(labels) else {}
    axes.set_xticks(range(len(labels)), labels, **slanted)
    axes.set_yticks(range(len(labels)), labels)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true class")
    axes.set_title(f"{_title(result)}: {sum(map(sum, counts))} rows", fontsize=10)
    figure.colorbar(image, ax=axes, shrink=0.8, aspect=30, label="share of the true class's rows")
    if len(labels) <= MAX_CLASSES_NUMBERED:
        _number_cells(axes, counts, shares)
    return figure


def _wide(labels: Sequence[str]) -> bool:
    return len(labels) > 4 or max(map(len, labels)) > 14


def _number_cells(axes: Axes, counts: Sequence[Sequence[int]], shares: Sequence[Sequence[float]]) -> None:
    """Write the counts into the cells; where there are few, the zeros too, and the shares below."""
    with_shares = len(counts) <= 6
    for row, of_row in enumerate(counts):
        for column, count in enumerate(of_row):
            share = shares[row][column]
            if count or with_shares:
                text = f"{count}\n{share:.0%}" if with_shares else str(count)
                colour = "white" if share > 0.55 else "0.15"
                axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=11 if with_shares else 7)


def _calibration(pyplot: ModuleType, result: EvaluationResult) -> Figure:
    calibration = result["calibration"]
    assert calibration is not None
    figure: Figure
    figure, (diagram, histogram) = pyplot.subplots(
        2, 1, figsize=(5.4, 6), sharex=True, height_ratios=[3, 1], layout="constrained"
    )
    filled = [part for part in calibration["bins"] if part["count"]]
    widths = [part["high"] - part["low"] for part in filled]
    lows = [part["low"] for part in filled]
    diagram.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="perfectly calibrated")
    diagram.bar(
        lows,
        [part["accuracy"] for part in filled],
        widths,
        align="edge",
        color=BLUE,
        alpha=0.75,
        edgecolor="white",
        label="accuracy of the bin",
    )
    confidences = [part["confidence"] for part in filled]
    diagram.plot(confidences, confidences, "o", color=ORANGE, markersize=5, label="mean confidence of the bin")
    diagram.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="accuracy")
    diagram.legend(loc="upper left", frameon=False, fontsize=9)
    error = result["metrics"].get("ece")
    known = (
        f"\nexpected calibration error (ECE) {number(error['value'])}" if error and error["value"] is not None else ""
    )
    diagram.set_title(_title(result) + known, fontsize=10)
    bars = histogram.bar(lows, [part["count"] for part in filled], widths, align="edge", color=GREY, edgecolor="white")
    histogram.bar_label(bars, fontsize=7, padding=1)
    histogram.set(xlabel="confidence: the probability of the predicted class", ylabel="rows")
    histogram.margins(y=0.2)
    return figure


def _metrics(pyplot: ModuleType, result: EvaluationResult) -> Figure:
    """Draw the metrics between -1 and 1 on one axis, and each of the others on one of its own."""
    metrics = {name: figure for name, figure in result["metrics"].items() if figure["value"] is not None}
    shared = {name: figure for name, figure in metrics.items() if all(-1 <= x <= 1 for x in _reach(figure))}
    groups = ([shared] if shared else []) + [{n: f} for n, f in metrics.items() if n not in shared]
    baseline = result.get("baseline")
    before = baseline["metrics"] if baseline else {}
    heights = [len(group) + 1.2 for group in groups]
    figure: Figure
    figure, axes = pyplot.subplots(
        len(groups), 1, figsize=(7, 1 + 0.36 * sum(heights)), height_ratios=heights, squeeze=False, layout="constrained"
    )
    for panel, group in zip(axes[:, 0], groups, strict=True):
        _dots(panel, group)
        for height, name in enumerate(group):
            if name in before and before[name]["baseline"] is not None:
                panel.plot(before[name]["baseline"], height, "D", markerfacecolor="none", color=ORANGE, zorder=3)
        if group is shared:
            panel.set_xlim(min(0, *(low - 0.05 for low, _, _ in map(_reach, group.values()))), 1.02)
    beside = f"; diamond: {printable(baseline['name'], 40)}" if baseline and before else ""
    figure.suptitle(f"{_title(result)}; {interval_heading(result)}s{beside}", fontsize=10)
    return figure


def _reach(figure: MetricResult) -> tuple[float, float, float]:
    """Return the low end, the value and the high end; three times the value where there is no interval."""
    value, low, high = figure["value"], figure["low"], figure["high"]
    assert value is not None  # of others nothing is drawn
    return (value, value, value) if low is None or high is None else (low, value, high)


def _dots(axes: Axes, figures: Figures) -> None:
    """Draw a dot, an error bar and the number for each figure, the first at the top."""
    for height, figure in enumerate(figures.values()):
        low, value, high = _reach(figure)
        axes.plot([low, high], [height, height], color=BLUE, linewidth=2, alpha=0.5, solid_capstyle="butt")
        axes.plot(value, height, "o", color=BLUE, markersize=6)
        axes.annotate(number(value), (1.01, height), xycoords=("axes fraction", "data"), va="center", fontsize=9)
    axes.set_yticks(range(len(figures)), [printable(name, 40) for name in figures])
    axes.set_ylim(len(figures) - 0.4, -0.6)
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)


def _slices(pyplot: ModuleType, result: EvaluationResult) -> Figure:
    """Draw the headline metric (or the first that the slices have) of every value, lowest at the top."""
    slices = result["slices"]
    assert slices is not None
    groups = {column: _lowest_first(_sliced(result, breakdown)) for column, breakdown in slices.items()}
    heights = [len(group) + 1.6 for group in groups.values()]
    figure: Figure
    figure, axes = pyplot.subplots(
        len(groups),
        1,
        figsize=(7, 1.2 + 0.34 * sum(heights)),
        height_ratios=heights,
        squeeze=False,
        sharex=True,
        layout="constrained",
    )
    metric = _sliced_metric(result)
    overall = result["metrics"][metric]["value"] if metric in result["metrics"] else None
    for panel, (column, group) in zip(axes[:, 0], groups.items(), strict=True):
        _dots(panel, {f"{printable(value, 28)} ({of['n']})": of for value, of in group})
        cut = len(slices[column]["values"]) - len(group)
        panel.set_title(
            f"by {printable(column, 40)}" + (f" ({cut} higher ones left out)" if cut > 0 else ""), fontsize=9
        )
        if overall is not None:
            panel.axvline(overall, color=GREY, linestyle="--", linewidth=1)
    figure.suptitle(f"{_title(result)}\n{metric}, {interval_heading(result)}s; dashed: all rows", fontsize=10)
    return figure


def _sliced_metric(result: EvaluationResult) -> str:
    headline: str = result["headline"]
    names = [
        name
        for breakdown in (result["slices"] or {}).values()
        for part in breakdown["values"].values()
        for name in part["metrics"]
    ]
    return headline if headline in names else next(iter(names), headline)


def _sliced(result: EvaluationResult, breakdown: ColumnSlices) -> list[tuple[str, MetricResult]]:
    metric = _sliced_metric(result)
    parts = ((value, part["metrics"].get(metric)) for value, part in breakdown["values"].items())
    return [(value, figure) for value, figure in parts if figure and figure["value"] is not None]


def _lowest_first(parts: list[tuple[str, MetricResult]]) -> list[tuple[str, MetricResult]]:
    return sorted(parts, key=lambda part: _reach(part[1])[1])[:MAX_SLICES_DRAWN]


DRAWINGS = {"confusion": _confusion, "calibration": _calibration, "metrics": _metrics, "slices": _slices}
