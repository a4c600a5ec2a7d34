"""A job summary in Markdown, and the annotations of a GitHub job."""

# without `from __future__ import annotations`: a function here has that name
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from llmkit.output.atomic import write_whole
from llmkit.output.formatting import (
    MAX_FLIPS_SHOWN,
    NumberFormat,
    answered_by,
    counts_of,
    difference,
    headline_first,
    interval,
    interval_heading,
    metric_name,
    number,
    p_value,
    printable,
)
from llmkit.output.result import ComparisonResult, EvaluationResult, Result
from llmkit.output.result_parts import (
    CLASS_METRICS,
    BaselineResult,
    ClassResult,
    ColumnSlices,
    Flips,
    GateResult,
    Invariance,
    MetricResult,
    SwapResult,
)

# entities mean nothing to Markdown: unlike a backslash they hold in table cells and inside HTML too
ENTITIES = {ord(character): f"&#{ord(character)};" for character in "&<>|`*[]\\~$#"}
EMPHASIS = re.compile(r"(?<![^\W_])_|_(?![^\W_])")  # an underscore inside a word is only itself
LINK = re.compile(r":(?=//)|(?<=www)\.", re.IGNORECASE)
SUMMARY_LIMIT = 1024 * 1024  # bytes: GitHub drops a job summary that is larger
CUT_NOTE = b"\n\n_Cut here: a job summary holds at most 1024 KiB; --output and --markdown write the whole._\n"
END_DETAILS = b"\n\n</details>"


def render(results: Sequence[Result]) -> str:
    """Return the job summary of one or more results; several begin with a table of all of them."""
    blocks = [_overview(results)] if len(results) > 1 else []
    blocks += [block for result in results for block in _section(result)]
    return "\n\n".join(blocks) + "\n"


def write_markdown(path: Path, results: Sequence[Result]) -> None:
    """Write the job summary to a file, whole."""
    write_whole(path, render(results).encode())


def write_comparison(path: Path, result: ComparisonResult) -> None:
    """Write how one saved result differs from another."""
    parts = [f"### {_text(result['after']['name'])} against {_text(result['before']['name'])}"]
    if result["gates"]:
        parts.append(_gates(result["gates"]))
    baseline: BaselineResult = {
        "name": result["before"]["name"],
        "model": result["before"]["model"],
        "n": result["n"],
        "metrics": result["metrics"],
        "flips": result.get("flips"),
    }
    parts += _baseline(baseline, "95% interval")
    write_whole(path, ("\n\n".join(parts) + "\n").encode())


def append_step_summary(results: Sequence[Result]) -> str | None:
    """Add to the summary page of a GitHub job, when there is one, as much as it takes.

    Returns the sentence to warn with when the page cannot be written: that says nothing about the model.
    """
    name = os.environ.get("GITHUB_STEP_SUMMARY")
    if not name:
        return None
    path = Path(name)
    try:
        taken = path.stat().st_size if path.exists() else 0
        with path.open("ab") as file:
            file.write(_fit(render(results).encode(), SUMMARY_LIMIT - taken))
    except OSError as error:
        return f"the job summary $GITHUB_STEP_SUMMARY could not be written: {error}"
    return None


def annotations(results: Sequence[Result]) -> list[str]:
    """Return a line `::error title=...::sentence` for each missed gate and each result that could not be had.

    Source: https://docs.github.com/actions/reference/workflow-commands-for-github-actions
    """
    lines = []
    for result in results:
        if result["status"] != "ok":
            lines.append(_annotation(f"{result['name']}: {result['status']}", result["error"]))
            continue
        for gate in result.get("gates") or ():
            if not gate["met"]:
                lines.append(_annotation(f"{result['name']}: {gate['kind']} {gate['metric']}", gate["sentence"]))
    return lines


def _annotation(title: str, sentence: str) -> str:
    return f"::error title={_quote(title).replace(':', '%3A').replace(',', '%2C')}::{_quote(sentence)}"


