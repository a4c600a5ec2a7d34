"""The template-swap check: how many predictions flip when terms (he/she, names, countries) change places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llmkit.errors import OptionError
from llmkit.evaluation.measuring import Measured, Prepared, measure
from llmkit.evaluation.plan import Plan
from llmkit.evaluation.rows import predictions_of
from llmkit.report import Report
from llmkit.swaps import Pairs, Swapped, read_terms, swapped_rows
from llmkit.tasks.features import item_of
from llmkit.uncertainty import wilson

SHOWN = 20


@dataclass(frozen=True)
class Swaps:
    """The rows of an evaluation in which terms can be swapped."""

    terms: Path
    pairs: Pairs
    texts: Mapping[str, Sequence[Any]]  # of all rows, by role
    rows: Sequence[Swapped]


def find_swaps(plan: Plan, terms: Path, encoding: str) -> Swaps:
    """Return the rows in which a term occurs, with the terms swapped.

    Raises:
        OptionError: the task has no classes, its inputs are no texts, or no row holds a term.
        DataError: the file of terms is broken.
    """
    labels = plan.setup.labels
    if labels is None or labels.regression:
        predicts = "a regression predicts none" if labels else f"{plan.task.name} predicts none"
        raise OptionError(f"--swap counts flipped classes, and {predicts}")
    for column in plan.setup.inputs.values():
        if item_of(plan.rows.features[column]) is not None:
            raise OptionError(f"--swap changes texts, and column {column!r} holds lists")
    pairs = read_terms(terms, encoding)
    texts = {role: list(plan.rows[column]) for role, column in plan.setup.inputs.items()}
    rows = swapped_rows(texts, pairs)
    if not rows:
        raise OptionError(f"--swap {terms}: no row holds one of its terms")
    return Swaps(terms, pairs, texts, rows)


def swap_check(
    plan: Plan, swaps: Swaps, measured: Measured, prepared: Prepared, report: Report, cache: bool
) -> dict[str, Any]:
    """Ask the model again about each row in which a term occurs, with the terms swapped, and count what flips."""
    texts, swapped = swaps.texts, swaps.rows
    rows = plan.rows.select([row.row for row in swapped])
    for role, column in plan.setup.inputs.items():
        rows = rows.remove_columns(column).add_column(column, [row.texts[role] for row in swapped])
    report.say(f"swap check: {len(swapped)} of {len(plan.rows)} rows hold a term of {swaps.terms}")
    again, _ = measure(plan, rows, report, cache=cache, share=prepared)
    before = predictions_of(measured.observations.take([row.row for row in swapped])) or []
    after = predictions_of(again.observations) or []
    flipped = np.array([old != new for old, new in zip(before, after, strict=True)])
    count = int(flipped.sum())
    low, high = wilson(count, len(swapped)) or (None, None)
    shown = [
        {
            "id": measured.ids[swapped[i].row], "text": " / ".join(texts[role][swapped[i].row] for role in texts),
            "swapped": " / ".join(swapped[i].texts[role] for role in texts), "before": before[i], "after": after[i],
        }
        for i in np.flatnonzero(flipped)[:SHOWN]
    ]  # fmt: skip
    return {
        "terms": str(swaps.terms), "n": len(swapped), "flipped": count, "value": count / len(swapped), "low": low,
        "high": high, "pairs": _by_pair(swaps.pairs, [row.pairs for row in swapped], flipped), "rows": shown,
    }  # fmt: skip


def _by_pair(pairs: Sequence[tuple[str, str]], used: Sequence[Sequence[int]], flipped: Any) -> list[dict[str, Any]]:
    """Return for each pair of terms in how many rows it was swapped, and how many of these flipped."""
    found = []
    for number, terms in enumerate(pairs):
        rows = [row for row, numbers in enumerate(used) if number in numbers]
        if rows:
            found.append({"terms": list(terms), "n": len(rows), "flipped": int(flipped[rows].sum())})
    return found
