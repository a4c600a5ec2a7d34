"""Which columns are a text and the labels that hold of it: lists of names, or of classes."""

from __future__ import annotations

from collections.abc import Mapping

from llmkit.data.columns import is_string, item_of
from llmkit.data.evidence import ColumnProfile, Evidence
from llmkit.data.label_sets import as_list, holds_sets
from llmkit.tasks.base import names
from llmkit.tasks.base.candidates import Candidate, Confidence
from llmkit.tasks.matching.classes import text_choices

LISTS = ("labels", "label", "topics", "categories", "classes", "genres", "tags", "标签", "类别")
REPEATS_OF_ITEM = 2.0  # times that a name comes on average, from which names of lists are those of classes


def label_list_candidates(evidence: Evidence, given: Mapping[str, str]) -> list[Candidate]:
    """Return the ways to read a dataset as texts with lists of labels, the surest first."""
    columns = evidence.columns
    if "labels" in given:
        return _with_texts(evidence, given, columns[given["labels"]], Confidence.CERTAIN)
    able = [column for column in columns.values() if holds_sets(evidence.rows, column.name)]
    usual = [column for name in LISTS for column in able if column.name.lower() == name]
    if usual:
        return _with_texts(evidence, given, usual[0], Confidence.CERTAIN)
    named = [column for column in able if names.has_word(column.name, names.LABEL_WORDS | {*LISTS})]
    if named:
        return [each for column in named for each in _with_texts(evidence, given, column, Confidence.LIKELY)]
    others = [column for column in able if _items_repeat(column) and column.name.lower() not in names.METADATA_WORDS]
    return [each for column in others for each in _with_texts(evidence, given, column, Confidence.POSSIBLE)]


def _with_texts(
    evidence: Evidence, given: Mapping[str, str], column: ColumnProfile, confidence: Confidence
) -> list[Candidate]:
    texts = text_choices(evidence, given, column.name)
    reason = f"{column.name} holds lists of names"
    return [Candidate({**texts[0], "labels": column.name}, confidence, reason)] if texts else []


def _items_repeat(column: ColumnProfile) -> bool:
    """Tell whether the items of lists come again and again, as classes do and words of texts do not."""
    if column.is_list and not is_string(item_of(column.feature)):
        return False
    listed = [as_list(cell) for cell in column.cells]
    items = [item for cell in listed if isinstance(cell, list) for item in cell]
    return bool(items) and len(items) >= REPEATS_OF_ITEM * len(set(map(str, items))) and len(items) < 5 * len(listed)
