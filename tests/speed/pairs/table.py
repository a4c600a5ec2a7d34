"""The results as one Markdown table, under a line with date and machine."""

from __future__ import annotations

from typing import Any

from pairs.results import Ratio, figures, middle, ratio

HEADINGS = ("case", "llmkit", "held against", "times as fast", "once running", "quality", "rounds")


def table(results: dict[str, Any], order: list[str]) -> str:
    """Return the table of all rows in which llmkit and another way have run, in the order of the benchmark."""
    lines = [described(results), "", f"| {' | '.join(HEADINGS)} |", "|" + "---|" * len(HEADINGS)]
    for name in order:
        row = results["rows"].get(name)
        if row and row.get("skipped") and not row["rounds"]:
            lines.append(f"| {row['what']} |  | not measured: {row['skipped']} |  |  |  |  |")
        elif row and figures(row, [way["name"] for way in row["ways"][:2]], "seconds")[0]:
            lines += [f"| {' | '.join(cells)} |" for cells in row_cells(row)]
    return "\n".join(lines) + "\n"


def described(results: dict[str, Any]) -> str:
    """Return when, on what machine, with what versions, and how fast the machine itself is."""
    dates = sorted({each["date"][:10] for row in results["rows"].values() for each in row["rounds"]})
    machine = results["machine"]
    text = f"{' to '.join(dict.fromkeys((dates[0], dates[-1])))}: " if dates else ""
    text += f"{machine.get('processor', 'unknown')}, {machine.get('cores')} cores, {machine.get('memory_gib')} GiB"
    if machine.get("gpu"):
        text += f", {machine['gpu']}"
    text += "".join(f", {name} {version}" for name, version in results["versions"].items())
    ceilings = results["ceilings"]
    if ceilings:
        peak = {key: max(one[key] for one in ceilings) for key in ceilings[0]}
        text += (
            f". The machine at its best: matrix products {peak['bfloat16_gflops']:,.0f} GFLOP/s in bfloat16,"
            f" {peak['float32_gflops']:,.0f} in float32; memory read at {peak['read_gb_per_second']:.1f} GB/s"
        )
    return text + "."


def row_cells(row: dict[str, Any]) -> list[list[str]]:
    """Return a line for each way that llmkit is held against; the case, its figure and its quality in the first."""
    ours, *others = row["ways"]
    key = "peak_mb" if row["of_memory"] else "seconds"
    quality = next((each["quality"] for each in reversed(row["rounds"]) if each.get("quality")), "")
    lines = []
    for other in others:
        cells = ["", "", "", "", "", "", ""]
        if not lines:
            cells[0], cells[5] = row["what"], quality
            cells[1] = written(middle(figures(row, [ours["name"]], key)[0]), row)
        mine, theirs = figures(row, [ours["name"], other["name"]], key)
        if other["absent"] or not theirs:
            cells[2] = f"{other['name']}: {other['absent'] or 'not measured yet'}"
        else:
            cells[2] = f"{other['name']} {written(middle(theirs), row)}"
            cells[3], cells[4] = verdict(row, other, mine, theirs), running(row, ours, other)
            cells[6] = str(len(theirs))
        lines.append(cells)
    return lines


def written(value: float | None, row: dict[str, Any]) -> str:
    if value is None:
        return "?"
    if row["of_memory"]:
        return f"{value:,.0f} MB"
    return f"{value:.2f} s" if value < 10 else f"{value:.1f} s"


def verdict(row: dict[str, Any], other: dict[str, Any], mine: list[float | None], theirs: list[float | None]) -> str:
    """Return the ratio in words: a way that is slower than the plain one is said to be."""
    if row["of_memory"]:
        return f"{ratio(zip(theirs, mine, strict=True))} times the memory"
    if other["kind"] == "floor":
        return f"{ratio(zip(mine, theirs, strict=True))} times its time"
    return marked(ratio(zip(theirs, mine, strict=True)))


def marked(found: Ratio | None) -> str:
    if found is None:
        return "?"
    return f"**{found}, slower**" if found.median < 1 else str(found)


def running(row: dict[str, Any], ours: dict[str, Any], other: dict[str, Any]) -> str:
    """Return the rates without start and end, and how they stand to one another."""
    mine, theirs = figures(row, [ours["name"], other["name"]], "rate")
    found = ratio(zip(mine, theirs, strict=True))
    if found is None:
        return ""
    return f"{rounded(middle(mine))} against {rounded(middle(theirs))} {row['unit']}: {marked(found)}"


def rounded(value: float | None) -> str:
    return "?" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


BEGIN, END = "<!-- make bench: begin -->\n", "<!-- make bench: end -->\n"


def placed(text: str, new: str) -> str:
    """Return a text with the table between its two marks replaced."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit("README.md has no place for the table: two comments, make bench: begin and end")
    return before + BEGIN + new + END + after
