"""What every kind of observations is: arrays with an entry for each unit, written as columns and read back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from llmkit.output.result_parts import Label, RowColumns

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Columns = Mapping[str, Any]  # read from JSON: any value, until `from_columns` has made arrays of it


@dataclass(frozen=True, eq=False)
class Observations(ABC):
    """What was observed of each unit: see `KINDS`.

    What is right of a unit is in the field `truth`, what was answered in `predicted`, where there is such a thing.
    """

    kind: ClassVar[str]  # its name in the `rows` of a result
    per_unit: ClassVar[tuple[str, ...]] = ("truth", "predicted")  # the fields that have an entry for each unit

    def __len__(self) -> int:
        return len(getattr(self, self.per_unit[0]))

    def take(self, units: Sequence[int] | Ints) -> Self:
        """Return some of the units, in the given order."""
        index = np.asarray(units, dtype=np.int64)
        return replace(self, **{name: _taken(getattr(self, name), index) for name in self.per_unit})

    def labels(self) -> list[Label] | None:
        """Return what is right of each unit, as a person reads it; None where nothing is."""
        return _plain(getattr(self, "truth", None))

    def predictions(self) -> list[Label] | None:
        """Return what was answered of each unit, spelled as `labels` spells what is right; None where nothing was."""
        return _plain(getattr(self, "predicted", None))

    def to_columns(self) -> RowColumns:
        """Return the units as plain lists, an entry for each; what holds for all of them stands beside the lists."""
        return {"label": self.labels(), "prediction": self.predictions()}

    @classmethod
    @abstractmethod
    def from_columns(cls, columns: Columns) -> Self:
        """Return what `to_columns` wrote.

        Raises:
            KeyError, ValueError, TypeError: it is something else.
        """


def _taken(values: Any, index: Ints) -> Any:
    """Return the entries at some places of an array, of a tuple, or of each array of a mapping."""
    if isinstance(values, Mapping):
        return {name: array[index] for name, array in values.items()}
    return tuple(values[i] for i in index) if isinstance(values, tuple) else None if values is None else values[index]


def _plain(values: Any) -> list[Label] | None:
    """Return an array, or a tuple of texts or of tuples, as lists."""
    if values is None or isinstance(values, np.ndarray):
        return None if values is None else list(values.tolist())
    return [list(value) if isinstance(value, tuple) else value for value in values]


def floats(column: npt.ArrayLike | None) -> Floats | None:
    """Return a column of numbers as an array, (n,) or (n, m); None where there is none."""
    return None if column is None else np.array(column, dtype=np.float64)


def ints(column: npt.ArrayLike | None) -> Ints | None:
    """Return a column of whole numbers as an array, (n,); None where there is none."""
    return None if column is None else np.array(column, dtype=np.int64)
