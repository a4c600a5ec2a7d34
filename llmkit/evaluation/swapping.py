"""The template-swap check: how many predictions flip when terms (he/she, names, countries) change places."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llmkit.errors import OptionError
from llmkit.evaluation.measuring import Measured, Prepared, measure
from llmkit.evaluation.plan import Plan
from llmkit.observations import Classes
from llmkit.report import Report
from llmkit.swaps import read_terms, swapped_rows
from llmkit.uncertainty import wilson

SHOWN = 20


def swap_check(
    plan: Plan, terms: Path, encoding: str, measured: Measured, prepared: Prepared, report: Report, cache: bool
) -> dict[str, Any]:
    """Ask the model again about each row in which a term occurs, with the terms swapped, and count what flips.

    Raises:
        OptionError: the task has no classes, or no row holds a term.
        DataError: the file of terms is broken.
    """
    seen = measured.observations
    if not isinstance(seen, Classes):
        raise OptionError(f"--swap counts flipped classes, which {plan.task.name} has not")
    pairs = read_terms(terms, encoding)
    roles: list[str] = [role for role in ("text", "pair") if role in plan.setup.columns]
    texts: dict[str, list[Any]] = {role: list(plan.rows[plan.setup.columns[role]]) for role in roles}
    swapped = swapped_rows(texts, pairs)
    if not swapped:
        raise OptionError(f"--swap {terms}: no row holds one of its terms")
    rows = plan.rows.select([row.row for row in swapped])
    for role in roles:
        column = plan.setup.columns[role]
        rows = rows.remove_columns(column).add_column(column, [row.texts[role] for row in swapped])
    report.say(f"swap check: {len(swapped)} of {len(plan.rows)} rows hold a term of {terms}")
    again, _ = measure(plan, rows, report, cache=cache, share=prepared)
    if not isinstance(again.observations, Classes):
        raise TypeError("the same task observes the same kind")
    before = seen.predicted[[row.row for row in swapped]]
    flipped = before != again.observations.predicted
    count = int(flipped.sum())
    low, high = wilson(count, len(swapped)) or (None, None)
    shown = [
        {
            "id": measured.ids[swapped[i].row], "text": " / ".join(texts[role][swapped[i].row] for role in roles),
            "swapped": " / ".join(swapped[i].texts[role] for role in roles), "before": seen.names[before[i]],
            "after": seen.names[again.observations.predicted[i]],
        }
        for i in np.flatnonzero(flipped)[:SHOWN]
    ]  # fmt: skip
    return {
        "terms": str(terms), "n": len(swapped), "flipped": count, "value": count / len(swapped), "low": low,
        "high": high, "pairs": _by_pair(pairs, [row.pairs for row in swapped], flipped), "rows": shown,
    }  # fmt: skip


def _by_pair(pairs: Sequence[tuple[str, str]], used: Sequence[Sequence[int]], flipped: Any) -> list[dict[str, Any]]:
    """Return for each pair of terms in how many rows it was swapped, and how many of these flipped."""
    found = []
    for number, terms in enumerate(pairs):
        rows = [row for row, numbers in enumerate(used) if number in numbers]
        if rows:
            found.append({"terms": list(terms), "n": len(rows), "flipped": int(flipped[rows].sum())})
    return found
