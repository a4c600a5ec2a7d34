"""What a person sees of a dataset that was looked at: tables, rows as the model sees them, and histograms."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from llmkit.output.canvas import BLUE, GREY, ORANGE, canvas, save_figure
from llmkit.output.formatting import harmless, printable
from llmkit.output.report import Report, console
from llmkit.output.survey_result import (
    ColumnResult,
    LengthsResult,
    PieceKind,
    PieceResult,
    ReadingResult,
    RowResult,
    SplitResult,
    SurveyResult,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_LABELS_SHOWN = 40  # rows of the table, and bars of the picture
STYLES: dict[PieceKind, str] = {
    "special": "cyan",
    "padding": "dim",
    "learned": "green",
    "unlearned": "dim",
    "answer": "bold green",
    "omitted": "dim italic",
}
MARKS: dict[PieceKind, str] = {"unlearned": "⟨{}⟩", "answer": "«{}»", "omitted": " … {} tokens … ", "padding": "{} x{}"}
LEGEND: dict[PieceKind, str] = {"unlearned": "⟨no loss⟩", "answer": "«the answer»", "padding": "xN: padding"}


def show_survey(result: SurveyResult, report: Report) -> None:
    """Print what was found: as one JSON object, or as tables and the rows that were shown."""
    if report.json:
        report.json_line(result)
        return
    report.table("", ["column", "feature", "holds", "role"], [_column(column) for column in result["columns"]])
    readings = result["task"]["readings"]
    if len(readings) > 1:
        report.table("", ["reading", "columns", "confidence", "why"], list(map(_reading, readings)))
    header = ["split", "rows", "labelled", "empty", "unusable", "duplicates"]
    splits = result["splits"]
    report.table("", header, [[printable(name), *_counts(split)] for name, split in splits.items()])
    if any(split["labels"] for split in splits.values()):
        report.table("", ["label", *map(printable, splits)], list(_balance(splits)))
    lengths = [[printable(name), *_lengths(split["lengths"])] for name, split in splits.items() if split["lengths"]]
    over = f"over {result['max_length']}"
    if lengths:
        report.table("", ["tokens", "min", "mean", "median", "p95", "p99", "max", over, "share", "measured"], lengths)
    if result["findings"]:
        rows = [
            [finding["kind"], str(finding["rows"]), f"{finding['share']:.1%}", printable(finding["sentence"], 400)]
            for finding in result["findings"]
        ]
        report.table("", ["finding", "rows", "share", "what"], rows)
    _show_rows(result["shown"], report)
    near = result["near"]
    if near:
        report.say(f"near duplicates: {near['method']}, Jaccard similarity {near['threshold']:g} or more")
    report.say(f"findings: {len(result['findings']) or 'none'}")


def _column(column: ColumnResult) -> list[str]:
    feature = printable(column["feature"], 200)
    return [printable(column["name"], 60), feature, printable(column["holds"], 60), column["role"] or ""]


def _reading(reading: ReadingResult) -> list[str]:
    columns = ", ".join(f"{role}={name}" for role, name in reading["columns"].items())
    return [reading["task"], printable(columns, 200), reading["confidence"], printable(reading["why"], 200)]


def _counts(split: SplitResult) -> list[str]:
    labelled = {None: "", True: "yes", False: "no"}[split["labelled"]]
    return [str(split["rows"]), labelled, str(split["empty"]), str(split["unusable"]), str(split["duplicates"])]


def _balance(splits: Mapping[str, SplitResult]) -> Iterator[list[str]]:
    """Yield for each label how often each split has it, the most usual labels where there are many."""
    totals: dict[str, int] = {}
    for split in splits.values():
        for name, count in (split["labels"] or {}).items():
            totals[name] = totals.get(name, 0) + count
    most_usual = set(sorted(totals, key=lambda name: -totals[name])[:MAX_LABELS_SHOWN])
    for name in totals:
        if name in most_usual:
            yield [printable(name, 60), *(_share(split["labels"] or {}, name) for split in splits.values())]
    if len(totals) > len(most_usual):
        yield [f"{len(totals) - len(most_usual)} more", *("" for _ in splits)]


def _share(labels: Mapping[str, int], name: str) -> str:
    return f"{labels.get(name, 0)} ({labels.get(name, 0) / sum(labels.values()):.1%})" if labels else ""


def _lengths(lengths: LengthsResult) -> list[str]:
    figures = (lengths["min"], lengths["mean"], lengths["median"], lengths["p95"], lengths["p99"], lengths["max"])
    return [
        *(f"{tokens:.0f}" for tokens in figures),
        str(lengths["over"]),
        f"{lengths['over_share']:.1%}",
        str(lengths["measured"]),
    ]


def _show_rows(rows: Sequence[RowResult], report: Report) -> None:
    """Print the rows of one batch; what is not learned, is padding or is special is marked, on a terminal in colour."""
    from rich.text import Text

    kinds = {piece["kind"] for row in rows for pieces in row["texts"].values() for piece in pieces}
    legend = ", ".join(text for kind, text in LEGEND.items() if kind in kinds)
    if rows:
        report.say(f"the first rows as the model sees them{f' ({legend})' if legend else ''}:")
    for number, row in enumerate(rows, start=1):
        for name, pieces in row["texts"].items():
            line = Text(f"{number}\t{name}\t")
            for piece in pieces:
                line.append(_marked(piece), STYLES.get(piece["kind"], ""))
            if row["truth"] is not None and name == next(iter(row["texts"])):
                line.append(f"\t= {printable(row['truth'])}", "bold")
            if sys.stdout.isatty():
                console().print(line)
            else:
                report.line(line.plain)


def _marked(piece: PieceResult) -> str:
    """Return the text of a piece on one line, between the marks of its kind."""
    kind, text = piece["kind"], _visible(piece["text"])
    if kind == "padding":
        return f" {MARKS[kind].format(text, piece['tokens'])}"
    if kind == "omitted":
        return MARKS[kind].format(piece["tokens"])
    return MARKS[kind].format(text) if kind in MARKS else text


def _visible(text: str) -> str:
    """Return a text on one line, with its blanks as they are and nothing in it that steers a terminal."""
    return harmless(text.replace("\n", "⏎").replace("\t", "⇥"))


def draw_survey(path: Path, result: SurveyResult) -> None:
    """Draw a histogram of the lengths in tokens of each split, and of its labels where there are some."""
    splits = result["splits"]
    measured = {name: split["lengths"] for name, split in splits.items() if split["lengths"]}
    labelled = {name: split["labels"] for name, split in splits.items() if split["labels"]}
    panels = max(len(measured) + len(labelled), 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    with canvas() as pyplot:
        figure, axes = pyplot.subplots(panels, 1, figsize=(7, 0.6 + 2.4 * panels), squeeze=False, layout="constrained")
        for panel, (name, lengths) in zip(axes[:, 0], measured.items(), strict=False):
            _draw_lengths(panel, name, lengths, result["max_length"])
        for panel, (name, labels) in zip(axes[len(measured) :, 0], labelled.items(), strict=False):
            _draw_labels(panel, name, labels)
        figure.suptitle(f"{printable(result['dataset'], 60)}: {result['task']['name']}", fontsize=10)
        save_figure(figure, path)


def _draw_lengths(panel: Axes, split: str, lengths: LengthsResult, max_length: int) -> None:
    edges, counts = lengths["histogram"]["edges"], lengths["histogram"]["counts"]
    widths = [high - low for low, high in pairwise(edges)]
    panel.bar(edges[:-1], counts, widths, align="edge", color=BLUE, edgecolor="white")
    title = f"{printable(split, 30)}: {lengths['measured']} rows, {lengths['over']} of more than {max_length} tokens"
    panel.set(xlabel="tokens", ylabel="rows")
    panel.set_title(title, fontsize=9)
    if lengths["max"] > max_length / 2:
        panel.axvline(max_length, color=ORANGE, linestyle="--", linewidth=1)


def _draw_labels(panel: Axes, split: str, labels: Mapping[str, int]) -> None:
    drawn = sorted(labels.items(), key=lambda item: -item[1])[:MAX_LABELS_SHOWN]
    bars = panel.bar([printable(name, 24) for name, _ in drawn], [count for _, count in drawn], color=GREY)
    panel.bar_label(bars, fontsize=7)
    panel.set_title(f"{printable(split, 30)}: labels", fontsize=9)
    panel.tick_params(axis="x", rotation=45 if len(drawn) > 6 else 0)
