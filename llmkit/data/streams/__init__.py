"""Rows of a split from its first to its last, a few at a time: what is read is never all in memory."""

from __future__ import annotations

from llmkit.data.streams.opening import Streams, open_streams, stream_files
from llmkit.data.streams.rows import ClassStream, ConvertedStream, FileStream, LibraryStream, RowStream

__all__ = [
    "ClassStream",
    "ConvertedStream",
    "FileStream",
    "LibraryStream",
    "RowStream",
    "Streams",
    "open_streams",
    "stream_files",
]
