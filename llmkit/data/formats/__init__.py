"""The formats of data files, from bytes to rows: a module each, which names the line at fault.

Text goes from bytes (`text`) to a table's cells (`dialects`, `headers`, `tables`) or to JSON values (`json_values`).
Every reader gives a `Part`; `schemas` gives all parts of a dataset one type for each column.
"""

from __future__ import annotations

from llmkit.data.formats.part import FileRow, Part

__all__ = ["FileRow", "Part"]
