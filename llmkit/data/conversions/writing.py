"""How a conversion writes a column."""

from __future__ import annotations

from collections.abc import Sequence

from datasets import Dataset


def with_column(rows: Dataset, column: str, cells: Sequence[object], feature: object) -> Dataset:
    """Return rows with a column of some cells, the last; it takes the place of one that has its name."""
    written = rows.add_column(f"new {column}", list(cells), feature=feature)
    if column in rows.column_names:
        written = written.remove_columns(column)
    return written.rename_column(f"new {column}", column)
