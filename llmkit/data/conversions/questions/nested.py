"""Questions that are objects of their text and their choices, as ARC's and CommonsenseQA's own files have them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmkit.data.columns import is_string, item_of
from llmkit.data.conversions.base import Conversion
from llmkit.data.conversions.questions.choice_lists import choices_in
from llmkit.data.conversions.writing import with_column
from llmkit.data.predictions import cell_text
from llmkit.errors import DataError, shortened

if TYPE_CHECKING:
    from datasets import Dataset

STEMS = ("stem", "text", "question")
CHOICES = ("choices", "options")


@dataclass(frozen=True)
class NestedConversion(Conversion):
    """A column of objects as two: `question`, its text, and `choices`, with their names."""

    column: str
    stem: str
    choices: str

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.column,)

    @property
    def writes(self) -> tuple[str, ...]:
        return ("question", "choices")

    @property
    def sentence(self) -> str:
        return f"question and choices: {self.stem} and {self.choices} of {self.column}"

    def apply(self, rows: Dataset) -> Dataset:
        from datasets import List, Value

        texts = List(Value("string"))
        cells = [cell if isinstance(cell, Mapping) else {} for cell in rows[self.column][:]]
        found = [self._choices(cell, number) for number, cell in enumerate(cells, start=1)]
        rows = with_column(rows, "question", [cell_text(cell.get(self.stem)) for cell in cells], Value("string"))
        return with_column(rows, "choices", found, {"text": texts, "label": texts})

    def _choices(self, cell: Mapping[str, object], number: int) -> dict[str, list[str]]:
        value = cell.get(self.choices)
        found = choices_in(value)
        if found is None:
            raise DataError(f"row {number}: the {self.choices} of its {self.column} are {shortened(value)}, no choices")
        names = found.names or tuple("ABCDEFGHIJKLMNOPQRST"[: len(found.texts)])
        return {"text": list(found.texts), "label": list(names)}


def find(rows: Dataset) -> NestedConversion | None:
    """Return how a column of objects is made into questions and their choices, or None where there is none."""
    for name, feature in rows.features.items():
        if not isinstance(feature, Mapping):
            continue
        stem = next((key for key in STEMS if is_string(feature.get(key))), None)
        choices = next((key for key in CHOICES if key in feature and _can_be_choices(feature[key])), None)
        if stem is not None and choices is not None:
            return NestedConversion(name, stem, choices)
    return None


def _can_be_choices(feature: object) -> bool:
    return isinstance(feature, Mapping) or is_string(item_of(feature)) or isinstance(item_of(feature), Mapping)
