"""What the makers of the sample data share: the hand-written material, the files, the seeds."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).resolve().parent
SEED = "llmkit-examples-1"

Sections = dict[str, list[str]]
Row = tuple[str, ...]


def read_sections(name: str) -> Sections:
    """Return the lines of ``source/<name>`` by their ``[section]``; blank lines and ``#`` comments are skipped."""
    sections: Sections = {}
    lines: list[str] = []
    for raw in (HERE / "source" / name).read_text(encoding="utf-8").splitlines():
        line = raw.strip()
        if line.startswith("[") and line.endswith("]"):
            lines = sections.setdefault(line[1:-1], [])
        elif line and not line.startswith("#"):
            lines.append(line)
    return sections


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 with plain newlines on every system."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("utf-8"))


def write_csv(path: Path, header: Row, rows: Iterable[Row]) -> None:
    """Write a header and rows, quoting only where CSV needs it."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, buffer.getvalue())


def write_jsonl(path: Path, rows: Iterable[dict[str, object]]) -> None:
    """Write one JSON object a line."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def seeded(*parts: str) -> random.Random:
    """Return a generator of its own for each purpose, so that a change in one file leaves the others alone."""
    return random.Random(":".join((SEED, *parts)))


def capital(text: str) -> str:
    """Capitalise the first letter, also behind an opening quotation mark."""
    start = 1 if text[:1] in '"“' else 0
    return text[:start] + text[start : start + 1].upper() + text[start + 1 :]


def share(sections: Sections, name: str, split: str) -> list[str]:
    """Return the part of a section that belongs to one split: three of each five lines train, one each the others.

    The positive and the negative section of a name are divided alike: many of their lines are written as opposites,
    and a line whose opposite is in another split would be a trap.
    """
    rng = seeded("share", name.split(".")[0])
    owners: list[str] = []
    while len(owners) < len(sections[name]):
        owners += rng.sample(["train", "train", "train", "validation", "test"], 5)
    return [line for line, owner in zip(sections[name], owners, strict=False) if owner == split]
