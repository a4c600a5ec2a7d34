"""Which columns are a text and the labels that hold of it: lists of names, or of classes."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace

from llmkit.data.columns import is_string, item_of
from llmkit.data.conversions.labels import lists
from llmkit.data.evidence import ColumnProfile, Evidence, name_words
from llmkit.data.label_sets import as_list, holds_sets
from llmkit.errors import listing
from llmkit.tasks.base import names
from llmkit.tasks.base.candidates import Candidate, Confidence
from llmkit.tasks.matching.classes import is_called_label, text_choices

LISTS = ("labels", "label", "topics", "categories", "classes", "genres", "tags", "标签", "类别")
REPEATS_OF_ITEM = 2.0  # times that a name comes on average, from which names of lists are those of classes


def label_list_candidates(evidence: Evidence, given: Mapping[str, str], separator: str | None) -> list[Candidate]:
    """Return the ways to read a dataset as texts with lists of labels, the surest first."""
    columns = evidence.columns
    if "labels" in given:
        several = lists.named_columns(given["labels"], evidence.rows.column_names)
        if several is not None:
            return _of_indicators(evidence, given, several)
        return _with_texts(evidence, given, columns[given["labels"]], Confidence.CERTAIN)
    able = [column for column in columns.values() if holds_sets(evidence.rows, column.name)]
    usual = [column for name in LISTS for column in able if column.name.lower() == name]
    if usual:
        return _with_texts(evidence, given, usual[0], Confidence.CERTAIN)
    named = [column for column in able if names.has_word(column.name, names.LABEL_WORDS | {*LISTS})]
    if named:
        return [each for column in named for each in _with_texts(evidence, given, column, Confidence.LIKELY)]
    found = _of_indicators(evidence, given, None) + _separated(evidence, given, separator)
    no_labels = {*names.METADATA_WORDS, "answers", "answer", "options", "choices", "questions"}  # as RACE has them
    others = [column for column in able if _items_repeat(column) and column.name.lower() not in no_labels]
    return found + [each for column in others for each in _with_texts(evidence, given, column, Confidence.POSSIBLE)]


def with_label_lists_read(candidate: Candidate, evidence: Evidence, separator: str | None) -> Candidate:
    """Return a reading with lists of names, where cells hold names with a separator or a 0 or 1 for each label.

    Raises:
        DataError: no cell holds the separator that was asked for.
    """
    column = candidate.columns["labels"]
    if column not in evidence.columns or candidate.conversions:
        return candidate
    is_text = is_string(evidence.features[column]) and not holds_sets(evidence.rows, column)
    separated = lists.find_separated(evidence.rows, column, separator) if is_text else None
    found = separated or lists.find_vectors(evidence.rows, column)
    return candidate if found is None else replace(candidate, conversions=(found,))


def _of_indicators(evidence: Evidence, given: Mapping[str, str], columns: tuple[str, ...] | None) -> list[Candidate]:
    """Return the reading of columns of 0 and 1 as labels: those named, or all where no other column is a label."""
    found = lists.find_indicators(evidence.rows, columns)
    texts = text_choices(evidence, {role: name for role, name in given.items() if role != "labels"})
    if found is None or not texts:
        return []
    others = [column for column in evidence.columns.values() if column.name not in found.reads]
    are_alike = len({name_words(name)[:1] in {("is",), ("has",)} for name in found.reads}) == 1
    is_certain = columns is not None or (are_alike and not any(is_called_label(column) for column in others))
    confidence = Confidence.CERTAIN if is_certain else Confidence.POSSIBLE
    reason = f"{listing(found.reads, 4)} are 0 or 1 in each row"
    return [Candidate({**texts[0], "labels": "labels"}, confidence, reason, (found,))]


def _separated(evidence: Evidence, given: Mapping[str, str], separator: str | None) -> list[Candidate]:
    """Return the reading of cells that hold names with a separator; without a flag it has to be asked for."""
    strings = [column for column in evidence.columns.values() if column.is_string and column.pattern != "number"]
    able = [column for column in strings if not column.is_identifier]
    usual = [column for name in LISTS for column in able if column.name.lower() == name]
    named = usual or [column for column in able if names.has_word(column.name, names.LABEL_WORDS)]
    for column in named:
        likely = separator or lists.likely_separator(evidence.rows, column.name)
        if likely is not None:
            found = _with_texts(evidence, given, column, Confidence.CERTAIN)
            reason = f"{column.name} holds names with {likely!r} between them"
            flags = "" if separator else f"--label-separator {shlex.quote(likely)}"
            return [replace(each, reason=reason, flags=flags) for each in found]
    return []


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
