"""What the cells of a label column hold over all splits: their types, and numbers or names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmkit.data.columns import cells_of
from llmkit.data.conversions.labels.written_numbers import NOT_FINITE, NumberStyle, parsed, style_of, trimmed

if TYPE_CHECKING:
    import numpy.typing as npt
    from datasets import Dataset

Kind = Literal["classes", "booleans", "integers", "floats", "text", "blank", "other"]

TRUE_OR_FALSE = ("true", "false")
FEW = 10  # distinct numbers, up to which they are classes where they repeat
NEARLY_ALL = 0.8  # of the numbers differ: they measure something
MEASURES = re.compile(  # words of a column's name that say that its numbers measure something
    "scores?|ratings?|points|prices?|costs?|age|years?|percent|percentage|similarity|relatedness|grade|temperature|"
    "length|amount|value|quality|difficulty|likes|votes|views|count|stars|salary|weight|height|"
    "分数|评分|得分|价格|年龄|note|punkte|preis|puntuacion|precio|nota"
)


def kind_of(feature: object) -> Kind:
    """Return what the cells of a column of that type are, taken as labels."""
    from datasets import ClassLabel, Value

    if isinstance(feature, ClassLabel):
        return "classes"
    dtype = feature.dtype if isinstance(feature, Value) else ""
    beginnings: tuple[tuple[str, Kind], ...] = (
        ("bool", "booleans"),
        ("int", "integers"),
        ("uint", "integers"),
        ("float", "floats"),
        ("decimal", "floats"),
        ("string", "text"),
        ("large_string", "text"),
        ("null", "blank"),
    )
    return next((kind for start, kind in beginnings if dtype.startswith(start)), "other")


@dataclass(frozen=True)
class LabelEvidence:
    """The distinct filled cells of a label column in all splits."""

    column: str
    kinds: frozenset[Kind]
    texts: pa.Array  # distinct trimmed texts, with those of numbers where texts are beside them
    numbers: npt.NDArray[np.float64]  # distinct numbers of columns that hold such
    rows: int  # filled cells of the first split
    distinct: int  # and how many differ

    @cached_property
    def style(self) -> NumberStyle | None:
        """How all texts are written where they are numbers; None where one is not, or there is none."""
        return style_of(self.texts) if len(self.texts) else None

    @cached_property
    def values(self) -> npt.NDArray[np.float64]:
        """All distinct numbers, those written as text among them; NaN is none."""
        written = parsed(self.texts, self.style).to_numpy(zero_copy_only=False) if self.style else np.empty(0)
        values = np.concatenate([self.numbers, written.astype(np.float64)])
        return np.unique(values[~np.isnan(values)])

    @property
    def is_whole(self) -> bool:
        """Whether no number has a fraction, and all can be told apart as integers."""
        return bool(np.all(np.isfinite(self.values) & (self.values == np.trunc(self.values)))) and bool(
            np.all(np.abs(self.values) < 2**53)
        )

    @property
    def is_boolean(self) -> bool:
        """Whether the texts are true and false, in any case."""
        return bool(pc.all(pc.is_in(pc.utf8_lower(self.texts), pa.array(TRUE_OR_FALSE, self.texts.type))).as_py())

    @property
    def measures(self) -> bool:
        """Whether whole numbers measure something: nearly all differ, or many do in a column that is called a score."""
        nearly_all = self.distinct >= NEARLY_ALL * self.rows
        return self.distinct > FEW and (nearly_all or self.is_called_measure)

    @property
    def is_called_measure(self) -> bool:
        """Whether the column has the name of a quantity: score, avg_rating."""
        words = re.findall(r"[^\W\d_]+?(?=[A-Z][a-z]|[\W\d_]|$)", self.column)
        return any(MEASURES.fullmatch(word.lower()) for word in words)

    def examples(self, most: int = 3) -> str:
        """Return the first texts, or else numbers, as a quotation."""
        if len(self.texts):
            return ", ".join(self.texts.slice(0, most).to_pylist())
        return ", ".join(repr(float(value)) for value in self.values[:most])


def evidence_of(parts: Mapping[str, Dataset], column: str) -> LabelEvidence:
    """Return what a label column holds; the first part is the one that is trained on."""
    kinds = {name: kind_of(part.features[column]) for name, part in parts.items()}
    first = next((name for name, kind in kinds.items() if kind != "blank"), next(iter(parts)))
    texts, numbers, sizes = [pa.array([], pa.large_string())], [np.empty(0)], (0, 0)
    for name, part in parts.items():
        if kinds[name] not in {"text", "integers", "floats"}:
            continue
        counts = pc.value_counts(_filled(cells_of(part, column), kinds[name]))
        values, times = counts.field(0), counts.field(1)
        if name == first:
            missing = pc.match_substring_regex(values, NOT_FINITE) if kinds[name] == "text" else pc.is_nan(values)
            sizes = (
                int(pc.sum(pc.filter(times, pc.invert(missing))).as_py() or 0),
                int(len(values) - missing.true_count),
            )
        if kinds[name] == "text":
            texts.append(values)
        else:
            numbers.append(pc.cast(values, pa.float64()).to_numpy(zero_copy_only=False))
    distinct = pa.concat_arrays(texts).unique()
    present = frozenset(kind for kind in kinds.values() if kind != "blank")
    return LabelEvidence(column, present, distinct, np.concatenate(numbers), *sizes)


def _filled(cells: pa.ChunkedArray, kind: Kind) -> pa.ChunkedArray:
    cells = trimmed(cells) if kind == "text" else pc.cast(cells, pa.float64(), safe=False)
    return cells.drop_null()
