"""Rows of a dataset with a name, and the numbers that a person counts them by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Part:
    """Rows of a dataset, usually those of a split."""

    name: str
    rows: Dataset
    numbers: Sequence[int] | None = None  # those that a person counts the rows by, from 1; None: all, in their order
    named: bool = True  # whether a person can find rows by numbers
    filtered: bool = False  # whether rows that cannot be used were left out, and the user knows

    def number(self, place: int) -> int:
        """Return the number of the row at a place."""
        return place + 1 if self.numbers is None else self.numbers[place]
