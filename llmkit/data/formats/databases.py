"""SQLite databases: one table, with the types that its values have."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from llmkit.data.formats import binary
from llmkit.data.formats.part import FileRow, Part
from llmkit.data.formats.rows import part_of_rows
from llmkit.errors import DataError, brief, did_you_mean, listing


def read(path: Path, table: str | None) -> Part:
    """Return the rows of a table: the named one, or the only one.

    Raises:
        DataError: it is no database, has no such table, or several and none is named.
    """
    part = part_of_rows(rows_of(path, table), path)
    plain = binary.part_of(part.where, part.table)
    return Part(part.where, plain.table, mixed={**part.mixed, **plain.mixed})


def rows_of(path: Path, table: str | None) -> list[FileRow]:
    """Return the rows of a table as they are.

    Raises:
        DataError: as `read`.
    """
    try:
        with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as base:
            listed = base.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name")
            names = [str(name) for (name,) in listed if not str(name).startswith("sqlite_")]
            cursor = base.execute(f'SELECT * FROM "{_one_of(names, table, path).replace(chr(34), chr(34) * 2)}"')
            columns = [item[0] for item in cursor.description]
            return [dict(zip(columns, row, strict=True)) for row in cursor]
    except sqlite3.Error as error:
        raise DataError(f"{path} is not a readable SQLite database: {brief(error)}") from error


def _one_of(names: list[str], table: str | None, path: Path) -> str:
    if table is not None and table not in names:
        raise DataError(f"{path} has no table {table!r}{did_you_mean(table, names)}; it has {listing(names)}")
    if table is None and not names:
        raise DataError(f"{path} has no table")
    if table is None and len(names) > 1:
        raise DataError(f"{path} has several tables ({listing(names)}); name one, for example {path}:{names[0]}")
    return table or names[0]
