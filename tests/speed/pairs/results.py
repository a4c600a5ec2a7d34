"""What the rounds gave, as JSON that rounds are added to: ratios are of the two runs of one round."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCHEMA = 1


@dataclass(frozen=True)
class Ratio:
    """The median of a ratio over the rounds, its lowest and its highest."""

    median: float
    lowest: float
    highest: float
    rounds: int

    def __str__(self) -> str:
        if self.rounds == 1:
            return f"{self.median:.2f}"
        return f"{self.median:.2f} ({self.lowest:.2f} to {self.highest:.2f})"


def ratio(pairs: Iterable[tuple[float | None, float | None]]) -> Ratio | None:
    """Return how the first figures stand to the second, pair by pair; None where no pair is whole."""
    found = [one / two for one, two in pairs if one is not None and two]
    return Ratio(statistics.median(found), min(found), max(found), len(found)) if found else None


def empty() -> dict[str, Any]:
    return {"schema": SCHEMA, "machine": {}, "versions": {}, "ceilings": [], "rows": {}}


def load(path: Path) -> dict[str, Any]:
    """Return the results of a file, or none yet."""
    if not path.is_file():
        return empty()
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if found.get("schema") != SCHEMA:
        raise SystemExit(f"{path} is of another version of the benchmark; move it away")
    return found


def save(results: dict[str, Any], path: Path) -> None:
    """Write the results whole, or leave the file as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    beside.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    beside.replace(path)


def complete(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rounds in which every way that can run here has run."""
    names = [way["name"] for way in row["ways"] if not way["absent"]]
    return [each for each in row["rounds"] if all(name in each["ways"] for name in names)]


def figures(row: dict[str, Any], ways: list[str], key: str) -> list[list[float | None]]:
    """Return a figure (seconds, peak_mb, rate) of each of these ways, in the rounds in which all of them have run."""
    rounds = [each["ways"] for each in row["rounds"] if all(way in each["ways"] for way in ways)]
    return [[each[way][key] for each in rounds] for way in ways]


def middle(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
