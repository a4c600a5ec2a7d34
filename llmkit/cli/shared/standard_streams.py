"""What the process is given: its arguments and its standard streams, whatever encoding the system names."""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Sequence

from llmkit.errors import OptionError
from llmkit.errors.characters import from_bytes

ESCAPES = "llmkit-escapes"  # the error handler of a stdout that cannot write all characters


def prepare_streams() -> None:
    """Let the standard streams take and give any text.

    One that was closed is opened on nothing. What stdout cannot encode is written as an escape of JSON, which is said
    once on stderr. Bytes on stdin that cannot be read are kept, for their reader to refuse.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            _open_nothing(number, name)
    codecs.register_error(ESCAPES, _Escapes(str(getattr(sys.stdout, "encoding", None))))
    for stream, handler in ((sys.stdin, "surrogateescape"), (sys.stdout, ESCAPES), (sys.stderr, "backslashreplace")):
        if getattr(stream, "errors", None) in {"strict", "surrogateescape"} and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=handler)


def _open_nothing(number: int, name: str) -> None:
    """Open a standard stream on the null device, under its own number: no other file may get that."""
    try:
        os.fstat(number)
    except OSError:
        opened = os.open(os.devnull, os.O_RDWR)
        if opened != number:
            os.dup2(opened, number)
            os.close(opened)
    mode = "r" if name == "stdin" else "w"
    setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115  # for the whole process


class _Escapes:
    """Writes characters that an encoding lacks as JSON does, so that a line of JSON stays one."""

    def __init__(self, encoding: str) -> None:
        self.encoding, self.said = encoding, False

    def __call__(self, error: UnicodeError) -> tuple[str, int]:
        """Return the escapes of the characters that cannot be written, and where to go on."""
        if not isinstance(error, UnicodeEncodeError):
            raise error
        if not self.said:
            self.said = True
            sentence = f"stdout is {self.encoding}, which lacks some characters: they are written as \\u00e9"
            print(f"{sentence}; PYTHONIOENCODING=utf-8 writes them as they are", file=sys.stderr, flush=True)
        units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
        return "".join(f"\\u{units[place : place + 2].hex()}" for place in range(0, len(units), 2)), error.end


def readable_arguments(arguments: Sequence[str]) -> list[str]:
    """Return the arguments as text: bytes that the system could not read are read as UTF-8.

    Raises:
        OptionError: an argument is no UTF-8.
    """
    texts = []
    for number, argument in enumerate(arguments, start=1):
        try:
            texts.append(from_bytes(argument))
        except UnicodeError:
            raise OptionError(
                f"argument {number} is not UTF-8: {argument!a}; a text goes through iconv -t utf-8, and a file of "
                "such a name has to be renamed"
            ) from None
    return texts
