"""What a conversion is: some columns of rows read in another way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasets import Dataset


class Conversion(ABC):
    """Some columns of rows read in another way; a frozen dataclass that holds what was found in the rows."""

    @property
    @abstractmethod
    def reads(self) -> tuple[str, ...]:
        """The columns that it reads."""

    @property
    @abstractmethod
    def writes(self) -> tuple[str, ...]:
        """The columns that it adds or replaces."""

    @property
    @abstractmethod
    def sentence(self) -> str:
        """What is said of it, with the flag for another reading where there is one."""

    @abstractmethod
    def apply(self, rows: Dataset) -> Dataset:
        """Return rows with the columns `writes`; rows without the columns `reads` are returned as they are.

        Raises:
            DataError: a row cannot be read so; its number is named, from 1.
        """


@dataclass(frozen=True)
class ColumnConversion(Conversion):
    """One column read in another way, under its own name."""

    column: str

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.column,)

    @property
    def writes(self) -> tuple[str, ...]:
        return (self.column,)


def converted(rows: Dataset, conversions: Iterable[Conversion]) -> Dataset:
    """Return rows with all conversions applied, one after the other."""
    for conversion in conversions:
        if set(conversion.reads) <= set(rows.column_names):
            rows = conversion.apply(rows)
    return rows
