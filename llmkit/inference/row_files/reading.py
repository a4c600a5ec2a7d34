"""The rows of an input file, read anew each time they are asked for: what is read is never all in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from llmkit.data import files
from llmkit.data.columns import Row, is_nothing
from llmkit.data.files.row_batches import is_read_in_batches, row_batches
from llmkit.data.remote import on_disk
from llmkit.errors import DataError, EmptyError, LlmkitError, OptionError, brief
from llmkit.errors.characters import require_characters_in_rows
from llmkit.options import RowOptions

SAMPLE_ROWS = 10_000  # from which the columns of a file are told, beside rows that hold something new
LARGEST_WHOLE = 1 << 30  # bytes of a file that is read whole for the sake of a better error
ROWS_PER_BATCH = 4096
Rows = list[dict[str, Any]]
NEVER_NOTHING = frozenset({str, int, bool, list, dict, type(None)})


class InputRows:
    """Rows that can be read again and again, a few at a time: those of a file, or texts of the shell.

    The first reading goes over all of them: it counts and checks them, and notes what their columns hold.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self.held: Sequence[Row] | None = rows  # None: they are read from the file each time
        self.total = len(rows)
        self.sample: list[Row] = list(rows)  # the first rows, and each further one with a new column or type of cell
        self._texts = frozenset[str]()  # columns of texts in which NaN is null: some writers of JSON put it there
        self._names: dict[str, None] = {}  # that each row has, where they have one heading

    @classmethod
    @contextmanager
    def opened(cls, options: RowOptions) -> Iterator[InputRows]:
        """Open the input file; of a text file each line is a row, in the column `text`.

        Raises:
            DataError: there is no such file, or a row is broken (its line is named).
            EmptyError: it holds no rows.
        """
        path = options.input
        if path is None:
            raise OptionError("--input names the file of rows")
        with on_disk(path) as local:
            require_file(path, local)
            yield FileRows(local, options)

    def batches(self) -> Iterator[tuple[int, list[Row]]]:
        """Yield all rows, some thousands at a time, with the number of rows before them."""
        start = 0
        for rows in self._read():
            yield start, [self._mended(row) for row in rows] if self._texts or self._names else list(rows)
            start += len(rows)

    def chunks(self, size: int, skip: int = 0) -> Iterator[tuple[int, list[Row]]]:
        """Yield the rows after the first `skip`, so many at a time, with the number of rows before them.

        Raises:
            DataError: there are fewer rows than at the first reading.
        """
        rows = islice((row for _, batch in self.batches() for row in batch), skip, None)
        for start in range(skip, self.total, size):
            chunk = list(islice(rows, min(size, self.total - start)))
            if len(chunk) < min(size, self.total - start):
                raise DataError("the input file lost rows while it was read; run the command again")
            yield start, chunk

    def _read(self) -> Iterator[Sequence[Row]]:
        held = self.held or ()
        yield from (held[start : start + ROWS_PER_BATCH] for start in range(0, len(held), ROWS_PER_BATCH))

    def _mended(self, row: Row) -> Row:
        cells = {**self._names, **row}
        for name in self._texts & cells.keys():
            if is_nothing(cells[name]):
                cells[name] = None
        return cells


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


class FileRows(InputRows):
    """The rows of a file."""

    def __init__(self, path: Path, options: RowOptions) -> None:
        super().__init__(())
        self.path, self.options, self.held = path, options, None
        try:
            if not is_read_in_batches(path, options):
                self._hold()
            self._survey()
        except (DataError, EmptyError, OSError, UnicodeError, pa.ArrowException) as error:
            if self.held is not None:
                raise
            if path.stat().st_size > LARGEST_WHOLE:
                if isinstance(error, LlmkitError):
                    raise
                raise DataError(f"{path} cannot be read: {brief(error)}") from error
            self._hold()  # a reading of the whole may know better, and names the line
            self._survey()

    def _hold(self) -> None:
        self.held = files.read_rows(self.path, self.options)

    def _read(self) -> Iterator[Sequence[Row]]:
        left = self.options.limit
        for rows in super()._read() if self.held is not None else row_batches(self.path, self.options):
            if left is not None and len(rows) >= left:
                yield rows[:left]
                return
            left = None if left is None else left - len(rows)
            yield rows

    def _survey(self) -> None:
        """Count the rows, check their characters, and note which columns there are and what they hold."""
        self.total, self.sample, types = 0, [], dict[str, set[type]]()
        for rows in self._read():
            require_characters_in_rows(rows, str(self.path), self.total + 1)
            for number, row in enumerate(rows, start=self.total):
                is_new = False
                for name, cell in row.items():
                    known = types.setdefault(name, set())
                    if type(cell) not in known:
                        known.add(type(cell))
                        is_new = True
                if is_new or number < SAMPLE_ROWS:
                    self.sample.append(row)
            self.total += len(rows)
        if not self.total:
            raise EmptyError(f"{self.path} holds no rows")
        self._texts = frozenset(name for name, held in types.items() if str in held and held - NEVER_NOTHING)
        if self.options.output and self.options.output.suffix == ".csv":  # one heading for all rows, in all chunks
            self._names = dict.fromkeys(types)
        self.sample = [self._mended(row) for row in self.sample]
