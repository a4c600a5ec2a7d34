"""What the columns of a dataset hold: read from a sample of their cells, whatever the columns are called."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from llmkit.data.columns import is_string, item_of
from llmkit.data.loading import Source

if TYPE_CHECKING:
    from datasets import Dataset, Features

SAMPLE_ROWS = 2000  # of all rows, as those of a sorted dataset begin with one class
MOST_CLASSES = 1000
CLASS_CHARACTERS = 60  # the name of a class is not longer on average
WORDS_OF_TEXT = 1.8  # on average, from which cells with blanks are texts and no names
PATTERN_SHARE = 0.9  # of the cells, from which on a column holds nothing but such
PATTERNS = {
    "url": re.compile(r"(https?|ftp|s3|gs)://\S+|www\.\S+"),
    "date": re.compile(
        r"\d{4}[-/.]\d{1,2}([-/.]\d{1,2})?([ T]\d{1,2}:\d{2}.*)?|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}( \d{1,2}:\d{2}.*)?"
        r"|\w{3},? \w{3} \d{1,2} .*\d{4}|\w{3,9} \d{1,2},? \d{4}|\d{1,2} \w{3,9},? \d{4}|\d{4}年\d{1,2}月(\d{1,2}日)?"
    ),
    "email": re.compile(r"[^@\s]+@[^@\s]+\.[a-z]{2,}"),
    "path": re.compile(
        r"(\S*/)?[\w.-]+\.(jpe?g|png|gif|wav|mp3|mp4|txt|pdf|json|csv|html?|xml|docx?)|/?([\w.-]+/){2,}\S*"
    ),
    "number": re.compile(r"[-+]?[$€£¥]?\s?[\d.,\s]*\d\s?%?([eE][-+]?\d+)?"),
    "identifier": re.compile(r"[0-9a-f]{8}-[0-9a-f-]{20,}|[0-9a-f]{12,}|[A-Za-z_-]*\d+[\w-]*|[A-Za-z0-9_-]{20,}"),
}
IDEOGRAPH = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\u0e00-\u0e7f]")
NAME_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_a-zA-Z]+|\d+")


def name_words(name: str) -> tuple[str, ...]:
    """Return the words of a column's name in lower case: airlineSentiment_1 is airline, sentiment, 1."""
    return tuple(part.lower() for part in NAME_PARTS.findall(name))


def sampled(rows: Dataset, most: int) -> Dataset:
    """Return so many rows at most, drawn from all of them: every n-th of rows that take turns would be of one class."""
    if len(rows) <= most:
        return rows
    drawn = np.random.default_rng(0).choice(len(rows), most, replace=False)
    return rows.select(np.sort(drawn))


