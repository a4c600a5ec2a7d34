"""The rows of a result: what was observed of each unit, as plain columns that a later comparison reads back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmkit.errors import listing
from llmkit.metrics.observations import KINDS, Columns, Observations
from llmkit.output.documents import JsonObject
from llmkit.output.result_parts import ResultRows

NUMBER_COLUMNS = ("nll", "tokens", "bytes", "hits", "margin", "before")
UNIT_COLUMNS = ("label", "prediction", "scores", "normalised", *NUMBER_COLUMNS)


@dataclass(frozen=True, eq=False)
class ObservedUnits:
    """Observations, the ids of their units, and where they are known the texts that a person tells them by."""

    observations: Observations
    ids: Sequence[str]
    texts: Sequence[str] | None = None


def pack(observations: Observations, ids: Sequence[str]) -> ResultRows:
    """Return the units as plain columns: the `rows` of a result file."""
    return {"kind": observations.kind, "id": list(ids), **observations.to_columns()}


def unpack(columns: Columns) -> ObservedUnits:
    """Return what `pack` wrote.

    Raises:
        KeyError, ValueError, TypeError: it is something else.
    """
    sizes = {len(column) for column in _unit_columns(columns)}
    if len(sizes) != 1:
        raise ValueError(f"columns of {listing(sorted(sizes))} rows")
    return ObservedUnits(KINDS[columns["kind"]].from_columns(columns), list(columns["id"]))


def _unit_columns(columns: Columns) -> list[Sequence[object]]:
    """Return the columns that have an entry for each unit, the ids first."""
    given = [columns[name] for name in UNIT_COLUMNS if columns.get(name) is not None]
    return [columns["id"], *given, *(columns.get("values") or {}).values()]


def prediction_rows(observations: Observations, ids: Sequence[str]) -> list[JsonObject]:
    """Return one dictionary for each unit, as --save-predictions writes them."""
    columns: Columns = pack(observations, ids)
    names, values = columns.get("names"), columns.get("values") or {}
    rows = []
    for number, key in enumerate(ids):
        row: JsonObject = {"id": key, "row": number}
        for name in ("label", "prediction", "normalised", *NUMBER_COLUMNS):
            if columns.get(name) is not None:
                row[name] = columns[name][number]
        if columns.get("scores") is not None:
            scores = columns["scores"][number]
            row["scores"] = dict(zip(names or map(str, range(len(scores))), scores, strict=True))
        rows.append(row | {name: column[number] for name, column in values.items()})
    return rows
