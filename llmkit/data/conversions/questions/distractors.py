"""The right answer beside wrong ones, each in a column of its own or the wrong ones in a list, made into choices."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmkit.data.columns import Row
from llmkit.data.conversions.base import Conversion
from llmkit.data.conversions.literals import value_of
from llmkit.data.conversions.questions.answer_spans import is_blank
from llmkit.data.conversions.writing import with_column
from llmkit.data.predictions import cell_text
from llmkit.errors import listing

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class DistractorConversion(Conversion):
    """Choices in an order that a hash of the row gives, in which the right one has no place of its own."""

    right: str
    wrong: tuple[str, ...]
    question: str | None = None

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.right, *self.wrong)

    @property
    def writes(self) -> tuple[str, ...]:
        return ("choices", "answer")

    @property
    def sentence(self) -> str:
        return f"choices: {self.right}, which is right, and {listing(self.wrong)}, in an order by a hash of the row"

    def apply(self, rows: Dataset) -> Dataset:
        from datasets import List, Value

        pairs = [self._choices(row) for row in rows]
        rows = with_column(rows, "choices", [choices for choices, _ in pairs], List(Value("string")))
        return with_column(rows, "answer", [number for _, number in pairs], Value("int64"))

    def _choices(self, row: Row) -> tuple[list[str], int | None]:
        cells = [value_of(row[name]) for name in self.wrong]
        wrong = [item for cell in cells for item in (cell if isinstance(cell, list) else [cell])]
        right = cell_text(row[self.right])
        texts = [right, *(cell_text(item) for item in wrong if not is_blank(item))]
        question = "" if self.question is None else cell_text(row.get(self.question))
        ordered = _in_order(question, texts)
        return ordered, None if is_blank(right) else ordered.index(right)


def _in_order(question: str, texts: Sequence[str]) -> list[str]:
    """Return texts in the order of their hashes with the question, which tells nothing of which is right."""
    return sorted(
        texts, key=lambda text: (hashlib.sha256(f"{question}\0{text}".encode(errors="replace")).digest(), text)
    )
