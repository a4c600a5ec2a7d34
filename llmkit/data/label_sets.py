"""Sets of labels: those that hold of each row, in a column of lists, or of lists in JSON or Python in a CSV."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from llmkit.data.columns import text_of
from llmkit.data.conversions.literals import value_of

if TYPE_CHECKING:
    from datasets import Dataset


LABEL_TYPES = ("string", "large_string", "int", "uint", "null")  # how the types of names, ids and empty lists begin
UNLABELLED = "-100"  # of a word without a label: it teaches nothing and is not measured, as in transformers' examples


def holds_sets(dataset: Dataset, column: str) -> bool:
    """Tell whether a column holds lists of names, integers or classes; of strings the first that is not blank tells."""
    from datasets import ClassLabel, Value

    feature = dataset.features[column]
    element = getattr(feature, "feature", None)
    if element is not None:
        return isinstance(element, ClassLabel) or (isinstance(element, Value) and element.dtype.startswith(LABEL_TYPES))
    if getattr(feature, "dtype", None) not in {"string", "large_string"}:
        return False
    first = next((cell for cell in dataset[column][:] if text_of(cell).strip()), None)
    return isinstance(as_list(first), list)


def sets_of(dataset: Dataset, column: str) -> list[tuple[str, ...] | None]:
    """Return the names of the labels of each row; None where it has no list.

    Rows are valid: see `first_invalid_label_set`.
    """
    declared, cells = declared_in(dataset, column), map(as_list, dataset[column][:])
    return [
        tuple(_name(label, declared) for label in cell if not is_unlabelled(label)) if isinstance(cell, list) else None
        for cell in cells
    ]


def is_unlabelled(label: object) -> bool:
    """Tell whether a label says that there is none."""
    return label == -100 or label == UNLABELLED


def first_invalid_label_set(dataset: Dataset, column: str) -> tuple[int, str] | None:
    """Return the index of the first row whose cell is neither empty nor a list of labels, and a phrase on it."""
    declared = declared_in(dataset, column)
    for row, cell in enumerate(dataset[column][:]):
        blank = cell is None or (isinstance(cell, str) and not cell.strip())
        reason = None if blank else label_set_problem(cell, declared)
        if reason is not None:
            return row, reason
    return None


def label_set_problem(cell: object, declared: Iterable[str] = ()) -> str | None:
    """Return a phrase on what is wrong with a cell that should hold labels, or None; `declared`: of class labels."""
    labels = as_list(cell)
    if not isinstance(labels, list):
        parts = [part.strip() for part in str(cell).split(",")]
        return f"{cell!r} where a list of labels is wanted, such as {json.dumps(parts, ensure_ascii=False)}"
    named, known = [*declared], range(len([*declared]))
    for label in labels:
        if isinstance(label, bool) or not isinstance(label, str | int) or not str(label).strip():
            return f"{label!r} is no label: a list of names or integers is wanted"
        if named and label not in known:
            return f"{label!r} is no label: there are {len(named)} classes, from 0"
    twice = [name for name, times in Counter(_name(label, named) for label in labels).items() if times > 1]
    if twice:
        return f"its labels {labels} name {twice[0]!r} more than once: a list of those that hold is wanted"
    return None


def as_list(cell: object) -> Any:
    """Return the list or dictionary that a text spells in JSON or in Python's way; anything else as it is."""
    return value_of(cell)


def single_labels(dataset: Dataset, column: str) -> Dataset:
    """Return the labels of all rows as a column of that name with one label in each row, as `labels` reads them."""
    from datasets import Dataset, Features, Value

    element = getattr(dataset.features[column], "feature", None)
    cells = dataset[column][:] if element is not None else sets_of(dataset, column)
    labels = [label for cell in cells for label in cell or () if not is_unlabelled(label)]
    return Dataset.from_dict({column: labels}, features=Features({column: element or Value("string")}))


def declared_in(dataset: Dataset, column: str) -> list[str]:
    """Return the names of the classes in the order of their ids, where the lists hold ids of declared classes."""
    from datasets import ClassLabel

    element = getattr(dataset.features[column], "feature", None)
    return list(element.names) if isinstance(element, ClassLabel) else []


def _name(label: Any, declared: list[str]) -> str:
    return declared[label] if declared else str(label).strip()
