"""The file of answered rows: written in order, a chunk at a time, so that the same command goes on from there."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmkit.data.columns import Row, names_of
from llmkit.data.remote import on_disk
from llmkit.distributed.world import world
from llmkit.errors import OptionError
from llmkit.inference.row_files.precision import Precision
from llmkit.options import RowOptions
from llmkit.output.atomic import write_whole
from llmkit.output.report import to_json

BYTES_PER_READ = 1 << 20
ENDS_KEPT = 100  # a file that was cut before the end of so many chunks is begun anew


@dataclass
class RowWriter:
    """An output file that is written in order, a chunk at a time, beside a note of the command that began it."""

    path: Path
    identity: str
    overwrite: bool
    chunks: int = 0  # that are written
    ends: list[int] = field(default_factory=list)  # the file's size after each of the last ones
    precision: Precision | None = None  # in which the rows that are there were answered

    @property
    def note_path(self) -> Path:
        """Where the command that began the file is recorded."""
        return self.path.with_name(self.path.name + ".llmkit.json")

    def rows_done(self, rows_per_chunk: int, total: int) -> int:
        """Return how many rows are there already, and drop a chunk that was cut short.

        Raises:
            OptionError: the file exists and another command began it.
        """
        if self.note_path.is_dir():
            raise OptionError(
                f"--output {str(self.path)!r}: its note goes to {str(self.note_path)!r}, which is a folder"
            )
        if not self.path.exists():
            return 0
        if self.overwrite:
            self.path.unlink()
            return 0
        note = self._read_note()
        if note.get("command") != self.identity:
            raise OptionError(
                f"{str(self.path)!r} exists and another command wrote it; add --overwrite, or name another"
            )
        size = self.path.stat().st_size
        self.ends = [end for end in note["ends"] if end <= size]
        self.chunks = note["before"] + len(self.ends) if self.ends else 0
        self.precision = note["precision"] if self.chunks else None
        os.truncate(self.path, self.ends[-1] if self.ends else 0)
        return min(self.chunks * rows_per_chunk, total)

    def _read_note(self) -> dict[str, Any]:
        if not self.note_path.exists():
            return {}
        try:
            note = json.loads(self.note_path.read_text("utf-8"))
            ends = [int(end) for end in note["ends"]]
            precision = Precision.read(note.get("precision"))
            before = int(note.get("before", 0))
            return {"command": note["command"], "before": before, "ends": ends, "precision": precision}
        except (OSError, ValueError, TypeError, KeyError):  # not as it was written
            raise OptionError(
                f"{str(self.path)!r} exists, and {str(self.note_path)!r}, which says what wrote it, is broken; add "
                "--overwrite, or name another"
            ) from None

    def append(self, rows: Sequence[Row]) -> None:
        """Write a chunk of rows so that they outlive a kill, and note where it ends."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not self.chunks:
            self._note()  # before the first byte: a kill in the first chunk must not look like someone else's file
        with self.path.open("a", encoding="utf-8", newline="") as file:
            file.write(self._format(rows, header=not self.chunks))
            file.flush()
            os.fsync(file.fileno())
        self.ends = [*self.ends, self.path.stat().st_size][-ENDS_KEPT:]
        self.chunks += 1
        self._note()

    def _note(self) -> None:
        before = self.chunks - len(self.ends)
        precision = {"precision": self.precision.note()} if self.precision and self.precision.is_half else {}
        note = {"command": self.identity, **({"before": before} if before else {}), **precision, "ends": self.ends}
        write_whole(self.note_path, to_json(note) + "\n")

    def _format(self, rows: Sequence[Row], header: bool) -> str:
        if self.path.suffix == ".jsonl":
            return "".join(to_json(row) + "\n" for row in rows)
        buffer = io.StringIO(newline="")
        names = names_of(rows)
        bare_return = any("\r" in str(value) for row in rows for value in row.values())  # csv leaves it unquoted
        writer = csv.DictWriter(
            buffer, fieldnames=names, lineterminator="\n", quoting=csv.QUOTE_ALL if bare_return else csv.QUOTE_MINIMAL
        )
        if header:
            writer.writeheader()
        writer.writerows({name: _csv_cell(value) for name, value in row.items()} for row in rows)
        return buffer.getvalue()


def _csv_cell(value: object) -> object:
    """Return a cell as CSV holds it: what is no text or number as JSON writes it, true as well as a list."""
    return to_json(value) if isinstance(value, dict | list | bool) else value


def identity_of(options: RowOptions, **more: object) -> str:
    """Return a digest of the input's bytes and the options: what makes two commands the same one."""
    digest = hashlib.sha256()
    if options.input:
        with on_disk(options.input) as local, local.open("rb") as file:
            while block := file.read(BYTES_PER_READ):
                digest.update(block)
    names = ("column", "limit", "batch_size", "encoding", "delimiter", "header", "skip_rows", "comment")
    values = {**{name: getattr(options, name) for name in names}, **more}
    digest.update(json.dumps(values, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def require_same_rows(options: RowOptions) -> None:
    """Refuse an input file that is another one where another of the processes runs.

    Raises:
        DataError: naming the file, and the process.
    """
    here = world()
    if here.size > 1:
        here.require_alike(identity_of(options), f"the rows of {options.input}")
