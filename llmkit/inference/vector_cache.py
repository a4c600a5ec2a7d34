"""Vectors of texts kept on disk by content: what was embedded before, in the same way, need not be embedded again."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from llmkit.inference.cache import CacheEntry, folder, key_of
from llmkit.output.report import Report

Vectors = npt.NDArray[np.float32]
STORED_TYPE = np.dtype("<f4")


def content_key(text: str) -> bytes:
    """Return what a text's vector is kept under: the SHA-256 of its UTF-8."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


class VectorCache:
    """The kept vectors of one way to embed; `parts` are all that a vector depends on besides its text."""

    def __init__(
        self, parts: Mapping[str, object], about: Mapping[str, object], dimension: int, report: Report
    ) -> None:
        self.key, self.about, self.dimension, self.report = key_of(parts), about, dimension, report
        self._entry: CacheEntry | None = None

    def read(self, keys: Collection[bytes]) -> dict[bytes, Vectors]:
        """Return the vectors that are kept under the keys, each of shape (dimension,), by content key."""
        asked, size = set(keys), self.dimension * STORED_TYPE.itemsize
        try:
            items = self._open().read()
        except OSError:
            return {}
        return {
            key: np.frombuffer(value, STORED_TYPE)
            for key, value in items.items()
            if key in asked and len(value) == size
        }

    def add(self, keys: Sequence[bytes], vectors: Vectors) -> None:
        """Keep vectors, (keys, dimension); where they cannot be written, that is said, and costs the cache alone."""
        rows = np.ascontiguousarray(vectors, STORED_TYPE)
        try:
            self._open().write({key: row.tobytes() for key, row in zip(keys, rows, strict=True)})
        except OSError as error:
            self.report.warn(f"the cache cannot be written ({error.strerror or error}: {folder()})")

    def close(self) -> None:
        """Let go of the file."""
        if self._entry is not None:
            self._entry.close()
            self._entry = None

    def _open(self) -> CacheEntry:
        if self._entry is None:
            self._entry = CacheEntry(self.key, self.about)
        return self._entry
