"""The cache on disk: one SQLite file of entries, each of which holds bytes by name.

An entry is named by the SHA-256 of everything that its items depend on. Its items are written a batch at a time, in one
transaction, each with a checksum: one that is not as it was written counts as not written. A file that SQLite cannot
read is replaced by an empty one.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import sqlite3
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from llmkit.output.atomic import cache_folder

KEY_SCHEMA = 1
FILE_FORMAT = 1  # a version with other tables has a file of its own
FILE_NAME = f"cache-{FILE_FORMAT}.sqlite"
NOTE = b"note "  # how the names of items begin that do not count as rows
BUSY_SECONDS = 30.0  # how long to wait for another process that writes
ATTEMPTS = 600  # in that time, where SQLite leaves the waiting to us
# what SQLite says of a file that is sound, but cannot be used now; whatever else it says is of a damaged one
UNAVAILABLE_ERRORS = {
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOLFS,
}
TABLES = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS entries
    (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, about BLOB NOT NULL, used REAL NOT NULL);
CREATE TABLE IF NOT EXISTS items
    (id INTEGER PRIMARY KEY, entry INTEGER NOT NULL, name BLOB NOT NULL, value BLOB NOT NULL, crc INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS items_of_entry ON items (entry);
PRAGMA user_version = {FILE_FORMAT};
COMMIT;
"""


def folder() -> Path:
    """Return where the answers lie, in llmkit's cache."""
    return cache_folder() / "answers"


def key_of(parts: Mapping[str, object]) -> str:
    """Return the SHA-256 of everything that an entry depends on."""
    return hashlib.sha256(json.dumps({"schema": KEY_SCHEMA, **parts}, sort_keys=True, default=str).encode()).hexdigest()


class _Damaged(OSError):
    """The file is none of SQLite's, or not as it was written."""


