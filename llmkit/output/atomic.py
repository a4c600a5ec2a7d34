"""Files that are there whole or not at all, and where those lie that can be made again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def staged(path: Path) -> Iterator[Path]:
    """Yield a file to write that replaces `path` in the end: a reader never sees half, a failure leaves the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.tmp")
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes | str) -> None:
    """Replace a file whole."""
    with staged(path) as beside:
        beside.write_bytes(content.encode() if isinstance(content, str) else content)


def cache_folder() -> Path:
    """Return where what can be made again is kept: $LLMKIT_CACHE, else llmkit/ in the user's cache folder."""
    given = os.environ.get("LLMKIT_CACHE")
    if given:
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "llmkit"
