"""Rows in, rows out: batch work on a file that keeps columns and order, and goes on where it was stopped."""

from __future__ import annotations

import csv
import functools
import hashlib
import io
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.data import files
from llmkit.data.columns import Row, input_list, input_text, is_nothing, kind_of, names_of, with_answer
from llmkit.data.label_sets import as_list
from llmkit.data.remote import on_disk
from llmkit.distributed.world import World, world
from llmkit.errors import DataError, Interrupted, OptionError, Stopped
from llmkit.errors.characters import require_characters_in_rows
from llmkit.options import RowOptions
from llmkit.output.atomic import write_whole
from llmkit.output.report import Report, to_json
from llmkit.runs.interrupts import StopRequest

if TYPE_CHECKING:
    from llmkit.inference.answering import Answerer, Prepared
    from llmkit.tasks.base.answers import Answer

BATCHES_PER_WRITE = 8


@dataclass(frozen=True)
class TextCounts:
    """The texts that a model was given until now."""

    total: int = 0
    cut_roles: tuple[tuple[str, ...], ...] = ()  # of each that is longer than it reads, the inputs that lose tokens
    kind: str = ""  # what one of them is called: text, pair, question

    def plus(self, other: TextCounts) -> TextCounts:
        """Return the counts of both."""
        kind = "pair" if "pair" in (self.kind, other.kind) else other.kind or self.kind
        return TextCounts(self.total + other.total, self.cut_roles + other.cut_roles, kind)


def read_rows(options: RowOptions) -> list[dict[str, Any]]:
    """Return the rows of the input file; a text file has a row for each line, in the column `text`.

    Raises:
        DataError: there is no such file, or a row is broken (its line is named).
        EmptyError: it holds no rows.
    """
    path = options.input
    if path is None:
        raise OptionError("--input names the file of rows")
    with on_disk(path) as local:
        require_file(path, local)
        rows = files.read_rows(local, options)[: options.limit]
        require_characters_in_rows(rows, str(local))
    rows = _without_nan_among_texts(rows)
    if options.output and options.output.suffix == ".csv":  # one heading for all rows, in all chunks
        names = dict.fromkeys(names_of(rows))
        rows = [{**names, **row} for row in rows]
    return rows


def require_file(path: Path, local: Path) -> None:
    """Refuse a file of rows that there is not; `local` is where it is on this machine.

    Raises:
        DataError: it is not there, or a folder.
    """
    if local.is_dir():
        raise DataError(f"--input {str(local)!r} is a folder; a file of rows is wanted")
    if not local.is_file():
        hint = "; without --input, standard input is read" if str(path) == "-" else ""
        raise DataError(f"there is no file {str(path)!r}{hint}")


