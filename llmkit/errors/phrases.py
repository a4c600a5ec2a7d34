"""The words that sentences of errors share: near names, lists, quotations."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MAX_ERROR = 200  # characters of a library's message that a sentence holds
MAX_QUOTATION = 40  # characters of a value that a sentence quotes


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ` (did you mean 'f1'?)` when a known name is near, else the empty string."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""


def listing(names: Iterable[object], most: int = 12) -> str:
    """Join names with commas, cut after `most` of them."""
    texts = [str(name) for name in names]
    rest = len(texts) - most
    return ", ".join(texts[:most]) + (f" and {rest} more" if rest > 0 else "")


def one_line(value: object, most: int | None = None) -> str:
    """Return the text of a value on one line, and of that the first `most` characters."""
    return " ".join(str(value).split())[:most]


def brief(error: BaseException) -> str:
    """Return an error in one line, cut where it is long; its type where it says nothing."""
    return _cut(one_line(error) or type(error).__name__, MAX_ERROR)


def shortened(value: object) -> str:
    """Return the text of a value, or the texts of a tuple, as a quotation of one line that is cut where it is long."""
    text = " | ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return repr(_cut(one_line(text), MAX_QUOTATION))


def shortened_repr(value: object) -> str:
    """Return a value as Python writes it, cut where it is long."""
    return _cut(repr(value), MAX_QUOTATION)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."
