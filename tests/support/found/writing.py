"""How the files of a kind are written: each writer takes a folder and returns what llmkit is given."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tiny

Writer = Callable[[Path], Path]
Row = Mapping[str, Any]

REVIEWS = tuple((row["text"], row["label"]) for row in tiny.reviews(120, seed=11))
TEXTS = tuple(dict.fromkeys(text for text, _ in REVIEWS))[:24]  # no text twice
LABELS = tuple(dict(REVIEWS)[text] for text in TEXTS)
OTHERS = tuple(f"once more {text}" for text in TEXTS[::2])  # of another split
OTHER_LABELS = LABELS[::2]


def cycled(*values: Any, rows: int = len(TEXTS)) -> list[Any]:
    """Return values for so many rows, each again and again."""
    return [values[row % len(values)] for row in range(rows)]


def table(columns: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return the rows of a table that is given by its columns."""
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


def reviews(**columns: Sequence[Any]) -> list[dict[str, Any]]:
    """Return reviews with their labels, or with other columns beside the text."""
    return table({"text": TEXTS, **(columns or {"label": LABELS})})


def csv_of(rows: Sequence[Row], delimiter: str = ",", header: bool = True) -> str:
    """Return rows as CSV."""
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter, lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def jsonl_of(rows: Iterable[Any]) -> str:
    """Return rows as lines of JSON."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def one(name: str, content: str | bytes) -> Writer:
    """Write one file, which is what llmkit is given."""

    def write(folder: Path) -> Path:
        return _written(folder / name, content)

    return write


def several(files: Mapping[str, str | bytes]) -> Writer:
    """Write files into a folder, which is what llmkit is given."""

    def write(folder: Path) -> Path:
        for name, content in files.items():
            _written(folder / name, content)
        return folder

    return write


def _written(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path
