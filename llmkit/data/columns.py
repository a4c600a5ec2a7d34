"""What the features of a dataset's columns can hold, and the cells of a row."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmkit.errors import DataError
from llmkit.errors.characters import require_characters
from llmkit.errors.phrases import MAX_QUOTATION

if TYPE_CHECKING:
    import numpy.typing as npt
    from datasets import Dataset

NULLS_OF_PANDAS = ("NAType", "NaTType")

Row = Mapping[str, Any]  # the cells of a row of a dataset or of a file, by column


def dataset_of(columns: Mapping[str, Sequence[Any]]) -> Dataset:
    """Return columns as a dataset in memory."""
    from datasets import Dataset

    return Dataset.from_dict(columns)


def dataset_of_rows(rows: Sequence[Row]) -> Dataset:
    """Return rows as a dataset in memory, with the columns of the first."""
    from datasets import Dataset

    return Dataset.from_list([dict(row) for row in rows])


def concatenated(parts: Sequence[Dataset]) -> Dataset:
    """Return the rows of datasets of the same columns, one after the other."""
    from datasets import concatenate_datasets

    return concatenate_datasets(parts)


def text_of(value: object) -> str:
    """Return the text of a cell, blank where there is none; 0 and False are something: 0 and false, as in JSON."""
    return "" if is_nothing(value) else str(value).lower() if isinstance(value, bool | np.bool_) else str(value)


def is_nothing(value: object) -> bool:
    """Tell whether a cell is null: None, or what a table has in its place, as NaN among numbers and pandas' NA."""
    if value is None or isinstance(value, str):
        return value is None
    if isinstance(value, float | np.floating):
        return bool(value != value)
    return type(value).__name__ in NULLS_OF_PANDAS


def names_of(rows: Iterable[Row]) -> list[str]:
    """Return the names of the columns that any of the rows has, in the order in which they come."""
    return list(dict.fromkeys(name for row in rows for name in row))


def prompt_cells(rows: Sequence[Row], column: str) -> list[str | None]:
    """Return the text of each cell of a column; None where there is none, or only white space.

    Raises:
        DataError: a cell holds no text; its row is named, from 1.
    """
    return [input_text(row.get(column), column, number) or None for number, row in enumerate(rows, start=1)]


def input_text(value: object, role: str, number: int) -> str:
    """Return the text of a cell of row `number`: a number as it is written, the empty text for what holds nothing.

    Raises:
        DataError: it holds something else, as a list.
    """
    if isinstance(value, list | dict) and not value:
        return ""
    if isinstance(value, list | tuple | dict | set | bytes | np.ndarray):
        kind = kind_of(value)
        raise DataError(f"row {number}: its {role} is {kind}, {_as_written(value)}; a text is wanted")
    text = text_of(value)
    return text if text.strip() else ""


def input_list(value: object, role: str, number: int) -> object:
    """Return a cell of row `number` that holds a list of texts, also one under `text`; numbers as they are written.

    Raises:
        DataError: it holds none, or one of its items is no text.
    """
    if isinstance(value, Mapping):
        lists = {name: cell for name, cell in value.items() if name in {"text", "label"} and cell is not None}
        if not isinstance(lists.get("text"), list):
            raise DataError(f"row {number}: its {role} are {_as_written(value)}; a list of texts is wanted")
        return {name: input_list(cell, role, number) for name, cell in lists.items()}
    if not isinstance(value, list | tuple):
        raise DataError(f"row {number}: its {role} are {_as_written(value)}; a list of texts is wanted")
    odd = next((item for item in value if isinstance(item, list | dict | bytes)), None)
    if odd is not None:
        raise DataError(f"row {number}: one of its {role} is {kind_of(odd)}, {_as_written(odd)}; a text is wanted")
    return [None if is_nothing(item) else text_of(item) for item in value]


def given_texts(texts: object, what: str = "texts") -> list[Any]:
    """Return the texts of a call from Python, of which one can stand alone.

    Raises:
        DataError: they are no texts, or one of them holds half of a character.
    """
    if isinstance(texts, str | bytes):
        texts = [texts]
    if isinstance(texts, Mapping) or not isinstance(texts, Iterable):
        raise DataError(f"the {what} are of the type {type(texts).__name__}; a text, or a list of texts, is wanted")
    listed = list(texts)
    for number, text in enumerate(listed, start=1):
        require_characters(text, f"text {number} of the {what}")
    return listed


def kind_of(value: object) -> str:
    """Return what a cell holds, as an error calls it."""
    if isinstance(value, str):
        return "a text"
    if isinstance(value, bytes):
        return "binary data"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list) and value and all(isinstance(item, dict) and "role" in item for item in value):
        return "a conversation, a list of messages"
    return "a list"


