"""Vectors of texts kept on disk by content: what was embedded before, by the same model in the same way, need not be.

A file holds the vectors of one model: a line of JSON, then records of one size, each with the SHA-256 of its text and a
checksum. It is appended to; a record that was cut short or damaged counts as not written.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import zlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from llmkit.inference import answer_cache
from llmkit.output.report import Report

Vectors = npt.NDArray[np.float32]
LONGEST = 1 << 16  # bytes of the first line


def content_key(text: str) -> bytes:
    """Return what a text's vector is kept under: the SHA-256 of its UTF-8."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


class VectorCache:
    """The kept vectors of one way to embed; `parts` are all that a vector depends on besides its text."""

    def __init__(self, parts: Mapping[str, Any], about: Mapping[str, Any], dimension: int, report: Report) -> None:
        self.path = answer_cache.folder() / f"{answer_cache.key_of(parts)}{answer_cache.VECTORS}"
        self.record = np.dtype([("key", "V32"), ("sum", "<u4"), ("vector", "<f4", (dimension,))])
        self.header = json.dumps({"about": dict(about), "record": self.record.itemsize}).encode() + b"\n"
        self.report = report

    def read(self, wanted: Collection[bytes]) -> dict[bytes, Vectors]:
        """Return the vectors that are kept of those wanted, by content key."""
        try:
            data = self.path.read_bytes()
            os.utime(self.path)  # used now: `llmkit cache clear --older-than` asks for it
        except OSError:
            return {}
        begin = self._begin(data[:LONGEST])
        if begin is None:
            return {}
        whole = (len(data) - begin) // self.record.itemsize
        records = np.frombuffer(data, self.record, count=whole, offset=begin)
        keys = [key.tobytes() for key in records["key"]]
        sought = set(wanted)
        places = [place for place, key in enumerate(keys) if key in sought]
        sound = [place for place in places if records["sum"][place] == _sum(keys[place], records["vector"][place])]
        return {keys[place]: records["vector"][place] for place in sound}

    def add(self, keys: Sequence[bytes], vectors: Vectors) -> None:
        """Keep vectors. A cache that cannot be written to is said, and costs the cache alone."""
        records = np.zeros(len(keys), self.record)
        records["key"] = np.frombuffer(b"".join(keys), "V32")
        records["vector"] = vectors
        records["sum"] = [_sum(key, vector) for key, vector in zip(keys, records["vector"], strict=True)]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                file.truncate(self._sound_end(file))
                file.write(records.tobytes() if file.seek(0, os.SEEK_END) else self.header + records.tobytes())
        except OSError as error:
            self.report.warn(f"the cache cannot be written ({error.strerror or error}: {self.path.parent})")

    def _sound_end(self, file: Any) -> int:
        """Return where the last whole record ends; 0 where the file is none of this cache."""
        file.seek(0)
        begin = self._begin(file.read(LONGEST))
        if begin is None:
            return 0
        size = int(file.seek(0, os.SEEK_END))
        return size - (size - begin) % self.record.itemsize

    def _begin(self, head: bytes) -> int | None:
        """Return where the records begin, after a line that tells their size; None where there is no such line."""
        line, end, _ = head.partition(b"\n")
        try:
            sound = bool(end) and json.loads(line)["record"] == self.record.itemsize
        except (ValueError, TypeError, KeyError):
            return None
        return len(line) + 1 if sound else None


def _sum(key: bytes, vector: Vectors) -> int:
    return zlib.crc32(vector.tobytes(), zlib.crc32(key))
