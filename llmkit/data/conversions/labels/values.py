"""Whether labels are numbers or classes, by what their column holds in all splits, and the one type of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pyarrow as pa
import pyarrow.compute as pc

from llmkit.data.columns import cells_of, class_names
from llmkit.data.conversions.base import ColumnConversion
from llmkit.data.conversions.labels.evidence import Kind, LabelEvidence, evidence_of, kind_of
from llmkit.data.conversions.labels.reading import CLASSES, WRITTEN_AS_FLOAT, LabelReading, read, reading
from llmkit.data.conversions.labels.written_numbers import NOT_FINITE, NumberStyle, likeliest_style, parsed, trimmed
from llmkit.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset


__all__ = ["LabelConversion", "LabelReading", "find", "reading"]

Target = Literal["float64", "int64", "string", "bool"]

PLAIN_INTEGER = r"^(?:0|-?[1-9]\d*)$"


@dataclass(frozen=True)
class LabelConversion(ColumnConversion):
    """A label column in one type over all splits: numbers as float64, classes as integers or as names."""

    target: Target
    style: NumberStyle
    said: str

    @property
    def sentence(self) -> str:
        return self.said

    def apply(self, rows: Dataset) -> Dataset:
        from datasets import Dataset, DatasetInfo, Value
        from datasets.table import InMemoryTable

        cells = cells_of(rows, self.column)
        is_text = kind_of(rows.features[self.column]) == "text"
        if self.target in {"float64", "int64"}:
            written = self.numbers(rows)
        elif self.target == "bool":
            written = pc.equal(pc.utf8_lower(trimmed(cells)), "true") if is_text else cells
        else:
            written = class_names(cells)
        features = rows.features.copy()
        features[self.column] = Value(self.target)
        kind = features.arrow_schema.field(self.column).type
        place = rows.column_names.index(self.column)
        table = rows.with_format("arrow")[:].set_column(place, self.column, pc.cast(written, kind))
        return Dataset(InMemoryTable(table.cast(features.arrow_schema)), info=DatasetInfo(features=features))

    def numbers(self, rows: Dataset) -> pa.ChunkedArray:
        """Return the number of each row, as float64; null where a row has none.

        Raises:
            DataError: a cell is no number, or not finite; its row is named.
        """
        cells = cells_of(rows, self.column)
        if kind_of(rows.features[self.column]) == "text":
            cells = trimmed(cells)
            numbers = parsed(cells, self.style)
        else:
            numbers = pc.cast(cells, pa.float64(), safe=False)
        unread = pc.and_(pc.is_null(numbers), pc.is_valid(cells))
        unread = pc.or_(unread, pc.fill_null(pc.is_inf(numbers), False))
        if self.target == "int64":
            unread = pc.or_(unread, pc.fill_null(pc.not_equal(pc.trunc(numbers), numbers), False))
            unread = pc.and_(unread, pc.invert(pc.fill_null(pc.is_nan(numbers), False)))
        place = pc.index(unread, True).as_py()
        if place >= 0:
            wanted = "a finite number" if self.target == "float64" else "a whole number"
            other = f", or take all as classes with {CLASSES}" if self.target == "float64" else ""
            raise DataError(
                f"row {place + 1} of column {self.column!r} holds {cells[place].as_py()!s:.40} where {wanted} is "
                f"wanted: blank the cell{other}"
            )
        return pc.if_else(pc.fill_null(pc.is_nan(numbers), True), None, numbers)


def find(parts: Mapping[str, Dataset], column: str, regression: bool | None) -> LabelConversion | None:
    """Return how the labels are rewritten so that all splits have one type; None where they are so: see `reading`.

    Raises:
        DataError: a regression has a cell that is no number, or not finite; its split and row are named.
    """
    evidence = evidence_of(parts, column)
    labels = read(parts, evidence, regression)
    target = _target(evidence, labels)
    if target is None:
        return None
    conversion = LabelConversion(column, target, evidence.style or likeliest_style(evidence.texts), labels.sentence)
    if target in {"float64", "int64"}:
        _require_all_usable(parts, conversion)
    dtypes = {part.features[column].dtype for part in parts.values()}
    is_float = target == "float64" and len(dtypes) == 1 and min(dtypes).startswith("float")
    return None if is_float or dtypes == {target} else conversion


def _target(evidence: LabelEvidence, read: LabelReading) -> Target | None:
    """Return the type that the labels get; None where they stay as they are."""
    kinds = evidence.kinds
    if kinds == {"booleans", "text"} and evidence.is_boolean:
        return "bool"
    if not kinds or not kinds <= {"integers", "floats", "text"}:
        return None
    if read.regression:
        return "float64"
    if "text" in kinds:
        pattern = f"{WRITTEN_AS_FLOAT}|{NOT_FINITE}" if kinds == {"text"} else f"{WRITTEN_AS_FLOAT}|{PLAIN_INTEGER}"
        return "int64" if pc.all(pc.match_substring_regex(evidence.texts, pattern)).as_py() else _as_text(kinds)
    if "floats" in kinds:
        return "int64" if evidence.is_whole else "string"
    return None


def _as_text(kinds: frozenset[Kind]) -> Target | None:
    return None if kinds == {"text"} else "string"


def _require_all_usable(parts: Mapping[str, Dataset], conversion: LabelConversion) -> None:
    for name, part in parts.items():
        try:
            conversion.numbers(part)
        except DataError as error:
            raise DataError(f"{name}, {error}") from None
