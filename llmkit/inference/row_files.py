"""Rows in, rows out: batch work on a file that keeps columns and order, and goes on where it was stopped."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmkit.data import files
from llmkit.errors import DataError, Interrupted, OptionError, Stopped
from llmkit.options import RowOptions
from llmkit.output.atomic import write_whole
from llmkit.output.report import Report, to_json

Row = dict[str, Any]
CHUNK = 8  # batches between two writes


def read_rows(options: RowOptions) -> list[Row]:
    """Return the rows of the input file; a text file has a row for each line, in the column `text`.

    Raises:
        DataError: there is no such file, or a row is broken (its line is named).
        EmptyError: it holds no rows.
    """
    path = options.input
    if path is None:
        raise OptionError("--input names the file of rows")
    if not path.is_file():
        raise DataError(f"there is no file {str(path)!r}")
    rows = files.read_rows(path, options.encoding)[: options.limit]
    if options.output and options.output.suffix == ".csv":  # one heading for all rows, in all chunks
        names = dict.fromkeys(name for row in rows for name in row)
        rows = [{**names, **row} for row in rows]
    return rows


def merged(row: Row, answer: Row) -> Row:
    """Return the row with its answer; a column of the answer's name is kept as `input_NAME`."""
    taken, kept = {*row, *answer}, {}
    for name, value in row.items():
        free = name
        while free in answer or (free != name and free in taken):
            free = f"input_{free}"
        kept[free] = value
    return {**kept, **answer}


def as_text(value: Any) -> str:
    """Return a cell as text: nothing for a null, and 0 for a zero."""
    return "" if value is None else str(value)


@dataclass
class RowWriter:
    """An output file that is written in order, a chunk at a time, beside a note of the command that began it."""

    path: Path
    identity: str
    overwrite: bool
    ends: list[int] = field(default_factory=list)  # the file's size after each chunk

    @property
    def note(self) -> Path:
        """Where the command that began the file is recorded."""
        return self.path.with_name(self.path.name + ".llmkit.json")

    def rows_done(self, chunk: int, total: int) -> int:
        """Return how many rows are there already, and drop a chunk that was cut short.

        Raises:
            OptionError: the file exists and another command began it.
        """
        if not self.path.exists():
            return 0
        if self.overwrite:
            self.path.unlink()
            return 0
        noted = json.loads(self.note.read_text("utf-8")) if self.note.exists() else {}
        if noted.get("command") != self.identity:
            raise OptionError(
                f"{str(self.path)!r} exists and another command wrote it; add --overwrite, or name another"
            )
        size = self.path.stat().st_size
        self.ends = [end for end in noted["ends"] if end <= size]
        os.truncate(self.path, self.ends[-1] if self.ends else 0)
        return min(len(self.ends) * chunk, total)

    def append(self, rows: Sequence[Row]) -> None:
        """Write a chunk of rows so that they outlive a kill, and note where it ends."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not self.ends:
            self._note()  # before the first byte: a kill in the first chunk must not look like someone else's file
        with self.path.open("a", encoding="utf-8", newline="") as file:
            file.write(self._spell(rows, header=not self.ends))
            file.flush()
            os.fsync(file.fileno())
        self.ends.append(self.path.stat().st_size)
        self._note()

    def _note(self) -> None:
        write_whole(self.note, to_json({"command": self.identity, "ends": self.ends}) + "\n")

    def _spell(self, rows: Sequence[Row], header: bool) -> str:
        if self.path.suffix == ".jsonl":
            return "".join(to_json(row) + "\n" for row in rows)
        buffer = io.StringIO(newline="")
        names = list(dict.fromkeys(name for row in rows for name in row))
        bare_return = any("\r" in str(value) for row in rows for value in row.values())  # csv leaves it unquoted
        writer = csv.DictWriter(
            buffer, fieldnames=names, lineterminator="\n", quoting=csv.QUOTE_ALL if bare_return else csv.QUOTE_MINIMAL
        )
        if header:
            writer.writeheader()
        writer.writerows({k: to_json(v) if isinstance(v, dict | list) else v for k, v in row.items()} for row in rows)
        return buffer.getvalue()


def identity_of(options: RowOptions, **more: Any) -> str:
    """Return a digest of the input's bytes and the options: what makes two commands the same one."""
    digest = hashlib.sha256(options.input.read_bytes() if options.input else b"")
    own = ("column", "limit", "batch_size", "encoding")
    values = {**{name: getattr(options, name) for name in own}, **more}
    digest.update(json.dumps(values, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def process(
    rows: Sequence[Row],
    work: Callable[[Sequence[Row], int], list[Row]],
    options: RowOptions,
    identity: str,
    report: Report,
) -> None:
    """Answer rows a chunk at a time with `work(rows, number of the first)`, into the output file or onto stdout.

    Raises:
        Stopped: interrupted, and the file holds what was done.
        Interrupted: interrupted before anything was written.
    """
    chunk = options.batch_size * CHUNK
    writer = RowWriter(options.output, identity, options.overwrite) if options.output else None
    begun = done = writer.rows_done(chunk, len(rows)) if writer else 0
    if writer and done:
        report.say(
            f"{writer.path} holds {done} of {len(rows)} rows already" + (", going on" if done < len(rows) else "")
        )
    try:
        with report.progress("rows", len(rows)) as advance:
            advance(done)
            for start in range(done, len(rows), chunk):
                part = rows[start : start + chunk]
                answered = [merged(row, answer) for row, answer in zip(part, work(part, start), strict=True)]
                if writer is None:
                    for row in answered:
                        report.json_line(row)
                else:
                    writer.append(answered)
                done = start + len(part)
                advance(len(part))
    except KeyboardInterrupt:
        if writer and done:
            raise Stopped(f"stopped after {done} of {len(rows)} rows: the same command goes on from there") from None
        raise Interrupted("interrupted before anything was written") from None
    if writer and begun < done:
        report.say(f"wrote {len(rows)} rows to {writer.path}")