def _as_written(value: object) -> str:
    """Return a value as JSON writes it, cut where it is long."""
    items = list(value) if isinstance(value, set | tuple | np.ndarray) else value
    text = json.dumps(items, ensure_ascii=False, default=str)
    return text if len(text) <= MAX_QUOTATION else f"{text[: MAX_QUOTATION - 3]}..."


def cells_of(dataset: Dataset, column: str) -> pa.ChunkedArray:
    """Return the cells of a column as arrow holds them, in the order of the rows."""
    table = dataset.select_columns([column]).with_format("arrow")[:]
    return table.column(column)


def are_blank(dataset: Dataset, column: str) -> npt.NDArray[np.bool_]:
    """Tell of each row whether a column holds nothing, null, white space or an empty list: (n,)."""
    cells = cells_of(dataset, column)
    blank = cells.is_null()
    if is_text_type(cells.type):
        blank = pc.or_kleene(blank, pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(cells)), 0))
    elif is_list_type(cells.type):
        blank = pc.or_kleene(blank, pc.equal(pc.list_value_length(cells), 0))
    found: npt.NDArray[np.bool_] = blank.to_numpy().astype(bool)
    return found


def is_text_type(kind: pa.DataType) -> bool:
    """Tell whether arrow's type is one of texts."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_list_type(kind: pa.DataType) -> bool:
    """Tell whether arrow's type is one of lists."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def class_names(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the names of classes in cells of any type: 1 for 1.0, true for True, null for NaN and blank texts."""
    kind = cells.type
    if pa.types.is_boolean(kind):
        return pc.if_else(cells, "true", "false")
    if not pa.types.is_floating(kind) and not pa.types.is_decimal(kind):
        names = pc.utf8_trim_whitespace(pc.cast(cells, pa.large_string()))
        return pc.if_else(pc.equal(names, ""), None, names)
    values = pc.cast(cells, pa.float64(), safe=False)
    whole = pc.and_(pc.equal(pc.trunc(values), values), pc.less(pc.abs(values), float(1 << 53)))
    integers = pc.cast(pc.if_else(whole, values, 0), pa.int64())
    names = pc.if_else(whole, pc.cast(integers, pa.large_string()), pc.cast(values, pa.large_string()))
    return pc.if_else(pc.is_nan(values), None, names)


def string_columns(dataset: Dataset) -> list[str]:
    """Return the names of the columns that hold strings."""
    return [name for name, kind in dataset.features.items() if is_string(kind)]


def is_string(feature: object) -> bool:
    """Tell whether a feature holds one string."""
    from datasets import Value

    return isinstance(feature, Value) and feature.dtype in {"string", "large_string"}


def item_of(feature: object) -> object:
    """Return the feature of the items of a list, or None where it is no list."""
    return getattr(feature, "feature", None)


def is_label(feature: object) -> bool:
    """Tell whether a feature can hold a label: a class, a string, an integer, a boolean or a float."""
    from datasets import ClassLabel, Value

    if isinstance(feature, ClassLabel):
        return True
    return isinstance(feature, Value) and feature.dtype.startswith(
        ("string", "large_string", "int", "uint", "bool", "float", "null")
    )


def usual_among(names: Iterable[str], usual: Sequence[str]) -> list[str]:
    """Return those of the columns' names that are usual, in upper or lower case, the most usual first."""
    by_lower_case = {name.lower(): name for name in names}
    return [by_lower_case[name] for name in usual if name in by_lower_case]


def longest_text(dataset: Dataset, names: Sequence[str]) -> str:
    """Return the column with the most characters, judged on the first 1,000 rows."""
    head = dataset.select(range(min(1000, len(dataset))))
    return max(names, key=lambda name: sum(len(text_of(text)) for text in head[name]))


def column_for(rows: Sequence[Row], role: str, given: dict[str, str], usual: Sequence[str]) -> str:
    """Return the column that holds a role: the one given, a usual name, or the only column of strings.

    Raises:
        DataError: the column does not exist, or none can be told.
    """
    names = names_of(rows)
    chosen = given.get(role)
    if chosen is not None and chosen not in names:
        raise DataError(f"there is no column {chosen!r} for {role}; the file has {', '.join(names)}")
    strings = [name for name in names if {type(row.get(name)) for row in rows} <= {str, type(None)}]
    column = chosen or next((name for name in usual if name in names), None)
    if column is None and len(strings) == 1:
        column = strings[0]
    if column is None:
        raise DataError(f"which column holds the {role}? Say --column {role}=NAME; the file has {', '.join(names)}")
    return column


def with_answer(row: Row, answer: Row) -> dict[str, Any]:
    """Return the row with its answer; a column of the answer's name is kept as `input_NAME`."""
    names, columns = {*row, *answer}, {}
    for name, value in row.items():
        free = name
        while free in answer or (free != name and free in names):
            free = f"input_{free}"
        columns[free] = value
    return {**columns, **answer}
