"""Rows of a file answered by a function, without a model."""

from __future__ import annotations

from llmkit.inference.row_files import InputRows, RowJob, TextCounts
from llmkit.options import RowOptions
from llmkit.output.report import Report


class Stub:
    """An answerer of rows by a function of their inputs and the number of the first."""

    counts, role, rows_per_chunk, spelled = TextCounts(), "text", 128, None
    list_roles = optional_roles = frozenset()

    def __init__(self, work, command: str = "") -> None:
        self.work, self.command = work, command

    def answer(self, prepared, batch_size: int, start: int) -> list[dict]:
        return self.work(prepared, start)

    def is_answerable(self, inputs) -> bool:
        return True

    def prepare(self, inputs, names, again=False) -> list:
        return list(inputs)

    def identity(self) -> dict[str, object]:
        return {"command": self.command}


def read_rows(options: RowOptions) -> list[dict]:
    """Return the rows of a file."""
    with InputRows.opened(options) as rows:
        return [row for _, batch in rows.batches() for row in batch]


def answered(work, options: RowOptions, command: str = "", report: Report | None = None) -> None:
    """Answer the rows of a file with a function."""
    with InputRows.opened(options) as rows:
        columns = {name: name for row in rows.sample for name in row if name in {"id", "text"}}
        job = RowJob(rows, columns, Stub(work, command), options, report or Report())
        job.check()
        job.run()
