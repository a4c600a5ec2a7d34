"""JSON as people have it: lines, one array, objects over several lines, a list under a key, what pandas writes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import TypeGuard

from llmkit.data.formats.annotations import read_annotations
from llmkit.data.formats.headers import NAMES
from llmkit.data.formats.part import FileRow
from llmkit.data.formats.squad import read_squad
from llmkit.errors import DataError, listing

Rows = tuple[list[FileRow], tuple[str, ...]]  # and what is said of how they were found

LISTS_OF_A_ROW = """
    messages conversations conversation dialog dialogue turns chat history tools functions chosen rejected prompt
    completion answers entities spans labels annotations tokens tags choices options relations links
"""
TURNS = frozenset(LISTS_OF_A_ROW.split())  # lists of objects that are a value of one row
TEXTS_OF_A_ROW = "text sentence review content body comment question context prompt instruction input document"
TEXTS = frozenset(TEXTS_OF_A_ROW.split())
ANNOTATIONS = "texts and their spans, as annotation tools write them, are the rows"
_Decoded = list[tuple[str, object]]


class _NamedTwice(ValueError):
    """An object has two values of one name."""


def _object(pairs: _Decoded) -> FileRow:
    """Return an object; Python's own decoder keeps the last of two values of one name.

    Raises:
        _NamedTwice: they differ.
    """
    made = dict(pairs)
    if len(made) < len(pairs):
        for name, value in pairs:
            if made[name] != value:
                raise _NamedTwice(name)
    return made


DECODER = json.JSONDecoder(object_pairs_hook=_object)
DEEP = "values are nested too deeply, or a number has thousands of digits; such a value cannot be read"


def json_rows(text: str, kind: str, where: str) -> Rows:
    """Return the objects of a JSON file, or of JSON lines.

    Raises:
        DataError: it is no JSON, which names the line, or holds no list of objects.
    """
    if kind == "jsonl":
        return _of_lines(text, where)
    try:
        value = _loaded(text, where)
    except json.JSONDecodeError as error:
        if text.lstrip().startswith("{") and error.msg == "Extra data":  # lines of objects under the name .json
            return _of_lines(text, where)
        raise DataError(f"{where}, line {error.lineno}: not JSON: {error.msg}") from None
    return rows_of_value(value, where)


def is_json(text: str) -> bool:
    """Tell whether a text is an object, lines of objects, or a list; a text can begin with [1] as well."""
    if not text.lstrip().startswith("["):
        return text.lstrip().startswith("{")
    try:
        return isinstance(json.loads(text), list)
    except (ValueError, RecursionError):
        return False


def _loaded(text: str, where: str) -> object:
    try:
        return DECODER.decode(text)
    except json.JSONDecodeError:
        raise
    except _NamedTwice as error:
        raise DataError(f"{where}: an object names {str(error)!r} twice, with two values; rename one") from None
    except (ValueError, RecursionError):
        raise DataError(f"{where}: {DEEP}") from None


def _of_lines(text: str, where: str) -> Rows:
    start = text.lstrip()[:1]
    if start == "[":
        try:
            value = _loaded(text, where)
        except json.JSONDecodeError:
            return _of_arrays(text, where)
        if isinstance(value, list) and all(isinstance(row, dict) for row in value):
            return value, ("holds one JSON array and not a row in each line; its objects are the rows",)
        return rows_of_value(value, where)
    try:
        lines = json_lines(text, where)
        claimed = read_annotations(lines, where)
        if claimed is not None:
            return claimed, (ANNOTATIONS,)
        return read_squad(lines, where) or lines, ()
    except DataError:
        rows = _objects_over_lines(text)
        if rows is None:
            raise
    if len(rows) == 1:
        return rows_of_value(rows[0], where)
    return rows, ("objects go over several lines; each is a row",)


def _of_arrays(text: str, where: str) -> Rows:
    """Return the rows of lines that hold an array each: spaCy's pairs, or the messages of a conversation."""
    try:
        values = [DECODER.decode(line) for line in text.split("\n") if line.strip()]
    except (ValueError, RecursionError):
        values = []
    claimed = read_annotations(values, where) if values else None
    if claimed is not None:
        return claimed, (ANNOTATIONS,)
    return _of_messages(values) or (json_lines(text, where), ())


def _of_messages(values: Sequence[object]) -> Rows | None:
    """Return rows of lists of messages, or None where the values are something else."""
    lists = [value for value in values if isinstance(value, list) and value]
    turns = [turn for value in lists for turn in value]
    if len(lists) < len(values) or not turns:
        return None
    if not all(isinstance(turn, dict) and any(key in turn for key in ("role", "from")) for turn in turns):
        return None
    return [{"messages": value} for value in lists], ("each list of messages is a row",)


def _objects_over_lines(text: str) -> list[FileRow] | None:
    """Return the objects that stand one after the other, if they do."""
    place, rows = 0, list[FileRow]()
    blanks = " \t\r\n"
    try:
        while True:
            while place < len(text) and text[place] in blanks:
                place += 1
            if place == len(text):
                return rows
            row, place = DECODER.raw_decode(text, place)
            if not isinstance(row, dict):
                return None
            rows.append(row)
    except (ValueError, RecursionError):
        return None


def json_lines(text: str, where: str, first: int = 1) -> list[FileRow]:
    """Return the objects of JSON lines, of which the first has that number.

    Raises:
        DataError: a line is not an object in JSON; its number is named.
    """
    rows = []
    for number, line in enumerate(text.split("\n"), start=first):
        if not line.strip():
            continue
        try:
            row = _loaded(line, f"{where}, line {number}")
        except json.JSONDecodeError as error:
            raise DataError(f"{where}, line {number}: not JSON: {error.msg} at column {error.colno}") from None
        if not isinstance(row, dict):
            raise DataError(f'{where}, line {number}: an object such as {{"text": ...}} is wanted, not {line[:40]}')
        rows.append(row)
    return rows


