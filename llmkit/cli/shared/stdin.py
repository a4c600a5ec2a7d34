"""Standard input as text."""

from __future__ import annotations

import sys

from llmkit.errors import DataError, EmptyError, OptionError


def read_stdin(encoding: str) -> str:
    """Return what stands on standard input.

    Raises:
        DataError: it is in another encoding.
        EmptyError: there is nothing.
    """
    buffer = getattr(sys.stdin, "buffer", None)
    try:
        text = sys.stdin.read() if buffer is None else buffer.read().decode(encoding)
    except LookupError:
        raise DataError(f"--encoding {encoding!r} is not a known character encoding") from None
    except UnicodeDecodeError as error:
        raise DataError(f"standard input is not {encoding} (byte {error.start}); name its --encoding") from None
    if not text.strip():
        raise EmptyError("standard input is empty")
    return text.removeprefix("\ufeff")


def stdin_lines(encoding: str, verb: str) -> list[str]:
    """Return the lines of standard input, the texts of a command that was given none.

    Raises:
        OptionError: standard input is a terminal, so there is no text at all.
        DataError, EmptyError: as `read_stdin`.
    """
    if sys.stdin is None or sys.stdin.isatty():
        raise OptionError(f'no text: llmkit {verb} "a text", or send lines by standard input')
    lines = read_stdin(encoding).removesuffix("\n").split("\n")
    return [line.removesuffix("\r") for line in lines]
