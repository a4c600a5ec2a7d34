"""Splits whose columns are called otherwise than those of the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmkit.data.conversions.base import ColumnConversion, Conversion

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class RenamedColumn(Conversion):
    """A column that one split calls otherwise: `--column text=sentence` where the others have `text`."""

    name: str
    usual: str

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.name,)

    @property
    def writes(self) -> tuple[str, ...]:
        return (self.usual,)

    @property
    def sentence(self) -> str:
        return f"where a split has no column {self.usual}, its {self.name} is taken for it"

    def apply(self, rows: Dataset) -> Dataset:
        return rows if self.usual in rows.column_names else rows.rename_column(self.name, self.usual)


@dataclass(frozen=True)
class NumbersAsText(ColumnConversion):
    """A column of numbers or dates that is read as the texts that are written there."""

    @property
    def sentence(self) -> str:
        return f"the numbers in {self.column} are read as texts"

    def apply(self, rows: Dataset) -> Dataset:
        texts = [None if cell is None else str(cell) for cell in rows[self.column][:]]
        return rows.remove_columns(self.column).add_column(self.column, texts).select_columns(rows.column_names)
