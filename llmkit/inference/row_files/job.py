"""The rows of a file through a model: checked first, all of them, then answered and written a chunk at a time."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Generic, TypeVar

from llmkit.data.columns import Row, text_of, with_answer
from llmkit.distributed.world import World, world
from llmkit.errors import EmptyError, Interrupted, LlmkitError, Stopped
from llmkit.inference.row_files.inputs import TextCounts, inputs_of
from llmkit.inference.row_files.precision import Precision, settled
from llmkit.inference.row_files.profile import MODEL, TRACED_ROWS, RowProfile, computing_model, phase, write_trace
from llmkit.inference.row_files.reading import InputRows
from llmkit.inference.row_files.writing import RowWriter, identity_of
from llmkit.options import RowOptions
from llmkit.output.report import Report
from llmkit.runs.interrupts import StopRequest

if TYPE_CHECKING:
    from llmkit.inference.answering import Answerer
    from llmkit.tasks.base.answers import Answer

BATCHES_PER_WRITE = 8
SHARES = 4  # chunks of a file, at least, so that several processes have something to do
FEWEST_ROWS = 128  # of a chunk, where no batch size says
ROWS_KEPT = 4096  # of a file whose rows are prepared once; those of a larger one are prepared again when they are due

Prepared = TypeVar("Prepared")


@dataclass
class Unanswerable(Generic[Prepared]):
    """How many of the rows of a file ask nothing, and how many lack what they can do without."""

    answerer: Answerer[Prepared]
    total: int = 0
    left: int = 0
    blank_roles: set[str] = field(default_factory=set)  # of the rows that ask nothing
    lone: dict[str, int] = field(default_factory=dict)  # rows without a role that they can do without

    def add(self, inputs: Sequence[Row]) -> None:
        """Count some rows more, which all have the same roles."""
        optional = sorted(self.answerer.optional_roles & inputs[0].keys()) if inputs else []
        for row in inputs:
            if not self.answerer.is_answerable(row):
                self.left += 1
                needed = [role for role in row if role not in self.answerer.optional_roles]
                self.blank_roles.update(role for role in needed if not text_of(row[role]).strip())
                continue
            for role in optional:
                if not text_of(row[role]).strip():
                    self.lone[role] = self.lone.get(role, 0) + 1
        self.total += len(inputs)

    def tell(self, columns: Mapping[str, str], where: object, report: Report) -> None:
        """Say what was counted.

        Raises:
            EmptyError: no row asks anything.
        """
        for role, lone in sorted(self.lone.items()):
            have, their = ("has", "its") if lone == 1 else ("have", "their")
            report.say(f"{lone} of {self.total} rows {have} no {role}, and {their} {self.answerer.role} is read alone")
        if not self.left:
            return
        roles = [role for role in columns if role in self.blank_roles] or [self.answerer.role]
        if self.left == self.total:
            raise EmptyError(f"{where}: nothing to answer, none of {self.total} rows has a {' and a '.join(roles)}")
        nothing, (have, are) = " or no ".join(roles), ("has", "is") if self.left == 1 else ("have", "are")
        report.say(f"{self.left} of {self.total} rows {have} no {nothing}, and {are} answered null")


class RowJob(Generic[Prepared]):
    """Rows that a model answers; `columns` are those of its inputs, by role."""

    def __init__(
        self,
        rows: InputRows,
        columns: Mapping[str, str],
        answerer: Answerer[Prepared],
        options: RowOptions,
        report: Report,
    ) -> None:
        self.rows, self.columns, self.answerer, self.options, self.report = rows, columns, answerer, options, report
        self._kept: list[Prepared] | None = None
        self.profile = RowProfile() if options.profile else None

    def check(self) -> None:
        """Prepare each row, so that one that cannot be answered is refused before any is; say how many ask nothing.

        Raises:
            EmptyError: that is so of all of them.
            OptionError, DataError: as `Answerer.prepare`.
        """
        unanswerable, refused, kept = Unanswerable(self.answerer), None, list[Prepared]()
        for start, rows in self.rows.batches():
            inputs = self._inputs(rows, start)
            if self.options.input:
                unanswerable.add(inputs)
            try:
                prepared = [] if refused else self.answerer.prepare(inputs, _names(start, len(rows)))
            except LlmkitError as error:  # a cell further down that is no text is said first
                refused = error
            kept += prepared if self.rows.total <= ROWS_KEPT and not refused else []
        unanswerable.tell(self.columns, self.options.input, self.report)
        if refused:
            raise refused
        if self.answerer.spelled is not None:
            self.answerer.spelled.tell(self.rows.total, self.report)
        self._kept = kept if self.rows.total <= ROWS_KEPT else None

    def prepared(self, rows: Sequence[Row], start: int) -> Sequence[Prepared]:
        """Return some rows, of which so many are before them, in the form in which they are answered."""
        if self._kept is not None:
            return self._kept[start : start + len(rows)]
        with phase(self.profile, "tokenize"):
            return self.answerer.prepare(self._inputs(rows, start), _names(start, len(rows)), again=True)

    def _inputs(self, rows: Sequence[Row], start: int) -> list[Row]:
        return inputs_of(rows, self.columns, self.answerer.list_roles, start + 1)

    @property
    def rows_per_chunk(self) -> int:
        """How many rows are written at a time, whatever the number of processes; batches hold rows of one chunk."""
        if self.options.batch_size is not None:
            return self.options.batch_size * BATCHES_PER_WRITE
        return min(self.answerer.rows_per_chunk, max(FEWEST_ROWS, -(-self.rows.total // SHARES)))

    def run(self) -> None:
        """Answer the rows a chunk at a time, into the output file or onto stdout.

        Several processes answer a chunk each at a time; the main one writes them in order, as one process would.

        Raises:
            Stopped: interrupted, and the file holds what was done.
            Interrupted: interrupted before anything was written.
            OptionError: the file exists and another command began it.
        """
        here, total, report, writer = world(), self.rows.total, self.report, self._writer()
        done = writer.rows_done(self.rows_per_chunk, total) if writer and here.is_main else 0
        already = done = here.from_main(done)
        if writer and done:
            report.say(f"{writer.path} holds {done} of {total} rows already" + (", going on" if done < total else ""))
        self._begin(writer, total - done)
        try:
            with report.progress("rows", total) as advance, _stop_request(here, report) as stop_request:
                advance(done)
                for turn in self._turns(done, here):
                    for start, chunk, answered in self._answered(turn, here):
                        with phase(self.profile, "write"):
                            _deliver([with_answer(*pair) for pair in zip(chunk, answered, strict=True)], writer, report)
                        done = start + len(chunk)
                        advance(len(chunk))
                    if here.any(stop_request is not None and stop_request.asked) and done < total:
                        raise KeyboardInterrupt
        except KeyboardInterrupt:
            if writer and done:
                raise Stopped(f"stopped after {done} of {total} rows: the same command goes on from there") from None
            raise Interrupted("interrupted before anything was written") from None
        self.tell_profile()
        self.answerer.counts = functools.reduce(TextCounts.plus, here.gather(self.answerer.counts))
        if writer and already < done:
            report.say(f"wrote {total} rows to {writer.path}")

    def _begin(self, writer: RowWriter | None, left: int) -> None:
        if left:
            precision = self.settle_precision(writer.precision if writer else None)
            if writer is not None:
                writer.precision = precision
            self.begin_profile()

    def settle_precision(self, begun: Precision | None = None) -> Precision:
        """Settle in which precision the rows are answered, and return it; the one that a file was `begun` in stays.

        Each process compares the same rows, and the main one decides.
        """
        here = world()
        begun = here.from_main(begun)
        if begun is None:
            begun = here.from_main(settled(self))
        self.answerer.precision = begun
        return begun

    def begin_profile(self) -> None:
        """Trace some rows under --profile, and count what the model does from then on.

        Raises:
            OptionError: a server computes.
        """
        if self.profile is None:
            return
        model, output = computing_model(self.answerer), self.options.output
        if output is not None and self.report.speaks:
            start, rows = next(self.rows.chunks(min(TRACED_ROWS, self.rows.total)))
            trace = output.with_name(f"{output.name}.trace.json")
            write_trace(self.answerer, self.prepared(rows, start), self.options.batch_size, trace)
            self.report.say(f"trace of {len(rows)} rows: {trace}")
        self.profile.watch(model)
        self.answerer.profile = self.profile

    def tell_profile(self) -> None:
        """Say where the time went, under --profile."""
        if self.profile is not None:
            self.report.say_all(self.profile.lines())

    def _turns(self, done: int, here: World) -> Iterator[list[tuple[int, list[Row]]]]:
        """Yield the chunks, with the rows before them, that the processes answer at the same time."""
        chunks = self.rows.chunks(self.rows_per_chunk, done)
        while True:
            with phase(self.profile, "read"):
                turn = list(islice(chunks, here.size))
            if not turn:
                return
            yield turn

    def _answered(
        self, turn: Sequence[tuple[int, list[Row]]], here: World
    ) -> Iterator[tuple[int, list[Row], list[Answer]]]:
        """Yield the chunks with the answers to their rows."""
        answers: list[Answer] = []
        if here.rank < len(turn):
            start, rows = turn[here.rank]
            prepared = self.prepared(rows, start)
            with phase(self.profile, MODEL):
                answers = self.answerer.answer(prepared, self.options.batch_size, start)
        for (start, rows), answered in zip(turn, here.gather(answers), strict=False):
            yield start, rows, answered

    def _writer(self) -> RowWriter | None:
        if self.options.output is None:
            return None
        texts = None if self.options.input else [row["text"] for _, rows in self.rows.batches() for row in rows]
        typed = {"texts": texts} if self.options.output_alone else {}
        identity = identity_of(self.options, **typed, **self.answerer.identity())
        return RowWriter(self.options.output, identity, self.options.overwrite)


def _names(start: int, count: int) -> list[str]:
    """Return what errors call some rows, of which so many are before them."""
    return [f"row {number}" for number in range(start + 1, start + count + 1)]


def _stop_request(here: World, report: Report) -> AbstractContextManager[StopRequest | None]:
    """Return what notes a signal, where a process that stops at once would leave the others waiting for it."""
    return (
        nullcontext() if here.size == 1 else StopRequest(report, "stopping after these rows; once more stops at once")
    )


def _deliver(answered: Sequence[Row], writer: RowWriter | None, report: Report) -> None:
    """Write answered rows: the main process alone."""
    if writer is None:
        for row in answered:
            report.json_line(row)
    elif report.speaks:
        writer.append(answered)
