"""What a person sees of a dataset that was looked at: tables, rows as the model sees them, and histograms."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from llmkit.output.atomic import staged
from llmkit.output.formatting import ERASED, REORDERING, Result, printable
from llmkit.output.plots import BLUE, DPI, GREY, ORANGE, canvas
from llmkit.output.report import Report, console

MOST_LABELS = 40  # rows of the table, and bars of the picture
STYLES = {
    "special": "cyan",
    "padding": "dim",
    "learned": "green",
    "unlearned": "dim",
    "answer": "bold green",
    "omitted": "dim italic",
}
MARKS = {"unlearned": "⟨{}⟩", "answer": "«{}»", "omitted": " … {} tokens … ", "padding": "{} x{}"}
LEGEND = {"unlearned": "⟨no loss⟩", "answer": "«the answer»", "padding": "xN: padding"}


def show(result: Result, report: Report) -> None:
    """Print what was found: as one JSON object, or as tables and the rows that were shown."""
    if report.json:
        report.json_line(result)
        return
    report.table("", ["column", "feature", "role"], [_column(column) for column in result["columns"]])
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
            [found["kind"], str(found["rows"]), f"{found['share']:.1%}", printable(found["sentence"], 400)]
            for found in result["findings"]
        ]
        report.table("", ["finding", "rows", "share", "what"], rows)
    _show_rows(result["shown"], report)
    near = result["near"]
    if near:
        report.say(f"near duplicates: {near['method']}, Jaccard similarity {near['threshold']:g} or more")
    report.say(f"findings: {len(result['findings']) or 'none'}")


def _column(column: Mapping[str, Any]) -> list[str]:
    return [printable(column["name"], 60), printable(column["feature"], 200), column["role"] or ""]


def _counts(split: Mapping[str, Any]) -> list[str]:
    counts = (str(split[name]) for name in ("empty", "unusable", "duplicates"))
    return [str(split["rows"]), {None: "", True: "yes", False: "no"}[split["labelled"]], *counts]


def _balance(splits: Mapping[str, Any]) -> Iterator[list[str]]:
    """Yield for each label how often each split has it, the most usual labels where there are many."""
    totals: dict[str, int] = {}
    for split in splits.values():
        for name, count in (split["labels"] or {}).items():
            totals[name] = totals.get(name, 0) + count
    most = set(sorted(totals, key=lambda name: -totals[name])[:MOST_LABELS])
    for name in totals:
        if name in most:
            yield [printable(name, 60), *(_share(split["labels"] or {}, name) for split in splits.values())]
    if len(totals) > len(most):
        yield [f"{len(totals) - len(most)} more", *("" for _ in splits)]


def _share(labels: Mapping[str, int], name: str) -> str:
    return f"{labels.get(name, 0)} ({labels.get(name, 0) / sum(labels.values()):.1%})" if labels else ""


def _lengths(lengths: Mapping[str, Any]) -> list[str]:
    figures = [f"{lengths[name]:.0f}" for name in ("min", "mean", "median", "p95", "p99", "max")]
    return [*figures, str(lengths["over"]), f"{lengths['over_share']:.1%}", str(lengths["measured"])]


def _show_rows(shown: Sequence[Mapping[str, Any]], report: Report) -> None:
    """Print the rows of one batch; what is not learned, is padding or is special is marked, on a terminal in colour."""
    from rich.text import Text

    kinds = {piece["kind"] for row in shown for pieces in row["texts"].values() for piece in pieces}
    told = ", ".join(says for kind, says in LEGEND.items() if kind in kinds)
    if shown:
        report.say(f"the first rows as the model sees them{f' ({told})' if told else ''}:")
    for number, row in enumerate(shown, start=1):
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


def _marked(piece: Mapping[str, Any]) -> str:
    """Return the text of a piece on one line, between the marks of its kind."""
    kind, text = piece["kind"], _harmless(piece["text"])
    if kind == "padding":
        return f" {MARKS[kind].format(text, piece['tokens'])}"
    if kind == "omitted":
        return MARKS[kind].format(piece["tokens"])
    return MARKS[kind].format(text) if kind in MARKS else text


def _harmless(text: str) -> str:
    """Return a text on one line, with its blanks as they are and nothing in it that steers a terminal."""
    shown = text.replace("\n", "⏎").replace("\t", "⇥")
    return "".join("\ufffd" if unicodedata.category(c) in ERASED or c in REORDERING else c for c in shown)


def draw(path: Path, result: Result) -> None:
    """Draw a histogram of the lengths in tokens of each split, and of its labels where there are some."""
    splits = result["splits"]
    measured = {name: split["lengths"] for name, split in splits.items() if split["lengths"]}
    labelled = {name: split["labels"] for name, split in splits.items() if split["labels"]}
    panels = len(measured) + len(labelled)
    path.parent.mkdir(parents=True, exist_ok=True)
    with canvas() as pyplot, staged(path) as beside:
        figure, axes = pyplot.subplots(
            max(panels, 1), 1, figsize=(7, 0.6 + 2.4 * max(panels, 1)), squeeze=False, layout="constrained"
        )
        for panel, (name, lengths) in zip(axes[:, 0], measured.items(), strict=False):
            _draw_lengths(panel, name, lengths, result["max_length"])
        for panel, (name, labels) in zip(axes[len(measured) :, 0], labelled.items(), strict=False):
            _draw_labels(panel, name, labels)
        figure.suptitle(f"{printable(result['dataset'], 60)}: {result['task']['name']}", fontsize=10)
        figure.savefig(beside, dpi=DPI, format="png")
        pyplot.close(figure)


def _draw_lengths(panel: Any, split: str, lengths: Mapping[str, Any], most: int) -> None:
    edges, counts = lengths["histogram"]["edges"], lengths["histogram"]["counts"]
    widths = [high - low for low, high in pairwise(edges)]
    panel.bar(edges[:-1], counts, widths, align="edge", color=BLUE, edgecolor="white")
    title = f"{printable(split, 30)}: {lengths['measured']} rows, {lengths['over']} of more than {most} tokens"
    panel.set(xlabel="tokens", ylabel="rows")
    panel.set_title(title, fontsize=9)
    if lengths["max"] > most / 2:
        panel.axvline(most, color=ORANGE, linestyle="--", linewidth=1)


def _draw_labels(panel: Any, split: str, labels: Mapping[str, int]) -> None:
    shown = sorted(labels.items(), key=lambda item: -item[1])[:MOST_LABELS]
    bars = panel.bar([printable(name, 24) for name, _ in shown], [count for _, count in shown], color=GREY)
    panel.bar_label(bars, fontsize=7)
    panel.set_title(f"{printable(split, 30)}: labels", fontsize=9)
    panel.tick_params(axis="x", rotation=45 if len(shown) > 6 else 0)
