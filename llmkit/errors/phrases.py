"""The words that sentences of errors share: near names, lists, quotations."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ` (did you mean 'f1'?)` when a known name is near, else the empty string."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""


def listing(names: Iterable[object], most: int = 12) -> str:
    """Join names with commas, cut after `most` of them."""
    shown = [str(name) for name in names]
    rest = len(shown) - most
    return ", ".join(shown[:most]) + (f" and {rest} more" if rest > 0 else "")


def brief(error: BaseException) -> str:
    """Return an error in one line, cut where it is long."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."


def shortened(key: Any) -> str:
    """Return a value, or the texts of a key, as a quotation of at most 40 characters."""
    text = " | ".join(map(str, key)) if isinstance(key, tuple) else str(key)
    line = " ".join(text.split())
    return repr(line if len(line) <= 40 else f"{line[:37]}...")
