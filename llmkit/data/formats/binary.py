"""Parquet, Arrow and Feather files: checked before use, with types that JSON has too."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from llmkit.data.formats.part import Part
from llmkit.data.formats.values import as_json
from llmkit.errors import DataError, brief, listing

METADATA = b"huggingface"


def read(where: str, kind: str, data: bytes) -> Part:
    """Return the rows of a file of columns.

    Raises:
        DataError: it is damaged, or no such file.
    """
    try:
        return part_of(where, checked(_table(kind, data)))
    except (OSError, pa.ArrowException, UnicodeError) as error:
        raise DataError(f"{where} is not a readable {kind} file: {brief(error)}") from error


def _table(kind: str, data: bytes) -> pa.Table:
    import pyarrow.parquet

    source = pa.BufferReader(data)
    if kind == "parquet":
        return pyarrow.parquet.read_table(source)
    try:
        return pa.ipc.open_stream(source).read_all()
    except pa.ArrowInvalid:
        return pa.ipc.open_file(source).read_all()


def checked(table: pa.Table) -> pa.Table:
    """Return a table whose lengths and offsets lie within what was read; reading another can end the process.

    Raises:
        pa.ArrowInvalid: it is damaged.
    """
    table.validate(full=True)
    return table


def part_of(where: str, table: pa.Table) -> Part:
    """Return a table with plain types: decimals are floats, dates are text, bytes are text where they are UTF-8."""
    names = table.column_names
    odd = sorted({name for name in names if names.count(name) > 1 or "\0" in name})
    if odd:
        listed = listing(map(repr, odd))
        raise DataError(f"{where}: columns cannot be called {listed}; two have one name, or the file is damaged")
    changed: dict[str, pa.ChunkedArray] = {}
    mixed: dict[str, str] = {}
    for field in table.schema:
        wanted = plain_type(field.type)
        if wanted == field.type:
            continue
        try:
            changed[field.name] = pc.cast(table[field.name], wanted)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            texts = [None if value is None else as_json(value) for value in table[field.name].to_pylist()]
            changed[field.name] = pa.chunked_array([pa.array(texts, pa.string())])
            mixed[field.name] = (
                f"{where}: column {field.name!r} holds {field.type}, which is no text; read another column"
            )
    return Part(where, with_columns(table, changed), mixed=mixed)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type by which values of another one are read."""
    types = pa.types
    if types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if types.is_decimal(kind) or types.is_float16(kind):
        return pa.float64()
    if types.is_large_string(kind) or types.is_string_view(kind):
        return pa.string()
    if types.is_date(kind) or types.is_timestamp(kind) or types.is_time(kind):
        return pa.string()
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind):
        return pa.string()
    if types.is_list(kind) or types.is_large_list(kind) or types.is_list_view(kind) or types.is_large_list_view(kind):
        return pa.list_(plain_type(kind.value_type))
    if types.is_struct(kind):
        return pa.struct([pa.field(field.name, plain_type(field.type)) for field in kind])
    return kind


def with_columns(table: pa.Table, columns: dict[str, pa.ChunkedArray]) -> pa.Table:
    """Return a table with other values in some columns; what `datasets` wrote of the rest of them is kept."""
    if not columns:
        return table
    from datasets import Features
    from datasets.features.features import generate_from_arrow_type

    features = dict(Features.from_arrow_schema(table.schema)) if METADATA in (table.schema.metadata or {}) else None
    for name, values in columns.items():
        table = table.set_column(table.schema.get_field_index(name), name, values)
        if features is not None:
            features[name] = generate_from_arrow_type(values.type)
    if features is None:
        return table
    return table.replace_schema_metadata(Features(features).arrow_schema.metadata)
