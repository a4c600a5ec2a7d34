"""What people and machines see of an evaluation: each view is a function of the versioned result, and of nothing else.

`llmkit/output/schemas/evaluation.schema.json` describes that result.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import NotRequired, TypedDict

from llmkit.output.result import ComparisonResult, EvaluationResult
from llmkit.output.result_parts import MetricResult

NumberFormat = Callable[[float | None], str]

MAX_FLIPS_SHOWN = 10
ERASED_CATEGORIES = {"Cc", "Cs"}  # categories: control characters and halves of surrogate pairs
REORDERING_CHARACTERS = frozenset(
    "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)  # turn the text after them around


class Bounded(TypedDict):
    """What has an interval."""

    low: float | None
    high: float | None


class Averaged(TypedDict):
    """What can say what it is the figure of."""

    of: NotRequired[str]


def number(value: float | None) -> str:
    """Return a figure with four digits after the point; nothing for one that is not a number."""
    return "" if value is None or value != value else f"{value:.4f}"


def difference(value: float | None) -> str:
    """Return a difference with its sign."""
    return "" if value is None or value != value else f"{value:+.4f}"


def p_value(value: float | None) -> str:
    """Return a p-value; one that four digits cannot show is said to be smaller."""
    return "<0.0001" if value is not None and value < 0.0001 else number(value)


def interval(figure: Bounded, write: NumberFormat = number) -> str:
    """Return `0.8312 to 0.8931`; nothing where a figure has no interval."""
    low, high = figure.get("low"), figure.get("high")
    return "" if low is None or high is None else f"{write(low)} to {write(high)}"


def interval_heading(result: EvaluationResult | ComparisonResult) -> str:
    """Return the name of the column of intervals: `95% interval`."""
    confidence = result.get("confidence", 0.95)
    assert isinstance(confidence, int | float)  # a comparison says nothing of it
    return f"{100 * confidence:g}% interval"


def metric_name(name: str, figure: Averaged) -> str:
    """Return a metric's name with what it is the figure of: `f1 (class 'equivalent')`."""
    return f"{name} ({figure['of']})" if figure.get("of") else name


def headline_first(result: EvaluationResult) -> list[tuple[str, MetricResult]]:
    """Return the metrics and their figures, the headline at the front."""
    return sorted(result["metrics"].items(), key=lambda item: item[0] != result["headline"])


def answered_by(result: EvaluationResult) -> str:
    """Return what answered: the model, or the file of predictions."""
    return str(result.get("model") or result.get("predictions") or "")


def counts_of(result: EvaluationResult) -> str:
    """Return the counts in words: `408 rows`."""
    return ", ".join(f"{count} {what}" for what, count in result["counts"].items())


def printable(value: object, most: int = 120) -> str:
    """Return any value as one line of at most `most` characters, with nothing in it that steers a terminal.

    The items of a list are joined by commas.
    """
    text = "" if value is None else ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    text = " ".join(text.split())
    text = harmless(text)
    return text if len(text) <= most else text[: most - 1] + "…"


def harmless(text: str) -> str:
    """Return a text with nothing in it that steers a terminal."""
    return "".join(
        "\ufffd" if unicodedata.category(c) in ERASED_CATEGORIES or c in REORDERING_CHARACTERS else c for c in text
    )