class CacheEntry:
    """The items of one key; `about` says for people what they are of.

    Raises:
        OSError: in every method: the file cannot be read or written now.
    """

    def __init__(self, key: str, about: Mapping[str, object]) -> None:
        self.key, self.about = key.encode(), json.dumps(dict(about)).encode()
        self._key_crc = zlib.crc32(self.key)
        try:
            self._connection, self._id = self._open()
        except _Damaged:
            self._begin_anew()

    def read(self) -> dict[bytes, bytes]:
        """Return the items that are as they were written, by name."""
        items: dict[bytes, bytes] = {}
        damaged = []
        try:
            with _translated():
                rows = self._connection.execute("SELECT id, name, value, crc FROM items WHERE entry = ?", (self._id,))
                for number, name, value, crc in rows:
                    if self._is_sound(name, value, crc):
                        items[name] = value
                    else:
                        damaged.append((number,))
                if damaged:
                    self._connection.executemany("DELETE FROM items WHERE id = ?", damaged)
        except _Damaged:
            self.close()
            self._begin_anew()
            return {}
        return items

    def write(self, items: Mapping[bytes, bytes]) -> bool:
        """Keep items; return whether those that were kept before are there too: no, where the file was damaged."""
        try:
            self._insert(items)
        except _Damaged:
            self.close()
            self._begin_anew()
            self._insert(items)
            return False
        return True

    def close(self) -> None:
        """Let go of the file."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()

    def _open(self) -> tuple[sqlite3.Connection, int]:
        """Return a connection, and the number of the entry."""
        connection = _connect(folder())
        try:
            with _translated():
                add = "INSERT INTO entries (key, about, used) VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET used = ?"
                now = time.time()
                connection.execute(add, (self.key, self.about, now, now))
                row = connection.execute("SELECT id FROM entries WHERE key = ?", (self.key,)).fetchone()
            if row is None:  # the index knows the key, the table does not
                raise _Damaged("the index of the entries")
        except BaseException:
            connection.close()
            raise
        return connection, int(row[0])

    def _begin_anew(self) -> None:
        """Replace a damaged file by an empty one."""
        _remove(folder())
        self._connection, self._id = self._open()

    def _insert(self, items: Mapping[bytes, bytes]) -> None:
        rows = [(self._id, name, value, self._crc(name, value)) for name, value in items.items()]
        with _translated(), _transaction(self._connection):
            self._connection.executemany("INSERT INTO items (entry, name, value, crc) VALUES (?, ?, ?, ?)", rows)

    def _crc(self, name: bytes, value: bytes) -> int:
        return zlib.crc32(value, zlib.crc32(name, self._key_crc))

    def _is_sound(self, name: object, value: object, crc: object) -> bool:
        return isinstance(name, bytes) and isinstance(value, bytes) and crc == self._crc(name, value)


@dataclass(frozen=True)
class EntrySummary:
    """An entry, as `llmkit cache` shows it; or a file that cannot be read, as one without rows."""

    path: Path
    about: dict[str, object]
    rows: int
    bytes: int
    used: float  # seconds since the epoch
    number: int | None = None  # of the entry in the file


def entries() -> list[EntrySummary]:
    """Return what the cache holds, the entry that was used last first."""
    path = folder() / FILE_NAME
    if not path.is_file():
        return []
    try:
        with contextlib.closing(_connect_to_read(path)) as connection, _translated():
            return list(_summaries(connection, path))
    except OSError:
        status = path.stat()
        return [EntrySummary(path, {}, 0, status.st_size, status.st_mtime)]


def _summaries(connection: sqlite3.Connection, path: Path) -> Iterator[EntrySummary]:
    query = """
        SELECT entries.id, about, used, COUNT(items.id) FILTER (WHERE substr(name, 1, ?) <> ?),
            TOTAL(length(name) + length(value)) + length(about)
        FROM entries LEFT JOIN items ON items.entry = entries.id GROUP BY entries.id ORDER BY used DESC, entries.id DESC
    """
    for number, about, used, rows, size in connection.execute(query, (len(NOTE), NOTE)):
        try:
            read = dict(json.loads(about))
        except (ValueError, TypeError):  # damaged: nothing is known of it
            read = {}
        yield EntrySummary(path, read, rows, int(size or 0), used if isinstance(used, float) else 0.0, number)


def clear(older_than_days: float = 0.0) -> tuple[int, int]:
    """Remove entries not used for so many days; return how many, and their bytes."""
    limit, summaries = time.time() - older_than_days * 86400, entries()
    old = [entry for entry in summaries if not older_than_days or entry.used < limit]
    if summaries and len(old) == len(summaries):
        try:
            _remove(folder())
        except OSError:  # in use, on a system that removes no such files
            _delete(entry.number for entry in old)
    elif old:
        _delete(entry.number for entry in old)
    return len(old), sum(entry.bytes for entry in old)


def _delete(numbers: Iterable[int | None]) -> None:
    rows = [(number,) for number in numbers]
    with contextlib.closing(_connect(folder())) as connection, _translated():
        with _transaction(connection):
            connection.executemany("DELETE FROM items WHERE entry = ?", rows)
            connection.executemany("DELETE FROM entries WHERE id = ?", rows)
        with contextlib.suppress(sqlite3.Error):  # no room for a copy, or others read: the space is used again
            connection.execute("VACUUM")


def _connect(place: Path) -> sqlite3.Connection:
    """Open the file in a folder, and begin it where there is none.

    Raises:
        OSError: it cannot be made or written.
        _Damaged: it is none of SQLite's.
    """
    place.mkdir(parents=True, exist_ok=True)
    path = place / FILE_NAME
    with _translated():
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            connection.text_factory = bytes  # what was damaged is compared, not decoded
            _use_write_ahead_log(connection)
            connection.execute("PRAGMA synchronous = NORMAL")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version == 0:
                connection.executescript(TABLES)
            elif version != FILE_FORMAT:
                raise _Damaged(f"format {version}")
        except BaseException:
            connection.close()
            raise
    return connection


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Let writers and readers not wait for each other, also where another process begins the file at this moment."""
    for left in reversed(range(ATTEMPTS)):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or not left:
                raise
            time.sleep(BUSY_SECONDS / ATTEMPTS)
        else:
            return


def _connect_to_read(path: Path) -> sqlite3.Connection:
    """Open the file, in a folder that cannot be written to as well."""
    try:
        return _connect(path.parent)
    except OSError:
        with _translated():
            return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)


def _remove(place: Path) -> None:
    for ending in ("-wal", "-shm", ""):  # a log without its file is harmless, one beside another file is not
        (place / (FILE_NAME + ending)).unlink(missing_ok=True)


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Raise what SQLite raises as one of two: the file is damaged, or it cannot be used now."""
    try:
        yield
    except sqlite3.ProgrammingError:
        raise
    except UnicodeDecodeError as error:  # in its sentence on what is damaged
        raise _Damaged(str(error)) from error
    except sqlite3.Error as error:
        code = error.sqlite_errorcode
        of_other_kind = code == sqlite3.SQLITE_READONLY and os.access(folder() / FILE_NAME, os.W_OK)  # so its head says
        if code & 0xFF in UNAVAILABLE_ERRORS and not of_other_kind:
            full = code & 0xFF == sqlite3.SQLITE_FULL
            raise OSError(errno.ENOSPC if full else errno.EIO, str(error)) from error
        raise _Damaged(str(error)) from error