def rows_of_value(value: object, where: str) -> Rows:
    """Return the rows that a JSON value holds, in whichever of the known ways.

    Raises:
        DataError: it holds none, or several lists that could be meant.
    """
    claimed = read_annotations(value, where)
    if claimed is not None:
        return claimed, (ANNOTATIONS,)
    claimed = read_squad(value, where)
    if claimed is not None:
        return claimed, ("the questions of a SQuAD file are the rows",)
    if isinstance(value, list) and all(isinstance(row, dict) for row in value):
        return value, ()
    if isinstance(value, list) and value and all(isinstance(row, list) for row in value):
        return _of_messages(value) or _of_lists(value, where)
    if not isinstance(value, dict):
        raise DataError(f"{where}: a list of objects is wanted")
    return _of_split(value, where) or _of_objects(value) or _under_key(value, where) or ([value], ())


def _of_lists(rows: list[list[object]], where: str) -> Rows:
    width = len(rows[0])
    number = next((number for number, row in enumerate(rows, start=1) if len(row) != width), None)
    if number is not None:
        raise DataError(f"{where}: row {number} has {len(rows[number - 1])} values where the first has {width}")
    if all(isinstance(cell, str) for cell in rows[0]) and any(str(cell).strip().lower() in NAMES for cell in rows[0]):
        names = [str(cell) for cell in rows[0]]
        return _named(rows[1:], names), (f"rows are lists; the first one names the columns {listing(names)}",)
    names = [f"column_{number}" for number in range(1, width + 1)]
    return _named(rows, names), (f"rows are lists; their columns are called {names[0]} to {names[-1]}",)


def _named(rows: Sequence[Sequence[object]], names: Sequence[object]) -> list[FileRow]:
    return [dict(zip_longest(map(str, names), row)) for row in rows]


def _of_split(value: Mapping[str, object], where: str) -> Rows | None:
    """Return the rows of pandas' orients split and table, if it is one."""
    data, columns, schema = value.get("data"), value.get("columns"), value.get("schema")
    if not isinstance(data, list) or set(value) - {"data", "columns", "index", "schema", "index_names", "column_names"}:
        return None
    if isinstance(columns, list) and all(isinstance(row, list) for row in data):
        number = next((number for number, row in enumerate(data, start=1) if len(row) != len(columns)), None)
        if number is not None:
            raise DataError(f"{where}: row {number} has {len(data[number - 1])} values for {len(columns)} columns")
        return _named(data, columns), ("columns and data are read as pandas writes them (orient split)",)
    if isinstance(schema, dict) and "fields" in schema and all(isinstance(row, dict) for row in data):
        index = schema.get("primaryKey")
        index = set(index) & {"index"} if isinstance(index, list) else set()
        rows = [{name: cell for name, cell in row.items() if name not in index} for row in data]
        return rows, ("rows are read as pandas writes them (orient table)",)
    return None


def _of_objects(value: Mapping[str, object]) -> Rows | None:
    """Return the rows of an object of objects: by column as pandas writes them, or by id."""
    inner = [item for item in value.values() if isinstance(item, dict) and item]
    if len(inner) < len(value) or not inner:
        return None
    keys = dict.fromkeys(key for item in inner for key in item)
    share = sum(len(item) for item in inner) / (len(keys) * len(inner))
    are_columns = _are_numbers(list(keys)) and not _are_numbers(list(value))
    if share < 0.5 or (len(value) == 1 and not are_columns and not _are_numbers(list(value))):
        return None
    if not are_columns and not _are_numbers(list(value)):
        named = [sum(name.strip().lower() in NAMES for name in names) for names in (keys, value)]
        are_columns = named[1] > named[0] or (named[0] == named[1] and len(value) < len(keys))
    if are_columns:
        rows = [{name: column.get(key) for name, column in zip(value, inner, strict=True)} for key in keys]
        return rows, ("columns are read as pandas writes them (orient columns)",)
    if _are_numbers(list(value)):
        return [dict(row) for row in inner], ("objects by number are the rows, as pandas writes them (orient index)",)
    name = next(name for name in ("id", "key", "_key") if name not in keys)
    return [{name: key, **row} for key, row in zip(value, inner, strict=True)], (
        f"the objects are the rows, and the names that they go by are the column {name}",
    )


def _are_numbers(names: Sequence[str]) -> bool:
    return all(name.isdigit() for name in names)


def _under_key(value: Mapping[str, object], where: str) -> Rows | None:
    """Return the one list of objects under a key; what else there is tells of the whole file."""
    lists = {name: item for name, item in value.items() if _is_objects(item) and name.lower() not in TURNS}
    is_row = any(name.lower() in TURNS or (name.lower() in TEXTS and isinstance(value[name], str)) for name in value)
    if not lists or is_row:
        return None
    if len(lists) > 1:
        raise DataError(
            f"{where}: which are the rows? There are lists of objects under {listing(lists)}; "
            "save the one that is wanted as a file of its own"
        )
    name, rows = next(iter(lists.items()))
    return list(rows), (f"the rows are the list under {name!r}",)


def _is_objects(item: object) -> TypeGuard[list[FileRow]]:
    return isinstance(item, list) and bool(item) and all(isinstance(row, dict) for row in item)
