"""Rows as people have them, made into the columns that tasks read: each module finds one kind and converts it.

A module has a function `find(...) -> Conversion | None`, which looks at what columns hold and at what they are called,
and a frozen dataclass that converts rows by nothing but what was found, so that rows that come later, as validation
or in a stream, are converted alike.
"""

from __future__ import annotations

from llmkit.data.conversions.base import Conversion, converted

__all__ = ["Conversion", "converted"]
