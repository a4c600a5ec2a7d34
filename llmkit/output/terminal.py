"""What a person sees of an evaluation: tables on stdout, the talk on stderr."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from llmkit.output.formatting import (
    MAX_FLIPS_SHOWN,
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
from llmkit.output.report import Report
from llmkit.output.result import ComparedSide, ComparisonResult, EvaluationResult, Result
from llmkit.output.result_parts import (
    CLASS_METRICS,
    BaselineResult,
    ClassResult,
    ColumnSlices,
    ConfusionMatrix,
    Flips,
    GateResult,
    Invariance,
    SwapResult,
)

MAX_CLASSES_SHOWN = 12  # a wider confusion matrix is for the JSON and the plot


def show_results(results: Sequence[Result], report: Report) -> None:
    """Print one result in full, or several in one table with a row for each metric.

    Gates that were met are said on stderr. Those that were not are left to the error that ends the command.
    """
    if len(results) == 1 and results[0]["status"] == "ok":
        _show_one(results[0], report)
    else:
        _show_several(results, report)


def _show_one(result: EvaluationResult, report: Report) -> None:
    cached = ", cached" if result.get("cached") else ""
    where = f"{printable(result['dataset'], 300)}, {printable(result['split'])}"
    report.say(f"{result['task']} on {where}: {counts_of(result)}{cached}")
    rows = [
        [printable(metric_name(name, figure)), number(figure["value"]), interval(figure), str(figure["n"])]
        for name, figure in result["metrics"].items()
    ]
    report.table("", ["metric", "value", interval_heading(result), "n"], rows)
    _show_sections(result, report)
    for sentence in _met(result.get("gates")):
        report.say(sentence)


def _show_sections(result: EvaluationResult, report: Report) -> None:
    """Print those parts of a result that it has."""
    heading = interval_heading(result)
    if per_class := result.get("per_class"):
        _show_classes(per_class, report)
    if confusion := result.get("confusion"):
        _show_confusion(confusion, report)
    if slices := result.get("slices"):
        _show_slices(slices, heading, report)
    if baseline := result.get("baseline"):
        _show_baseline(baseline, heading, report)
    if swap := result.get("swap"):
        _show_swap(swap, heading, report)
    if invariance := result.get("invariance"):
        _show_invariance(invariance, report)


def _met(gates: Sequence[GateResult] | None) -> Iterator[str]:
    yield from (printable(gate["sentence"], 1000) for gate in gates or () if gate["met"])


def _show_classes(classes: Mapping[str, ClassResult], report: Report) -> None:
    rows = [
        [printable(name), *(number(of[key]) for key in CLASS_METRICS), str(of["support"])]
        for name, of in classes.items()
    ]
    report.table("", ["class", *CLASS_METRICS, "support"], rows)


def _show_confusion(confusion: ConfusionMatrix, report: Report) -> None:
    labels = [printable(label, 40) for label in confusion["labels"]]
    if len(labels) <= MAX_CLASSES_SHOWN:
        rows = [[label, *map(str, counts)] for label, counts in zip(labels, confusion["counts"], strict=True)]
        report.table("", ["truth \\ predicted", *labels], rows)


def _show_slices(slices: Mapping[str, ColumnSlices], heading: str, report: Report) -> None:
    for column, breakdown in slices.items():
        rows = [
            [printable(value, 60), metric, number(figure["value"]), interval(figure), str(figure["n"])]
            for value, part in breakdown["values"].items()
            for metric, figure in part["metrics"].items()
        ]
        report.table("", [printable(column, 60), "metric", "value", heading, "n"], rows)
        gaps = [
            [metric, number(gap["gap"]), interval(gap), printable(gap["best"], 60), printable(gap["worst"], 60)]
            for metric, gap in breakdown["gaps"].items()
        ]
        if gaps:
            report.table("", ["metric", f"largest gap over {printable(column, 60)}", heading, "best", "worst"], gaps)


def _show_baseline(baseline: BaselineResult, heading: str, report: Report) -> None:
    report.say(f"against {printable(baseline['name'], 300)}: {baseline['n']} rows paired by content")
    rows = [
        [
            printable(metric),
            number(paired["baseline"]),
            number(paired["value"]),
            difference(paired["difference"]),
            interval(paired, difference),
            p_value(paired["p"]),
            str(paired["test"] or ""),
        ]
        for metric, paired in baseline["metrics"].items()
    ]
    report.table("", ["metric", "baseline", "now", "difference", heading, "p", "test"], rows)
    flips = baseline.get("flips")
    if flips and flips["changed"]:
        _show_flips(flips, report)


def _show_flips(flips: Flips, report: Report) -> None:
    counts = [str(flips["fixed"]), str(flips["broken"]), str(flips["changed"])]
    report.table("", ["fixed", "broken", "changed"], [counts])
    keys: tuple[Literal["label", "before", "after"], ...] = ("label", "before", "after")
    rows = [
        [printable(row.get("text", row["id"]), 60)] + [printable(row[key], 40) for key in keys]
        for row in flips["rows"][:MAX_FLIPS_SHOWN]
    ]
    report.table("", ["changed row", *keys], rows)


def show_comparison(result: ComparisonResult, report: Report) -> None:
    """Print how one saved result differs from another."""
    before, after = result["before"], result["after"]
    report.say(f"{printable(after['name'], 300)} {_of(after)}")
    baseline: BaselineResult = {
        "name": f"{before['name']} {_of(before)}",
        "model": before["model"],
        "n": result["n"],
        "metrics": result["metrics"],
        "flips": result.get("flips"),
    }
    _show_baseline(baseline, interval_heading(result), report)
    for sentence in _met(result.get("gates")):
        report.say(sentence)


def _of(side: ComparedSide) -> str:
    return f"({side['model'] or 'predictions'} on {side['dataset']})"


def _show_swap(swap: SwapResult, heading: str, report: Report) -> None:
    report.say(
        f"swapping the terms of {printable(swap['terms'], 300)}: {swap['flipped']} of {swap['n']} predictions flip"
    )
    rows = [
        [" / ".join(printable(term, 40) for term in pair["terms"]), str(pair["n"]), str(pair["flipped"]), "", ""]
        for pair in swap["pairs"]
    ]
    rows.append(["all", str(swap["n"]), str(swap["flipped"]), number(swap["value"]), interval(swap)])
    report.table("", ["swapped terms", "n", "flipped", "share", heading], rows)
    flipped = [
        [printable(row["id"], 40), printable(row["swapped"]), printable(row["before"], 40), printable(row["after"], 40)]
        for row in swap["rows"][:MAX_FLIPS_SHOWN]
    ]
    if flipped:
        report.table("", ["flipped row", "swapped text", "before", "after"], flipped)


def _show_invariance(invariance: Invariance, report: Report) -> None:
    largest = invariance["largest_difference"]
    apart = "" if largest is None else f", outputs at most {largest:.2g} apart"
    report.say(
        f"{invariance['rows']} rows alone and in other company: {invariance['changed']} predictions changed{apart}"
    )
    rows = [
        [printable(row["id"], 40), printable(row["alone"], 60), printable(row["together"], 60)]
        for row in invariance["changed_rows"][:MAX_FLIPS_SHOWN]
    ]
    if rows:
        report.table("", ["row that changes", "alone", "together"], rows)


def _show_several(results: Sequence[Result], report: Report) -> None:
    complete = [result for result in results if result["status"] == "ok"]
    heading = next(map(interval_heading, complete), "95% interval")
    rows = [row for result in results for row in _member_rows(result)]
    report.table("", ["name", "task", "metric", "value", heading, "n", "gates"], rows)
    for result in complete:
        for sentence in _met(result.get("gates")):
            report.say(f"{printable(result['name'])}: {sentence}")


def _member_rows(result: Result) -> Iterator[list[str]]:
    name = printable(result["name"])
    if result["status"] != "ok":
        yield [name, str(result.get("task") or ""), f"{result['status']}: {printable(result['error'], 300)}", *[""] * 4]
        return
    task, gated = str(result["task"]), {gate["metric"]: gate["value"] for gate in result["gates"]}
    for metric, figure in headline_first(result):
        figures = [number(figure["value"]), interval(figure), str(figure["n"]), _verdict(result, metric)]
        yield [name, task, printable(metric_name(metric, figure)), *figures]
    for metric in sorted(gated.keys() - result["metrics"].keys()):  # of another name, or no metric at all: swap_flips
        yield [name, task, printable(metric), number(gated[metric]), "", "", _verdict(result, metric)]


def _verdict(result: EvaluationResult, metric: str) -> str:
    met = [gate["met"] for gate in result["gates"] if gate["metric"] == metric]
    return "" if not met else "met" if all(met) else "NOT met"
