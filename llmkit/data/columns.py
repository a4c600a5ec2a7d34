"""What the features of a dataset's columns can hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
from datasets import ClassLabel, Dataset, Value

from llmkit.errors import DataError

Row = Mapping[str, Any]  # the cells of a row of a dataset or of a file, by column


def text_of(value: object) -> str:
    """Return the text of a cell, which is blank where there is none; 0 and False are something."""
    return "" if value is None else str(value)


def cells_of(dataset: Dataset, column: str) -> pa.ChunkedArray:
    """Return the cells of a column as arrow holds them, in the order of the rows."""
    table = dataset.select_columns([column]).with_format("arrow")[:]
    return table.column(column)


def string_columns(dataset: Dataset) -> list[str]:
    """Return the names of the columns that hold strings."""
    return [name for name, kind in dataset.features.items() if is_string(kind)]


def is_string(feature: object) -> bool:
    """Tell whether a feature holds one string."""
    return isinstance(feature, Value) and feature.dtype in {"string", "large_string"}


def item_of(feature: object) -> object:
    """Return the feature of the items of a list, or None where it is no list."""
    return getattr(feature, "feature", None)


def is_label(feature: object) -> bool:
    """Tell whether a feature can hold a label: a class, a string, an integer, a boolean or a float."""
    if isinstance(feature, ClassLabel):
        return True
    return isinstance(feature, Value) and feature.dtype.startswith(
        ("string", "large_string", "int", "uint", "bool", "float", "null")
    )


def usual_among(names: Iterable[str], usual: Sequence[str]) -> list[str]:
    """Return those of the columns' names that are usual, in upper or lower case, the most usual first."""
    by_lower_case = {name.lower(): name for name in names}
    return [by_lower_case[name] for name in usual if name in by_lower_case]


def longest_text(dataset: Dataset, names: Sequence[str]) -> str:
    """Return the column with the most characters, judged on the first 1,000 rows."""
    head = dataset.select(range(min(1000, len(dataset))))
    return max(names, key=lambda name: sum(len(text_of(text)) for text in head[name]))


def column_for(rows: Sequence[Row], role: str, given: dict[str, str], usual: Sequence[str]) -> str:
    """Return the column that holds a role: the one given, a usual name, or the only column of strings.

    Raises:
        DataError: the column does not exist, or none can be told.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    chosen = given.get(role)
    if chosen is not None and chosen not in names:
        raise DataError(f"there is no column {chosen!r} for {role}; the file has {', '.join(names)}")
    strings = [name for name in names if {type(row.get(name)) for row in rows} <= {str, type(None)}]
    column = chosen or next((name for name in usual if name in names), None)
    if column is None and len(strings) == 1:
        column = strings[0]
    if column is None:
        raise DataError(f"which column holds the {role}? Say --column {role}=NAME; the file has {', '.join(names)}")
    return column
