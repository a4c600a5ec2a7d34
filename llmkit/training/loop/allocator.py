"""The memory that a step frees is kept for the next one, where glibc would give it back to the system.

A page that comes back is filled with zeros first. Of a step of MiniLM, 16 rows of 54 tokens, that was a sixth: the
gradient of its embeddings alone is 47 MB, which glibc maps and unmaps each time.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Callable, Iterator

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4  # the parameters of mallopt, as malloc.h numbers them
# what glibc takes up to its own limits while it runs, by 64 bits: what it is given back to
MMAP_MAX_BEFORE, LARGEST_MMAP_THRESHOLD = 65536, 32 << 20


@contextlib.contextmanager
def kept_memory() -> Iterator[None]:
    """Let the C allocator keep what is freed inside; a process of a user who sets MALLOC_... is left as it is."""
    set_parameter = None if any(name.startswith("MALLOC_") for name in os.environ) else _mallopt()
    if set_parameter is None:
        yield
        return
    set_parameter(MMAP_MAX, 0)
    set_parameter(TRIM_THRESHOLD, -1)
    try:
        yield
    finally:
        set_parameter(MMAP_MAX, MMAP_MAX_BEFORE)
        set_parameter(MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
        set_parameter(TRIM_THRESHOLD, 2 * LARGEST_MMAP_THRESHOLD)
        ctypes.CDLL(None).malloc_trim(0)


def _mallopt() -> Callable[[int, int], int] | None:
    """Return glibc's mallopt; None where another library gives memory."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    has_both = hasattr(library, "mallopt") and hasattr(library, "malloc_trim")
    mallopt: Callable[[int, int], int] | None = library.mallopt if has_both else None
    return mallopt
