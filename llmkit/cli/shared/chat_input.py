"""What a user types in a conversation, line by line, as turns."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from llmkit.errors import DataError
from llmkit.errors.characters import from_bytes
from llmkit.output.report import Report

TURN_MARK, CONTINUATION_MARK = "> ", "... "  # before a turn, and before the lines that go on with it
BLOCK_QUOTES = '"""'


@dataclass(frozen=True)
class Turn:
    """What was typed, and the line where it began; in a block nothing is a command."""

    text: str
    line: int
    block: bool = False


class Turns:
    """The turns on standard input, of a person or of a pipe, until it ends.

    A line is a turn. One that ends in a backslash goes on in the next; a block begins and ends with three double
    quotes, at the beginning and at the end of a line. Blank lines are none.
    """

    def __init__(self, report: Report) -> None:
        self.report = report
        self.typed = sys.stdin is not None and sys.stdin.isatty()  # whether a person sits there
        self.line = 0
        if self.typed and importlib.util.find_spec("readline") is not None:
            importlib.import_module("readline")  # `input` then lets a line be edited

    def __iter__(self) -> Iterator[Turn]:
        while True:
            try:
                turn = self._turn()
            except KeyboardInterrupt:
                if not self.typed:
                    raise
                self.report.error_line("\n(Ctrl-D or /quit leaves)")
                continue
            except DataError as error:  # a person types the line again
                if not self.typed:
                    raise
                self.report.error_line(str(error))
                continue
            if turn is None:
                return
            if turn.text.strip():
                yield turn

    def _turn(self) -> Turn | None:
        line = self._read(TURN_MARK)
        if line is None:
            return None
        first_line = self.line
        if line.startswith(BLOCK_QUOTES):
            return Turn(self._block(line.removeprefix(BLOCK_QUOTES)), first_line, block=True)
        lines = [line]
        while lines[-1].endswith("\\"):
            lines[-1] = lines[-1][:-1]
            following = self._read(CONTINUATION_MARK)
            if following is None:
                break
            lines.append(following)
        return Turn("\n".join(lines), first_line)

    def _block(self, rest: str) -> str:
        lines = [rest]
        while not lines[-1].rstrip().endswith(BLOCK_QUOTES):
            following = self._read(CONTINUATION_MARK)
            if following is None:
                return "\n".join(lines).strip("\n")
            lines.append(following)
        lines[-1] = lines[-1].rstrip().removesuffix(BLOCK_QUOTES)
        return "\n".join(lines).strip("\n")

    def _read(self, mark: str) -> str | None:
        """Return a line, None at the end. The mark is for a person, and stdout for results alone."""
        try:
            if self.typed and sys.stdout.isatty():
                line = input(mark)
            else:
                if self.typed:
                    print(mark, end="", file=sys.stderr, flush=True)
                line = sys.stdin.readline() if sys.stdin is not None else ""
                if not line:
                    return None
        except EOFError:
            return None
        self.line += 1
        try:
            return from_bytes(line).rstrip("\r\n")
        except UnicodeError:
            raise DataError(f"line {self.line} of standard input is not utf-8") from None
