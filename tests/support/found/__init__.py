"""Small files of the kinds that people have, each written by `KINDS[kind](folder)`, and what is wanted of each."""

from __future__ import annotations

from found import chats, classes, questions, tables, words
from found.cases import CASES
from found.wanted import Case
from found.writing import Writer

__all__ = ["CASES", "KINDS", "Case"]
KINDS: dict[str, Writer] = {**classes.KINDS, **tables.KINDS, **words.KINDS, **questions.KINDS, **chats.KINDS}
