"""Texts from standard input, and from a flag that can name it."""

from __future__ import annotations

import sys
from pathlib import Path

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


def stdin_prompt(encoding: str) -> str:
    """Return what stands on standard input as one prompt, without the end of its last line.

    Raises:
        OptionError: standard input is a terminal, so there is no prompt at all.
        DataError, EmptyError: as `read_stdin`.
    """
    if sys.stdin is None or sys.stdin.isatty():
        raise OptionError('no prompt: llmkit generate "Once upon a time", or send one by standard input')
    return read_stdin(encoding).removesuffix("\n").removesuffix("\r")


def flag_text(value: str, encoding: str) -> str:
    """Return the text that --context names: standard input, the content of a file, or the text itself.

    Raises:
        DataError: it looks like the name of a file that is not there, or the file is in another encoding.
        EmptyError: standard input is empty.
    """
    from llmkit.data.files import decode

    if value == "-":
        return read_stdin(encoding)
    path = Path(value)
    try:
        is_file = path.is_file()
    except OSError:  # longer than a file name can be
        is_file = False
    if is_file:
        return decode(path.read_bytes(), encoding, value)
    if len(value.split()) == 1 and path.suffix[1:].isascii() and path.suffix[1:].isalpha():
        raise DataError(f"--context {value}: there is no such file; a text has several words, - means stdin")
    return value