def _quote(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _fit(content: bytes, room: int) -> bytes:
    """Return the content, or its first lines with a sentence that says so; nothing where not even that has room."""
    if len(content) <= room:
        return content
    room -= len(CUT_NOTE) + len(END_DETAILS)
    if room < 0:
        return b""
    kept = content[:room].rpartition(b"\n")[0]
    inside = kept.count(b"<details>") > kept.count(b"</details>")
    return kept + (END_DETAILS if inside else b"") + CUT_NOTE


def _text(value: object, most: int = 300) -> str:
    """Return any value as text that breaks no table and is no markup."""
    text = printable(value, most).translate(ENTITIES)
    return EMPHASIS.sub("&#95;", LINK.sub(lambda match: f"&#{ord(match[0])};", text))


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = ["|".join(_text(cell) for cell in row) for row in (header, *rows)]
    lines.insert(1, "|".join("---" for _ in header))
    return "\n".join(f"|{line}|" for line in lines)


def _details(summary: str, content: str) -> str:
    return f"<details><summary>{summary}</summary>\n\n{content}\n\n</details>"


def _overview(results: Sequence[Result]) -> str:
    header = ["", "name", "metric", "value", "interval", "n", "gates"]
    return "## llmkit eval\n\n" + _table(header, (_overview_row(result) for result in results))


def _overview_row(result: Result) -> list[object]:
    if result["status"] != "ok":
        return ["❌", result["name"], f"{result['status']}: {result['error']}", "", "", "", ""]
    met = [gate["met"] for gate in result["gates"]]
    gates = f"{sum(met)} of {len(met)} met" if met else ""
    start = ["✅" if all(met) else "❌", result["name"]]
    for name, figure in headline_first(result)[:1]:
        return [*start, metric_name(name, figure), number(figure["value"]), interval(figure), figure["n"], gates]
    return [*start, "", "", "", "", gates]


def _section(result: Result) -> Iterator[str]:
    if result["status"] != "ok":
        yield f"### ❌ {_text(result['name'])}"
        yield f"**{_text(result['status'])}**: {_text(result['error'], 2000)}"
        return
    about = f"{answered_by(result)} on {result['dataset']}, {result['split']}"
    title = about if result["name"] == result["dataset"] else f"{result['name']}: {about}"
    yield f"### {'✅' if all(gate['met'] for gate in result['gates']) else '❌'} {_text(title)}"
    if result["gates"]:
        yield _gates(result["gates"])
    if result.get("warnings"):
        yield "\n".join(f"- ⚠️ warning: {_text(warning, 500)}" for warning in result["warnings"])
    yield _table(
        ["metric", "value", interval_heading(result), "n"],
        (
            [metric_name(name, figure), number(figure["value"]), interval(figure), figure["n"]]
            for name, figure in result["metrics"].items()
        ),
    )
    yield from _parts(result)
    cached = ", cached" if result.get("cached") else ""
    yield f"{_text(result['task'])}: {_text(counts_of(result))}, SHA-256 {_text(result['rows_sha256'][:12])}{cached}"


def _parts(result: EvaluationResult) -> Iterator[str]:
    """Yield those parts of a result that it has."""
    heading = interval_heading(result)
    if baseline := result.get("baseline"):
        yield from _baseline(baseline, heading)
    if slices := result.get("slices"):
        yield from _slices(slices, heading)
    if swap := result.get("swap"):
        yield _swap(swap, heading)
    if invariance := result.get("invariance"):
        yield from _invariance(invariance)
    if per_class := result.get("per_class"):
        yield _classes(per_class)


def _gates(gates: Sequence[GateResult]) -> str:
    return "\n".join(f"- {'✅' if gate['met'] else '❌'} {_text(gate['sentence'], 500)}" for gate in gates)


def _classes(classes: Mapping[str, ClassResult]) -> str:
    rows = ([name, *(number(of[key]) for key in CLASS_METRICS), of["support"]] for name, of in classes.items())
    return _details(f"{len(classes)} classes", _table(["class", *CLASS_METRICS, "support"], rows))


def _baseline(baseline: BaselineResult, heading: str) -> Iterator[str]:
    yield f"**Against the baseline** {_text(baseline['name'])} ({baseline['n']} rows paired by content)"
    rows = (
        [
            metric,
            number(of["baseline"]),
            number(of["value"]),
            _with(of["difference"], interval(of, difference), difference),
            p_value(of["p"]),
        ]
        for metric, of in baseline["metrics"].items()
    )
    yield _table(["metric", "baseline", "now", f"difference ({heading})", "p"], rows)
    flips = baseline.get("flips")
    if flips:
        yield from _flips(flips)


def _flips(flips: Flips) -> Iterator[str]:
    yield f"{flips['changed']} predictions changed: {flips['fixed']} fixed, {flips['broken']} broken."
    keys: tuple[Literal["label", "before", "after"], ...] = ("label", "before", "after")
    changed = [
        [printable(row.get("text", row["id"])), *(printable(row[key]) for key in keys)]
        for row in flips["rows"][:MAX_FLIPS_SHOWN]
    ]
    if changed:
        summary = f"{len(changed)} of the {flips['changed']} rows that changed"
        yield _details(summary, _table(["row", *keys], changed))


def _with(value: float | None, between: str, write: NumberFormat = number) -> str:
    """Return a figure with its interval in parentheses."""
    return write(value) + (f" ({between})" if between else "")


def _metric(metrics: Mapping[str, MetricResult], name: str) -> str:
    return _with(metrics[name]["value"], interval(metrics[name])) if name in metrics else ""


def _slices(slices: Mapping[str, ColumnSlices], heading: str) -> Iterator[str]:
    for column, breakdown in slices.items():
        metrics = list(dict.fromkeys(name for part in breakdown["values"].values() for name in part["metrics"]))
        rows = (
            [value, part["n"], *(_metric(part["metrics"], name) for name in metrics)]
            for value, part in breakdown["values"].items()
        )
        yield f"**Slices** by {_text(column)} ({heading} in parentheses)"
        yield _table([column, "n", *metrics], rows)
        gaps = [
            f"- largest gap of {_text(name)}: {_with(gap['gap'], interval(gap))}, best {_text(gap['best'])}, "
            f"worst {_text(gap['worst'])}"
            for name, gap in breakdown["gaps"].items()
        ]
        if gaps:
            yield "\n".join(gaps)


def _swap(swap: SwapResult, heading: str) -> str:
    share = f"{number(swap['value'])}, {heading} {interval(swap)}" if interval(swap) else number(swap["value"])
    return (
        f"**Swapped terms** of {_text(swap['terms'])}: {swap['flipped']} of {swap['n']} predictions flip "
        f"(a share of {share})."
    )


def _invariance(invariance: Invariance) -> Iterator[str]:
    if invariance["changed"]:
        names = ", ".join(_text(row["id"], 40) for row in invariance["changed_rows"][:MAX_FLIPS_SHOWN])
        yield (
            f"⚠️ **Batch invariance**: {invariance['changed']} of {invariance['rows']} predictions depend on the rows "
            f"beside them: {names}."
        )
