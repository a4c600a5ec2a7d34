"""Parts of large data files that can be read without what is before them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from llmkit.data import files
from llmkit.data.files.batches import Piece, texts_of
from llmkit.data.formats.text import DataFile, is_utf8, marked
from llmkit.options import FileOptions

BYTES_PER_PIECE = 1 << 25  # of a file that can be read in pieces


def pieces_of(path: DataFile, options: FileOptions) -> list[Piece] | list[None]:
    """Return the parts of a large data file that can be read for themselves; [None]: it is read as a whole.

    Lines of JSON and of text are cut at the end of a line, parquet files between row groups.
    """
    if not isinstance(path, Path):
        return [None]
    kind = files.format_of(path)
    if kind == "parquet":
        return _row_groups(path)
    if kind not in {"jsonl", "txt"} or path.suffix.lower() in files.COMPRESSIONS:
        return [None]
    size, starts = path.stat().st_size, [0]
    if size < 2 * BYTES_PER_PIECE:
        return [None]
    if kind == "txt" and files.options_of_table(str(path), next(texts_of(path, options.encoding), ""), options):
        return [None]
    with path.open("rb") as file:
        if not is_utf8(marked(file.read(4), options.encoding).removesuffix("-sig")):
            return [None]
        for place in range(BYTES_PER_PIECE, size, BYTES_PER_PIECE):
            file.seek(place)
            file.readline()
            if starts[-1] < file.tell() < size:
                starts.append(file.tell())
    return [Piece(start, end) for start, end in pairwise([*starts, size])]


def _row_groups(path: Path) -> list[Piece] | list[None]:
    import pyarrow.parquet

    starts, size = [0], 0
    with pyarrow.parquet.ParquetFile(path) as file:
        groups = file.metadata.num_row_groups
        for group in range(groups):
            if size >= BYTES_PER_PIECE:
                starts.append(group)
                size = 0
            size += file.metadata.row_group(group).total_byte_size
    return [Piece(*ends, "row groups") for ends in pairwise([*starts, groups])] if len(starts) > 1 else [None]