@dataclass(frozen=True, eq=False)
class ColumnProfile:
    """What the sampled cells of one column hold."""

    name: str
    feature: object
    cells: Sequence[Any] = field(repr=False)  # that are not blank

    sampled: int = 0  # cells, blank ones too

    @cached_property
    def words_of_name(self) -> tuple[str, ...]:
        """The words of its name, in lower case."""
        return name_words(self.name)

    @property
    def is_blank(self) -> bool:
        """Whether no cell holds anything."""
        return not self.cells

    @property
    def filled(self) -> float:
        """The share of cells that are not blank."""
        return len(self.cells) / max(1, self.sampled)

    @property
    def is_string(self) -> bool:
        """Whether cells are strings."""
        return is_string(self.feature)

    @property
    def is_number(self) -> bool:
        """Whether cells are integers or floats, and no classes with names."""
        from datasets import Value

        return isinstance(self.feature, Value) and self.feature.dtype.startswith(("int", "uint", "float", "decimal"))

    @property
    def has_fractions(self) -> bool:
        """Whether cells are floats of which one is no whole number."""
        is_float = self.is_number and str(getattr(self.feature, "dtype", "")).startswith(("float", "decimal"))
        return is_float and any(value != value or value % 1 for value in self.cells)

    @property
    def is_flag(self) -> bool:
        """Whether cells are true or false, or 1 or 0."""
        from datasets import ClassLabel

        if isinstance(self.feature, ClassLabel) or not self.cells:
            return False
        return {str(cell).lower() for cell in self.cells} <= {"true", "false", "0", "1", "0.0", "1.0", "yes", "no"}

    @property
    def is_list(self) -> bool:
        """Whether cells are lists."""
        return item_of(self.feature) is not None

    @cached_property
    def distinct(self) -> int:
        """How many different values the cells have."""
        return len({str(cell) for cell in self.cells})

    @property
    def is_constant(self) -> bool:
        """Whether all cells of several rows are the same."""
        return self.distinct == 1 and len(self.cells) > 1

    @cached_property
    def pattern(self) -> str | None:
        """What strings are that are no text: url, date, email, path, number or identifier; all but a few are."""
        if not self.is_string or not self.cells:
            return None
        texts = [cell.strip() for cell in self.cells]
        for name, pattern in PATTERNS.items():
            if sum(pattern.fullmatch(text) is not None for text in texts) >= PATTERN_SHARE * len(texts):
                return name
        return None

    @cached_property
    def words(self) -> float:
        """How many words a cell of strings has on average; an ideograph counts as half of one."""
        if not self.is_string or not self.cells:
            return 0.0
        counts = [max(len(cell.split()), len(IDEOGRAPH.findall(cell)) / 2) for cell in self.cells]
        return float(sum(counts) / len(counts))

    @cached_property
    def characters(self) -> float:
        """How many characters a cell of strings has on average."""
        return sum(len(cell) for cell in self.cells) / len(self.cells) if self.is_string and self.cells else 0.0

    @property
    def is_text(self) -> bool:
        """Whether cells are strings of several words, no links, dates, paths, numbers or names."""
        return self.is_string and self.pattern is None and self.words >= WORDS_OF_TEXT

    @property
    def repeats(self) -> bool:
        """Whether the values come again and again, as those of classes do."""
        return 2 <= self.distinct <= min(MOST_CLASSES, max(2, len(self.cells) / 2)) and self.distinct < len(self.cells)

    @property
    def can_be_class(self) -> bool:
        """Whether the cells can be names of classes: short values, few of them, which repeat."""
        from datasets import ClassLabel

        if isinstance(self.feature, ClassLabel):
            return True
        if not self.repeats or self.pattern in {"url", "date", "email"} or self.has_fractions:
            return False
        is_flat = self.is_string or self.is_number or str(getattr(self.feature, "dtype", "")) == "bool"
        return is_flat and self.characters <= CLASS_CHARACTERS

    @property
    def measures(self) -> bool:
        """Whether cells are numbers, also as $3 or 3,5, that are no few classes and number no rows."""
        return (self.is_number or self.pattern == "number") and not (self.can_be_class or self.is_identifier)

    @property
    def is_identifier(self) -> bool:
        """Whether cells number or name the rows: all differ and are no text."""
        words = set(self.words_of_name)
        named = bool(words & {"id", "ids", "idx", "index", "uuid", "guid", "qid", "uid", "pid", "key", "unnamed"})
        unique = self.distinct == len(self.cells) > 1
        has_marks = self.pattern == "number" and any(re.search(r"[^\d\s]", cell) for cell in self.cells)
        by_pattern = self.pattern in {"identifier", "number", "path", "url", "email"} and not has_marks
        return (unique and (by_pattern or (self.is_number and not self.has_fractions))) or (named and not self.is_text)

    @property
    def summary(self) -> str:
        """A phrase on what it holds: `6 values that repeat`, `texts of 12 words`."""
        if self.is_blank:
            return "nothing"
        if self.pattern in {"url", "date", "email", "path"}:
            return {"url": "links", "date": "dates", "email": "addresses", "path": "file names"}[self.pattern]
        if self.is_constant and not self.is_list:
            return f"{str(self.cells[0])[:40]!r} alone"
        if self.can_be_class:
            return f"{self.distinct} values that repeat"
        if self.is_string:
            return f"texts of {self.words:.0f} words" if self.is_text else f"{self.distinct} short texts"
        if self.is_list:
            return "lists"
        return "numbers" if self.is_number else "objects"


@dataclass(frozen=True, eq=False)
class Evidence:
    """The rows that a task is chosen for: the split to train on or to measure on, the others, and what they hold."""

    rows: Dataset
    parts: Mapping[str, Dataset] = field(default_factory=dict)  # all splits by name
    mixed: Mapping[str, str] = field(default_factory=dict)  # columns that hold values of no one type, each a sentence

    @classmethod
    def of(cls, source: Source, rows: Dataset | None = None) -> Evidence:
        """Return what a dataset holds; `rows` are those that count most, else its split to train on."""
        return cls(source.any() if rows is None else rows, dict(source.splits), source.mixed)

    @property
    def features(self) -> Features:
        """The features of the columns by name."""
        return self.rows.features

    @cached_property
    def columns(self) -> dict[str, ColumnProfile]:
        """What each column with a name holds, by its name, in the order of the columns."""
        sample = sampled(self.rows.with_format(None), SAMPLE_ROWS)
        profiles = {}
        named = {name: feature for name, feature in self.rows.features.items() if name.strip()}
        for name, feature in (named or self.rows.features).items():
            cells = sample[name][:]
            filled = [cell for cell in cells if cell is not None and not (isinstance(cell, str) and not cell.strip())]
            profiles[name] = ColumnProfile(name, feature, filled, len(cells))
        return profiles

    def parts_with(self, column: str) -> dict[str, Dataset]:
        """Return the splits that have a column, that which counts most first."""
        parts = self.parts or {"train": self.rows}
        return {name: part for name, part in parts.items() if column in part.column_names}

    def texts(self, but: Sequence[str] = ()) -> list[ColumnProfile]:
        """Return the columns that hold texts, but for some."""
        return [column for column in self.columns.values() if column.is_text and column.name not in but]

    def strings(self, but: Sequence[str] = ()) -> list[ColumnProfile]:
        """Return the columns of strings, but for some and for those that hold links, dates, paths and the like."""
        named = [column for column in self.columns.values() if column.is_string and column.name not in but]
        return [column for column in named if column.pattern not in {"url", "date", "email", "path"}]
