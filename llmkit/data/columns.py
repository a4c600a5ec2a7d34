"""What the features of a dataset's columns can hold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from datasets import ClassLabel, Dataset, Value


def string_columns(dataset: Dataset) -> list[str]:
    """Return the names of the columns that hold strings."""
    return [name for name, kind in dataset.features.items() if is_string(kind)]


def is_string(feature: Any) -> bool:
    """Tell whether a feature holds one string."""
    return isinstance(feature, Value) and feature.dtype in {"string", "large_string"}


def item_of(feature: Any) -> Any:
    """Return the feature of the items of a list, or None where it is no list."""
    return getattr(feature, "feature", None)


def is_label(feature: Any) -> bool:
    """Tell whether a feature can hold a label: a class, a string, an integer, a boolean or a float."""
    if isinstance(feature, ClassLabel):
        return True
    return isinstance(feature, Value) and feature.dtype.startswith(
        ("string", "large_string", "int", "uint", "bool", "float", "null")
    )


def usual_among(names: Iterable[str], usual: Sequence[str]) -> list[str]:
    """Return those of the columns' names that are usual, in upper or lower case, the most usual first."""
    spelled = {name.lower(): name for name in names}
    return [spelled[name] for name in usual if name in spelled]


def longest_text(dataset: Dataset, names: Sequence[str]) -> str:
    """Return the column with the most characters, judged on the first 1,000 rows."""
    head = dataset.select(range(min(1000, len(dataset))))
    return max(names, key=lambda name: sum(len(str(text or "")) for text in head[name]))
