"""Rows in, rows out: batch work on a file that keeps columns and order, and goes on where it was stopped."""

from __future__ import annotations

from llmkit.inference.row_files.inputs import SpelledRows, TextCounts, inputs_of, require_alike
from llmkit.inference.row_files.job import RowJob
from llmkit.inference.row_files.reading import InputRows, require_file
from llmkit.inference.row_files.writing import RowWriter, identity_of, require_same_rows

__all__ = [
    "InputRows",
    "RowJob",
    "RowWriter",
    "SpelledRows",
    "TextCounts",
    "identity_of",
    "inputs_of",
    "require_alike",
    "require_file",
    "require_same_rows",
]
