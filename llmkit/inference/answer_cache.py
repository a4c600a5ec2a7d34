"""What a model answered, kept on disk: a run that was stopped goes on, and one that was made before need not run.

An entry is one file, named by the SHA-256 of everything that the answers depend on. It is written a batch at a time,
each line with its checksum; a line that was cut short, and all after it, counts as not written.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from llmkit.output.report import Report, to_json

SCHEMA = 1
VECTORS = ".vectors"  # how the names of files end that `vectors.VectorCache` keeps beside the entries


def folder() -> Path:
    """Return where entries are kept: $LLMKIT_CACHE, else llmkit/ in the user's cache folder."""
    given = os.environ.get("LLMKIT_CACHE")
    if given:
        return Path(given).expanduser() / "answers"
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "llmkit" / "answers"


def key_of(parts: Mapping[str, Any]) -> str:
    """Return the SHA-256 of everything that answers depend on."""
    return hashlib.sha256(json.dumps({"schema": SCHEMA, **parts}, sort_keys=True, default=str).encode()).hexdigest()


@dataclass
class Answers:
    """The answers of one model to prepared rows, or to requests; without a file they are only held in memory."""

    done: dict[int | str, list[float]] = field(default_factory=dict)  # the row, or hash of the request -> its record
    notes: dict[str, Any] = field(default_factory=dict)
    file: TextIO | None = None

    @classmethod
    def open(cls, parts: Mapping[str, Any], about: Mapping[str, Any], report: Report) -> Answers:
        """Open the entry that `parts` name; `about` says for people what it is of."""
        path = folder() / f"{key_of(parts)}.jsonl"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("a+", encoding="utf-8", errors="replace")  # what was damaged fails its checksum
        except OSError as error:
            report.warn(f"the cache cannot be written ({error.strerror or error}: {path.parent}); going on without it")
            return cls()
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            report.say("another process is measuring the same at this moment; going on without the cache")
            return cls()
        answers = cls(file=file)
        answers._read()
        os.utime(path)  # used now: `llmkit cache clear --older-than` asks for it
        if file.tell() == 0:
            answers._write({"about": {**about, "begun": time.strftime("%Y-%m-%d %H:%M:%S")}})
        return answers

    def add(self, rows: Sequence[int | str], records: Sequence[Any]) -> None:
        """Keep the records of a batch."""
        plain = [[float(number) for number in record] for record in records]
        self.done.update(zip(rows, plain, strict=True))
        self._write({"rows": list(rows), "records": plain})

    def note(self, name: str, value: Any) -> None:
        """Keep a finding beside the records."""
        self.notes[name] = json.loads(to_json(value))
        self._write({"note": name, "value": self.notes[name]})

    def close(self) -> None:
        """Let go of the file."""
        if self.file is not None:
            with contextlib.suppress(OSError):  # it writes what a full disk did not take before
                self.file.close()
            self.file = None

    def _read(self) -> None:
        file = self.file
        if file is None:
            return
        file.seek(0)
        end = 0
        for line in _sound_lines(file):
            end += len(line.encode())
            entry = json.loads(line[9:])
            if "records" in entry:
                self.done.update(zip(entry["rows"], entry["records"], strict=True))
            elif "note" in entry:
                self.notes[entry["note"]] = entry["value"]
        file.seek(0)
        file.truncate(end)
        file.seek(0, os.SEEK_END)

    def _write(self, entry: dict[str, Any]) -> None:
        if self.file is None:
            return
        text = json.dumps(entry)
        try:
            self.file.write(f"{zlib.crc32(text.encode()):08x} {text}\n")
            self.file.flush()
        except OSError:  # a full disk costs the cache, not the evaluation
            self.close()


def _sound_lines(file: TextIO) -> Iterator[str]:
    """Yield lines up to the first that is not as it was written."""
    for line in file:
        with contextlib.suppress(ValueError):
            if line.endswith("\n") and int(line[:8], 16) == zlib.crc32(line[9:-1].encode()):
                yield line
                continue
        return


@dataclass(frozen=True)
class Entry:
    """One file of the cache, as `llmkit cache` shows it."""

    path: Path
    about: dict[str, Any]
    rows: int
    bytes: int
    used: float  # seconds since the epoch


def entries() -> list[Entry]:
    """Return what the cache holds, the newest first."""
    found = [_entry(path) for path in folder().glob("*.jsonl")] if folder().is_dir() else []
    found += [_vectors_entry(path) for path in folder().glob(f"*{VECTORS}")]
    return sorted(found, key=lambda entry: -entry.used)


def _entry(path: Path) -> Entry:
    about: dict[str, Any] = {}
    rows = 0
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in _sound_lines(file):
            entry = json.loads(line[9:])
            about = entry.get("about", about)
            rows += len(entry.get("rows", ()))
    status = path.stat()
    return Entry(path, about, rows, status.st_size, status.st_mtime)


def _vectors_entry(path: Path) -> Entry:
    """Read the first line of a file that `vectors.VectorCache` wrote: what it is of, and the bytes of each vector."""
    with path.open("rb") as file:
        line = file.readline()
    try:
        header = json.loads(line)
    except ValueError:  # damaged, and its reader begins it anew
        header = {"about": {}, "record": 1}
    status = path.stat()
    return Entry(
        path, header["about"], (status.st_size - len(line)) // header["record"], status.st_size, status.st_mtime
    )


def clear(older_than_days: float = 0.0) -> tuple[int, int]:
    """Remove entries not used for so many days; return how many, and their bytes."""
    limit = time.time() - older_than_days * 86400
    found = {path: path.stat() for pattern in ("*.jsonl", f"*{VECTORS}") for path in folder().glob(pattern)}
    old = {path: status.st_size for path, status in found.items() if not older_than_days or status.st_mtime < limit}
    for path in old:
        path.unlink(missing_ok=True)
    return len(old), sum(old.values())
