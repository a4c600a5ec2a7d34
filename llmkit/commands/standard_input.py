"""Standard input as text."""

from __future__ import annotations

import sys

from llmkit.errors import DataError, EmptyError


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
