"""Tags of words: read from a dataset or a file of predictions, and what can be wrong with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from datasets import Dataset

from llmkit.data.columns import item_of
from llmkit.data.label_sets import as_list, declared_in
from llmkit.errors import DataError, shortened


def tags_of(rows: Dataset, column: str) -> list[tuple[str, ...]]:
    """Return the names of the tags of each row; none where it is null."""
    names = declared_in(rows, column)
    return [tuple(names[tag] if names else str(tag).strip() for tag in tags or ()) for tags in rows[column][:]]


def first_fault(rows: Dataset, words: str, tags: str) -> tuple[int, str] | None:
    """Return the index of the first row whose tags are none for its words, and a phrase on it; columns by name."""
    if item_of(rows.features[tags]) is None:
        first = next((place for place, cell in enumerate(rows[tags]) if cell is not None), 0)
        return first, f"its tags are {shortened(rows[first][tags])}, and a list with a tag for each word is wanted"
    declared = declared_in(rows, tags)
    for place, (named, found) in enumerate(zip(rows[words], rows[tags], strict=True)):
        fault = fault_of(named, found, declared) if named is not None and found is not None else None
        if fault is not None:
            return place, fault
    return None


def fault_of(words: Sequence[Any], tags: Sequence[Any], declared: Sequence[str]) -> str | None:
    """Return a phrase on what is wrong with the tags of some words, or None; `declared`: the names of class labels."""
    if len(words) != len(tags):
        return f"{len(words)} words and {len(tags)} tags"
    if None in words or None in tags:
        return "a word or a tag is null"
    for tag in tags:
        if declared and not 0 <= tag < len(declared):
            return f"the tag {tag} has no name; there are {len(declared)}, from 0"
        number = isinstance(tag, int) and not isinstance(tag, bool) and tag >= 0
        if not number and not (isinstance(tag, str) and tag.strip()):
            return f"{tag!r} is no tag: names such as B-PER, or integers from 0, are wanted"
    return None


def predicted_tags(row: Mapping[str, Any], words: int, declared: Sequence[str]) -> tuple[str, ...]:
    """Return the tags in a row of a file of predictions: a list, in a CSV as JSON, or a string with blanks.

    Raises:
        DataError: they are not as many as the words, or one is no tag; the row is named.
    """
    found = as_list(row["prediction"])
    tags: Any = found.split() if isinstance(found, str) else found
    where = f"predictions, row {row['place']}"
    if not isinstance(tags, list) or len(tags) != words:
        shown = shortened(row["prediction"])
        raise DataError(f"{where}: a list of {words} tags is wanted, one for each word, not {shown}")
    names = declared if all(isinstance(tag, int) for tag in tags) else ()  # of integers, which are ids then
    fault = fault_of(tags, tags, names)
    if fault is not None:
        raise DataError(f"{where}: {fault}")
    return tuple(names[tag] if names else str(tag).strip() for tag in tags)
