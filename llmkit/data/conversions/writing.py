"""How a conversion writes a column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasets import Dataset


def with_columns(rows: Dataset, made: Dataset) -> Dataset:
    """Return rows with the columns of others, of as many rows, in place of their own of the same names."""
    from datasets import concatenate_datasets

    kept = rows.remove_columns([name for name in made.column_names if name in rows.column_names])
    return concatenate_datasets([kept, made], axis=1) if kept.column_names else made


def with_column(rows: Dataset, column: str, cells: Sequence[object], feature: object) -> Dataset:
    """Return rows with a column of some cells, the last; it takes the place of one that has its name."""
    written = rows.add_column(f"new {column}", list(cells), feature=feature)
    if column in rows.column_names:
        written = written.remove_columns(column)
    return written.rename_column(f"new {column}", column)
