"""One type for each column over all files and splits of a dataset; a column that cannot have one is named as mixed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from llmkit.data.formats.binary import METADATA, with_columns
from llmkit.data.formats.part import Part
from llmkit.data.formats.table_types import LOOKS_NUMERIC, converted_cells, written_kind
from llmkit.data.formats.values import as_json
from llmkit.errors import DataError, listing, shortened_repr

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict


NUMBERS = {"int", "float"}
TYPES = {"bool": pa.bool_(), "int": pa.int64(), "float": pa.float64(), "text": pa.string()}
KINDS = {"bool": "true or false", "int": "whole numbers", "float": "numbers", "text": "text"}
SENTENCE_PARTS = 4  # files that a sentence names at most


@dataclass(frozen=True)
class Held:
    """What a column holds in one file."""

    part: Part
    split: str
    values: pa.ChunkedArray
    kind: str  # null, bool, int, float, text, or the type of what arrow holds
    classes: tuple[str, ...] = ()  # the names of the classes that `datasets` wrote as numbers

    @property
    def texts(self) -> pa.ChunkedArray:
        """The values as they are written."""
        return self.values if pa.types.is_string(self.values.type) else pc.cast(self.values, pa.string())

    @property
    def sentence(self) -> str:
        """What it holds, with an example."""
        held = KINDS.get(self.kind, "lists" if self.kind.startswith("list") else "objects")
        value = next((value.as_py() for value in self.values if value.is_valid and value.as_py() != ""), None)
        return f"{self.part.where} holds {held} ({shortened_repr(value)})"


@dataclass(frozen=True)
class Column:
    """A column over all files: the values of each, and why it has no one type, if so."""

    values: Mapping[str, pa.ChunkedArray]  # by file
    mixed: str | None = None


def unified(
    parts: Mapping[str, Sequence[Part]], text_columns: Collection[str] = ()
) -> tuple[DatasetDict, dict[str, str]]:
    """Return the rows of each split with one type for each column, and the columns that have none: why.

    Args:
        parts: the files of each split.
        text_columns: columns that are text, whatever their cells look like, as in rows that were read before.

    Raises:
        DataError: the files of a split cannot be one table.
    """
    from datasets import DatasetDict

    all_parts = [(split, part) for split, group in parts.items() for part in group]
    names = dict.fromkeys(name for _, part in all_parts for name in part.table.column_names)
    mixed: dict[str, str] = {}
    changed: dict[str, dict[str, pa.ChunkedArray]] = {part.where: {} for _, part in all_parts}
    for name in names:
        column = _column(name, all_parts, name in text_columns)
        for where, values in column.values.items():
            changed[where][name] = values
        if column.mixed is not None:
            mixed[name] = column.mixed
    splits = {split: _joined([_dataset(part, changed[part.where]) for part in group]) for split, group in parts.items()}
    return DatasetDict(splits), mixed


def _dataset(part: Part, changed: dict[str, pa.ChunkedArray]) -> Dataset:
    from datasets import Dataset
    from datasets.table import InMemoryTable

    same = {name for name, values in changed.items() if not part.written and values.equals(part.table[name])}
    new = {name: values for name, values in changed.items() if name not in same}
    return Dataset(InMemoryTable(with_columns(part.table, new)))


def _joined(parts: list[Dataset]) -> Dataset:
    from datasets import concatenate_datasets

    try:
        return parts[0] if len(parts) == 1 else concatenate_datasets(parts)
    except (ValueError, pa.ArrowException) as error:
        raise DataError(f"files of one split have columns of different types: {error}") from error


def _column(name: str, parts: Sequence[tuple[str, Part]], is_text: bool) -> Column:
    held = [_held(name, split, part) for split, part in parts if name in part.table.column_names]
    sentence = next((part.mixed[name] for _, part in parts if name in part.mixed), None)
    if is_text and sentence is None and all(one.kind in {"null", *TYPES} for one in held):
        return Column({one.part.where: one.texts for one in held})
    if sentence is None:
        values = _one_type(held)
        if values is not None:
            return Column(values)
    values = {}
    for split in dict.fromkeys(one.split for one in held):
        group = [one for one in held if one.split == split]
        is_mixed = any(name in one.part.mixed for one in group)
        values |= (None if is_mixed else _one_type(group)) or {one.part.where: _as_json(name, one) for one in group}
    return Column(values, sentence or _sentence(name, held))


def _held(name: str, split: str, part: Part) -> Held:
    from datasets import ClassLabel

    values = part.table[name]
    if part.written and name not in part.mixed:
        return Held(part, split, values, written_kind(values))
    feature = _feature(name, part)
    if isinstance(feature, ClassLabel) and feature.names:
        return Held(part, split, values, f"class {feature.names}", tuple(feature.names))
    return Held(part, split, values, _kind_of(values.type))


def _feature(name: str, part: Part) -> object:
    from datasets import Features

    has_features = METADATA in (part.table.schema.metadata or {})
    return Features.from_arrow_schema(part.table.schema).get(name) if has_features else None


def _kind_of(kind: pa.DataType) -> str:
    types = pa.types
    if types.is_null(kind):
        return "null"
    if types.is_boolean(kind):
        return "bool"
    if types.is_integer(kind):
        return "int"
    if types.is_floating(kind):
        return "float"
    return "text" if types.is_string(kind) else str(kind)


def _one_type(held: Sequence[Held]) -> dict[str, pa.ChunkedArray] | None:
    """Return the values of each file in one type, or None where there is none."""
    kinds = {one.kind for one in held} - {"null"}
    if len(kinds) > 1 and any(one.classes for one in held):
        held = [_names_of_classes(one) for one in held]
        kinds = {one.kind for one in held} - {"null"}
    if not kinds:
        return {one.part.where: converted_cells(one.values, "null") for one in held}
    if kinds <= NUMBERS | {"text"} and len(kinds) > 1 and "text" in kinds and not _are_texts(held):
        return None
    if kinds == {"text", "bool"} and not _are_texts(held):
        return None
    if "text" in kinds and kinds <= {"text", "bool", *NUMBERS}:
        return {one.part.where: one.texts for one in held}
    if kinds <= NUMBERS and len(kinds) > 1:
        return _numbers(held)
    if len(kinds) > 1:
        return _wider(held)
    kind = next(iter(kinds))
    types = {one.values.type for one in held if not one.part.written and one.kind != "null"}
    wanted = next(iter(types)) if len(types) == 1 else TYPES.get(kind)
    if types and wanted is None:
        return _wider(held)
    return {one.part.where: _as_type(one, kind, wanted) for one in held}


def _as_type(one: Held, kind: str, wanted: pa.DataType | None) -> pa.ChunkedArray:
    values = one.values
    if one.part.written:
        values = converted_cells(values, "text" if kind == "text" else one.kind)
    if one.kind == "null" and kind == "text" and one.part.written:
        return values
    return values if wanted is None or values.type == wanted else pc.cast(values, wanted)


def _names_of_classes(one: Held) -> Held:
    if not one.classes:
        return one
    numbers = one.values.to_pylist()
    texts = [None if number is None or number < 0 else one.classes[number] for number in numbers]
    return replace(one, values=pa.chunked_array([pa.array(texts, pa.string())]), kind="text", classes=())


def _are_texts(held: Sequence[Held]) -> bool:
    """Tell whether files with numbers and files with text hold one kind of text: some texts are numbers, or the same.

    Labels 0 and 1 in one file, and negative and positive in another, are two ways to write labels.
    """
    texts = [one for one in held if one.kind == "text"]
    others = [one for one in held if one.kind not in {"text", "null"}]
    if any(one.kind == "float" and not one.part.written for one in others):
        return False
    values = pc.unique(pa.chunked_array([chunk for one in others for chunk in one.texts.chunks], pa.string()))
    for one in texts:
        cells = pc.utf8_trim_whitespace(one.values)
        if {other.kind for other in others} <= NUMBERS and pc.any(
            pc.match_substring_regex(cells, LOOKS_NUMERIC)
        ).as_py():
            return True
        if pc.any(pc.is_in(cells, values.filter(pc.not_equal(values, "")))).as_py():
            return True
    return False


def _numbers(held: Sequence[Held]) -> dict[str, pa.ChunkedArray]:
    """Return whole and other numbers as one type: whole where all are, as 0.0 and 1.0 are 0 and 1."""
    values = {one.part.where: converted_cells(one.values, one.kind) if one.part.written else one.values for one in held}
    floats = [column for column in values.values() if pa.types.is_floating(column.type)]
    wanted = pa.int64() if all(_is_whole(column) for column in floats) else pa.float64()
    try:
        return {where: pc.cast(column, wanted) for where, column in values.items()}
    except pa.ArrowInvalid:  # an integer that a float does not hold
        return {where: pc.cast(column, pa.float64(), safe=False) for where, column in values.items()}


def _is_whole(column: pa.ChunkedArray) -> bool:
    fits = pc.and_(pc.equal(pc.floor(column), column), pc.less(pc.abs(column), 2.0**53))
    return pc.all(fits).as_py() is not False


def _wider(held: Sequence[Held]) -> dict[str, pa.ChunkedArray] | None:
    """Return lists and objects of several files in the type that holds all of them, if there is one."""
    if any(one.kind in TYPES or one.classes for one in held):
        return None
    schemas = [pa.schema([pa.field("_", one.values.type)]) for one in held if one.kind != "null"]
    try:
        wanted = pa.unify_schemas(schemas, promote_options="permissive").field(0).type
        return {
            one.part.where: pc.cast(converted_cells(one.values, "null"), wanted)
            if one.kind == "null"
            else pc.cast(one.values, wanted)
            for one in held
        }
    except pa.ArrowException:
        return None


def _as_json(name: str, one: Held) -> pa.ChunkedArray:
    if name in one.part.mixed:
        return one.values
    values = converted_cells(one.values, one.kind) if one.part.written else one.values
    texts = [None if value is None else as_json(value) for value in values.to_pylist()]
    return pa.chunked_array([pa.array(texts, pa.string())])


def _sentence(name: str, held: Sequence[Held]) -> str:
    kinds: dict[str, Held] = {}
    for one in held:
        if one.kind != "null":
            kinds.setdefault(one.kind, one)
    holdings = listing([one.sentence for one in kinds.values()][:SENTENCE_PARTS])
    return f"column {name!r} has no one type: {holdings}; write it alike in all files"


def between_splits(splits: DatasetDict) -> dict[str, str]:
    """Return the columns that hold text in one split and numbers in another, or truth values: what they hold."""
    mixed: dict[str, str] = {}
    for name in dict.fromkeys(name for part in splits.values() for name in part.column_names):
        having = {split: part for split, part in splits.items() if name in part.column_names}
        types = {split: part.data.schema.field(name).type for split, part in having.items()}
        kinds = {_kind_of(kind) for kind in types.values()}
        if len({"number" if kind in NUMBERS else kind for kind in kinds} & {"number", "bool", "text"}) > 1:
            holdings = listing(f"{split} holds {kind}" for split, kind in types.items())
            mixed[name] = f"column {name!r} has no one type: {holdings}; write it alike in all splits"
    return mixed
