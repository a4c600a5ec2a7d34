"""The contents of rows as numbers: equal where the contents are equal, exactly, in seconds for a million rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from llmkit.data.columns import cells_of, is_list_type, is_text_type
from llmkit.metrics.observations import Bools, Ints

ROWS_PER_SLICE = 10_000  # that are written as JSON at once


def content_codes(parts: Sequence[Dataset], columns: Sequence[str]) -> list[Ints]:
    """Return a number for each row of each part, (n,): two rows have the same where all the columns hold the same.

    The numbers count from 0 over all parts. A null is like no value but another null.
    """
    sizes = [len(part) for part in parts]
    codes = _joint([_encoded([cells_of(part, column) for part in parts]) for column in columns])
    return np.split(codes, np.cumsum(sizes)[:-1])


def readable_texts(part: Dataset, columns: Mapping[str, str]) -> list[str]:
    """Return what a person would read of the columns of each row, one below the other."""
    cells = [[_text_of(cell) for cell in cells_of(part, column).to_pylist()] for column in columns.values()]
    return ["\n".join(row) for row in zip(*cells, strict=True)]


def _text_of(cell: object) -> str:
    if isinstance(cell, Mapping):
        return " ".join(map(_text_of, cell.values()))
    if isinstance(cell, list | tuple):
        return " ".join(map(_text_of, cell))
    return "" if cell is None else str(cell)


def _encoded(columns: list[pa.ChunkedArray]) -> Ints:
    """Return the number of each cell among the distinct ones of all columns, from 0; a null is one of them."""
    if len({column.type for column in columns}) > 1:
        columns = [_as_json(column) for column in columns]  # a column of integers here and of strings there
    chunks = [chunk for column in columns for chunk in column.chunks]
    return _numbered(pa.concat_arrays([_wide(chunk) for chunk in chunks])) if chunks else np.empty(0, dtype=np.int64)


def _numbered(cells: pa.Array) -> Ints:
    if pa.types.is_null(cells.type):
        return np.zeros(len(cells), dtype=np.int64)
    if is_list_type(cells.type):
        return _joint([_numbered_lists(cells), cells.is_null().to_numpy(zero_copy_only=False)])
    if pa.types.is_struct(cells.type):
        fields = [_numbered(_wide(field)) for field in cells.flatten()]
        return _joint([*fields, cells.is_null().to_numpy(zero_copy_only=False)])
    indices = cells.dictionary_encode(null_encoding="encode").indices
    numbers: Ints = indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return numbers


def _numbered_lists(cells: pa.Array) -> Ints:
    """Number lists by the numbers of their items, which stand side by side as bytes that arrow compares."""
    items = _numbered(_wide(cells.flatten()))
    sizes = pc.fill_null(pc.list_value_length(cells), 0).to_numpy(zero_copy_only=False)
    ends = np.cumsum(sizes, dtype=np.int64) * items.itemsize
    offsets = pa.py_buffer(np.concatenate([[0], ends]).astype(np.int64))
    rows = pa.Array.from_buffers(pa.large_binary(), len(cells), [None, offsets, pa.py_buffer(items)])
    return _numbered(rows)


def _joint(codes: Sequence[Ints | Bools]) -> Ints:
    """Return a number for each place, (n,): the same where all the codes, (n,) each, are."""
    joint = np.zeros(len(codes[0]), dtype=np.int64)
    for more in codes:
        _, joint = np.unique(joint * (int(more.max(initial=0)) + 1) + more, return_inverse=True)
    return joint.astype(np.int64)


def _wide(cells: pa.Array) -> pa.Array:
    """Return texts with 64-bit offsets: those of a million rows can be more than 2 GiB."""
    return pc.cast(cells, pa.large_string()) if is_text_type(cells.type) else cells


def _as_json(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return cells that arrow cannot compare, lists and structs, written as JSON."""
    starts = range(0, len(column), ROWS_PER_SLICE)
    slices = (column.slice(start, ROWS_PER_SLICE).to_pylist() for start in starts)
    chunks = [pa.array([_json(cell) for cell in cells], type=pa.large_string()) for cells in slices]
    return pa.chunked_array(chunks, type=pa.large_string())


def _json(cell: object) -> str | None:
    return None if cell is None else json.dumps(cell, ensure_ascii=False, default=str, sort_keys=True)