def _without_nan_among_texts(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows in which NaN is null in the columns that hold texts: some writers of JSON put it there."""
    texts = {name for row in rows for name, value in row.items() if isinstance(value, str)}
    if not any(is_nothing(row.get(name)) for row in rows for name in texts):
        return rows
    return [{name: None if name in texts and is_nothing(cell) else cell for name, cell in row.items()} for row in rows]


def inputs_of(rows: Sequence[Row], columns: Mapping[str, str], list_roles: Collection[str] = frozenset()) -> list[Row]:
    """Return the inputs of rows by role: cells as text, a null as the empty text; in `list_roles`, lists as they are.

    Raises:
        DataError: a cell holds a list or an object where a text is wanted; its row is named, from 1.
    """
    return [
        {role: _input(row.get(name), role, number, role in list_roles) for role, name in columns.items()}
        for number, row in enumerate(rows, start=1)
    ]


def _input(value: object, role: str, number: int, takes_lists: bool) -> object:
    listed = as_list(value) if takes_lists else None
    return input_list(listed, role, number) if listed else input_text(value, role, number)


def require_alike(columns: Mapping[str, Sequence[Any]], numbers: Sequence[int]) -> None:
    """Refuse a text where the rows before have a list, or the other way round; `numbers` are those of the rows.

    Raises:
        DataError: naming the row.
    """
    for role, values in columns.items():
        kinds = [(value, number) for value, number in zip(values, numbers, strict=True) if value is not None]
        odd = next((pair for pair in kinds if type(pair[0]) is not type(kinds[0][0])), None)
        if odd is not None:
            here, there = kind_of(odd[0]), kind_of(kinds[0][0])
            raise DataError(f"row {odd[1]}: {role} is {here}, and {there} in row {kinds[0][1]}; write all rows alike")


@dataclass
class RowWriter:
    """An output file that is written in order, a chunk at a time, beside a note of the command that began it."""

    path: Path
    identity: str
    overwrite: bool
    chunk_ends: list[int] = field(default_factory=list)  # the file's size after each chunk

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
        self.chunk_ends = [end for end in note["ends"] if end <= size]
        os.truncate(self.path, self.chunk_ends[-1] if self.chunk_ends else 0)
        return min(len(self.chunk_ends) * rows_per_chunk, total)

    def _read_note(self) -> dict[str, Any]:
        if not self.note_path.exists():
            return {}
        try:
            note = json.loads(self.note_path.read_text("utf-8"))
            return {"command": note["command"], "ends": [int(end) for end in note["ends"]]}
        except (OSError, ValueError, TypeError, KeyError):  # not as it was written
            raise OptionError(
                f"{str(self.path)!r} exists, and {str(self.note_path)!r}, which says what wrote it, is broken; add "
                "--overwrite, or name another"
            ) from None

    def append(self, rows: Sequence[Row]) -> None:
        """Write a chunk of rows so that they outlive a kill, and note where it ends."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not self.chunk_ends:
            self._note()  # before the first byte: a kill in the first chunk must not look like someone else's file
        with self.path.open("a", encoding="utf-8", newline="") as file:
            file.write(self._format(rows, header=not self.chunk_ends))
            file.flush()
            os.fsync(file.fileno())
        self.chunk_ends.append(self.path.stat().st_size)
        self._note()

    def _note(self) -> None:
        write_whole(self.note_path, to_json({"command": self.identity, "ends": self.chunk_ends}) + "\n")

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
        with on_disk(options.input) as local:
            digest.update(local.read_bytes())
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


def process(
    rows: Sequence[Row], prepared: Sequence[Prepared], answerer: Answerer[Prepared], options: RowOptions, report: Report
) -> None:
    """Answer rows a chunk at a time, into the output file or onto stdout; `prepared` are their inputs.

    Several processes answer a chunk each at a time; the main one writes them in order, as one process would.

    Raises:
        Stopped: interrupted, and the file holds what was done.
        Interrupted: interrupted before anything was written.
        OptionError: the file exists and another command began it.
    """
    size, here = options.batch_size * BATCHES_PER_WRITE, world()
    writer = _writer(rows, answerer, options)
    already = done = here.from_main(writer.rows_done(size, len(rows)) if writer and here.is_main else 0)
    if writer and done:
        report.say(
            f"{writer.path} holds {done} of {len(rows)} rows already" + (", going on" if done < len(rows) else "")
        )
    try:
        with report.progress("rows", len(rows)) as advance, _stop_request(here, report) as stop_request:
            advance(done)
            for turn in _turns(range(done, len(rows), size), here):
                answers: list[Answer] = []
                if here.rank < len(turn):
                    start = turn[here.rank]
                    answers = answerer.answer(prepared[start : start + size], options.batch_size, start)
                for start, answered in zip(turn, here.gather(answers), strict=False):
                    chunk = rows[start : start + size]
                    _deliver([with_answer(*pair) for pair in zip(chunk, answered, strict=True)], writer, report)
                    done = start + len(chunk)
                    advance(len(chunk))
                if here.any(stop_request is not None and stop_request.asked) and done < len(rows):
                    raise KeyboardInterrupt
    except KeyboardInterrupt:
        if writer and done:
            raise Stopped(f"stopped after {done} of {len(rows)} rows: the same command goes on from there") from None
        raise Interrupted("interrupted before anything was written") from None
    answerer.counts = functools.reduce(TextCounts.plus, here.gather(answerer.counts))
    if writer and already < done:
        report.say(f"wrote {len(rows)} rows to {writer.path}")


def _stop_request(here: World, report: Report) -> AbstractContextManager[StopRequest | None]:
    """Return what notes a signal, where a process that stops at once would leave the others waiting for it."""
    return (
        nullcontext() if here.size == 1 else StopRequest(report, "stopping after these rows; once more stops at once")
    )


def _turns(starts: Sequence[int], here: World) -> Iterator[Sequence[int]]:
    """Yield the chunks, as their first rows, that the processes answer at the same time."""
    yield from (starts[number : number + here.size] for number in range(0, len(starts), here.size))


def _deliver(answered: Sequence[Row], writer: RowWriter | None, report: Report) -> None:
    """Write answered rows: the main process alone."""
    if writer is None:
        for row in answered:
            report.json_line(row)
    elif report.speaks:
        writer.append(answered)


def _writer(rows: Sequence[Row], answerer: Answerer[Prepared], options: RowOptions) -> RowWriter | None:
    if options.output is None:
        return None
    typed = {"texts": None if options.input else [row["text"] for row in rows]} if options.output_alone else {}
    return RowWriter(options.output, identity_of(options, **typed, **answerer.identity()), options.overwrite)
