"""Labels of which several hold, as people have them: names in one cell, columns of 0 and 1, lists of 0 and 1."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmkit.data.columns import is_string, item_of
from llmkit.data.conversions.base import ColumnConversion, Conversion
from llmkit.data.conversions.questions.answer_spans import is_blank
from llmkit.data.conversions.writing import with_column
from llmkit.data.label_sets import as_list, declared_in
from llmkit.data.predictions import cell_text
from llmkit.errors import DataError, listing, shortened

if TYPE_CHECKING:
    from datasets import Dataset

SEPARATORS = ("|", ";", ",", "\t", "、", "\uff0c", "\uff1b", "\uff5c", "\n")  # also full-width ones
SPELLED_SEPARATORS = {"\\t": "\t", "tab": "\t", "\\n": "\n"}  # as a command line can name them
MAX_NAME = 40  # characters of a label's name
MAX_WORDS = 4
RECURRING = 0.6  # the share of names that are elsewhere alone or beside other names: those of a list recur
LEAST_COLUMNS = 3  # of 0 and 1 that are labels where nobody names them
SINGLE_LABELS = frozenset({"label", "labels", "target", "targets", "class", "category", "y", "标签", "类别"})
BITS = {"0": 0, "1": 1, "true": 1, "false": 0}


@dataclass(frozen=True)
class SeparatedLabels(ColumnConversion):
    """Names in one cell, split at a separator; a blank cell has no list."""

    separator: str
    decided: bool = False  # by what cells hold, not by a flag

    @property
    def sentence(self) -> str:
        why = ", as names recur in other combinations" if self.decided else ""
        other = " (--task text-classification takes each cell as one label)" if self.decided else ""
        return f"labels of {self.column!r} are split at {self.separator!r}{why}{other}"

    def apply(self, rows: Dataset) -> Dataset:
        from datasets import List, Value

        if item_of(rows.features[self.column]) is not None:
            return rows
        cells = [None if is_blank(cell) else names_in(cell_text(cell), self.separator) for cell in rows[self.column][:]]
        return with_column(rows, self.column, cells, List(Value("string")))


@dataclass(frozen=True)
class IndicatorLabels(Conversion):
    """Columns of 0 and 1, each named as the label that holds where it is 1; all of them blank or -1 is no list."""

    columns: tuple[str, ...]

    @property
    def reads(self) -> tuple[str, ...]:
        return self.columns

    @property
    def writes(self) -> tuple[str, ...]:
        return ("labels",)

    @property
    def sentence(self) -> str:
        return (
            f"labels={','.join(self.columns)}: columns of 0 and 1 are labels by their names "
            "(--column labels=NAME,NAME takes others)"
        )

    def apply(self, rows: Dataset) -> Dataset:
        from datasets import ClassLabel, List

        table = zip(*(rows[name][:] for name in self.columns), strict=True)
        cells = [self._labels(cells, number) for number, cells in enumerate(table, start=1)]
        return with_column(rows, "labels", cells, List(ClassLabel(names=list(self.columns))))

    def _labels(self, cells: Sequence[object], number: int) -> list[int] | None:
        if all(is_blank(cell) or cell_text(cell).strip() == "-1" for cell in cells):
            return None  # a row to predict
        bits = [_bit(cell) for cell in cells]
        if None in bits:
            place = bits.index(None)
            found = "blank" if is_blank(cells[place]) else shortened(cells[place])
            raise DataError(f"row {number}: column {self.columns[place]!r} is {found}, and 0 or 1 is wanted")
        return [place for place, bit in enumerate(bits) if bit]


@dataclass(frozen=True)
class VectorLabels(ColumnConversion):
    """Lists of 0 and 1, one for each label in turn; a null is no list."""

    names: tuple[str, ...]

    @property
    def sentence(self) -> str:
        names = listing(self.names[:6]) + (", ..." if len(self.names) > 6 else "")
        return f"each list of {self.column!r} says by 1 which of {len(self.names)} labels hold: {names}, in this order"

    def apply(self, rows: Dataset) -> Dataset:
        from datasets import ClassLabel, List

        cells = [self._labels(cell, number) for number, cell in enumerate(rows[self.column][:], start=1)]
        return with_column(rows, self.column, cells, List(ClassLabel(names=list(self.names))))

    def _labels(self, cell: object, number: int) -> list[int] | None:
        if is_blank(cell):
            return None
        bits = _bits(cell)
        if bits is None or len(bits) != len(self.names):
            raise DataError(
                f"row {number}: column {self.column!r} is {shortened(cell)}, and a list of {len(self.names)} numbers, "
                "each 0 or 1, is wanted"
            )
        return [place for place, bit in enumerate(bits) if bit]


def names_in(cell: str, separator: str) -> list[str]:
    """Return the names in a cell; blank ones, as after a last separator, are none."""
    return [name for name in map(str.strip, cell.split(separator)) if name]


def likely_separator(rows: Dataset, column: str) -> str | None:
    """Return what separates the names of labels in cells, or None: most names recur, alone or beside other names."""
    if not is_string(rows.features.get(column)):
        return None
    distinct = {cell.strip() for cell in rows[column][:] if not is_blank(cell)}
    if any(isinstance(as_list(cell), list) for cell in distinct):
        return None
    found = [separator for separator in SEPARATORS if _separates(distinct, separator)]
    return max(found, key=lambda separator: sum(separator in cell for cell in distinct), default=None)


def find_separated(rows: Dataset, column: str, separator: str | None = None) -> SeparatedLabels | None:
    """Return how cells are split into names at --label-separator, or else where names recur; None: they are not.

    Raises:
        DataError: no cell holds the separator that was asked for.
    """
    if separator is None:
        likely = likely_separator(rows, column)
        return None if likely is None else SeparatedLabels(column, likely, decided=True)
    separator = SPELLED_SEPARATORS.get(separator, separator)
    if not any(separator in cell for cell in rows[column][:] if isinstance(cell, str)):
        raise DataError(f"no cell of column {column!r} holds --label-separator {separator!r}")
    return SeparatedLabels(column, separator)


def indicator_columns(rows: Dataset) -> tuple[str, ...]:
    """Return the columns that hold nothing but 0 and 1, or true and false, and 0 in some row."""
    return tuple(name for name in rows.column_names if _is_indicator(rows, name))


def find_indicators(rows: Dataset, names: Sequence[str] | None = None) -> IndicatorLabels | None:
    """Return how columns of 0 and 1 are made into lists of labels: those named, or all of them; None: there are none.

    Unless they are named, three or more are wanted, two of which hold a 1, and none with the name of a single label.
    """
    if names is not None:
        return IndicatorLabels(tuple(names)) if len(names) > 1 else None
    columns = _of_one_kind(rows, indicator_columns(rows))
    if len(columns) < LEAST_COLUMNS or any(name.lower() in SINGLE_LABELS for name in columns):
        return None
    used = [name for name in columns if any(_bit(cell) for cell in rows[name][:])]
    return IndicatorLabels(columns) if len(used) > 1 else None


def _of_one_kind(rows: Dataset, columns: Sequence[str]) -> tuple[str, ...]:
    """Return those columns that hold what most hold: True beside many of 0 and 1 says something else of a row."""
    kinds = {name: getattr(rows.features[name], "dtype", "") == "bool" for name in columns}
    usual = Counter(kinds.values()).most_common(1)
    return tuple(name for name in columns if usual and kinds[name] == usual[0][0])


def find_vectors(rows: Dataset, column: str, names: Sequence[str] | None = None) -> VectorLabels | None:
    """Return how lists of 0 and 1 are made into lists of labels, or None where they hold names or ids.

    They are named by `names`, by the classes that the column declares, or else 0, 1, ...
    """
    lists = [_bits(cell) for cell in rows[column][:] if not is_blank(cell)]
    bits = [row for row in lists if row is not None]
    sizes = {len(row) for row in bits}
    if not bits or len(bits) < len(lists) or len(sizes) > 1 or min(sizes) < 2:
        return None
    size = min(sizes)
    declared = list(names or declared_in(rows, column))
    return VectorLabels(column, tuple(declared if len(declared) == size else map(str, range(size))))


def named_columns(value: str, names: Sequence[str]) -> tuple[str, ...] | None:
    """Return the columns that a list with commas names, as in --column labels=toxic,obscene, or None."""
    parts = tuple(part.strip() for part in value.split(","))
    return parts if value not in names and len(parts) > 1 and set(parts) <= set(names) else None


def _separates(cells: set[str], separator: str) -> bool:
    lists = [names_in(cell, separator) for cell in cells]
    if not any(len(names) > 1 for names in lists):
        return False
    if any(len(name) > MAX_NAME or len(name.split()) > MAX_WORDS for names in lists for name in names):
        return False
    cells_of = Counter(name for names in lists for name in set(names))
    several = [name for names in lists if len(names) > 1 for name in names]
    return sum(cells_of[name] > 1 for name in several) >= RECURRING * len(several)


def _is_indicator(rows: Dataset, column: str) -> bool:
    from datasets import Value

    feature = rows.features[column]
    if not isinstance(feature, Value) or feature.dtype == "null":
        return False
    distinct = {_bit(cell) for cell in rows.unique(column) if not is_blank(cell)}
    return 0 in distinct and distinct <= {0, 1}


def _bits(cell: object) -> list[int] | None:
    value = as_list(cell)
    bits = [_bit(item) for item in value] if isinstance(value, list) else [None]
    known = [bit for bit in bits if bit is not None]
    return known if len(known) == len(bits) else None


def _bit(cell: object) -> int | None:
    """Return 0 or 1 for what spells it: an integer, a float, a boolean or a text; None for anything else."""
    return None if isinstance(cell, list | dict) else BITS.get(cell_text(cell).strip().lower())
