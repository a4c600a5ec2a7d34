"""Tags of words in any scheme and any writing: lists of names in IOB2."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from llmkit.data.columns import is_label, is_string, item_of
from llmkit.data.conversions.base import Conversion
from llmkit.data.conversions.tagging.lists import items_in, list_in
from llmkit.data.conversions.tagging.tag_schemes import (
    BEGINS,
    OUTSIDE,
    OUTSIDE_NAMES,
    TagScheme,
    iob2,
    marks_are_last,
    parsed_tag,
    scheme_of,
)
from llmkit.data.label_sets import UNLABELLED, declared_in
from llmkit.errors import DataError, listing

if TYPE_CHECKING:
    from datasets import Dataset

SEPARATORS = (",", "|", ";", "\t", None)  # None: blanks, which come after commas too
MOST = 0.9  # of the rows: how many must have a tag for each word where both are read from text
CHARACTERS = ""  # in place of a separator: each character is a word


@dataclass(frozen=True)
class CellReading:
    """How a cell that is one string is read, where it spells no list: split at a separator, or into characters."""

    separator: str | None = None

    def items(self, cell: object) -> list[object] | None:
        """Return the items of a cell, or None where it is null or blank."""
        if not isinstance(cell, str):
            return None if cell is None else list(cell) if isinstance(cell, Iterable) else [cell]
        if not cell.strip():
            return None
        items = list_in(cell)
        if items is not None:
            return items
        if self.separator == CHARACTERS:
            return [letter for letter in cell if not letter.isspace()]
        return list(items_in(cell, self.separator))


@dataclass(frozen=True)
class TagConversion(Conversion):
    """Words and tags as lists of strings, the tags in IOB2; a word without a label keeps -100."""

    tokens: str
    tags: str
    scheme: TagScheme
    words: CellReading = CellReading()
    cells: CellReading = CellReading()
    found: tuple[str, ...] = ()  # what was found, in words

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.tokens, self.tags)

    @property
    def writes(self) -> tuple[str, ...]:
        return (self.tokens, self.tags)

    @property
    def sentence(self) -> str:
        read_as = "read as IOB2" if self.scheme.marked else "read as lists of names"
        return f"tags in {self.tags}: {', '.join(self.found)}, {read_as}"

    def apply(self, rows: Dataset) -> Dataset:
        words = [_as_words(items) for items in map(self.words.items, rows[self.tokens][:])]
        memory: dict[str, tuple[str, str] | None] = {}
        tags = [
            None if names is None else iob2(names, self.scheme, memory) for names in _names(rows, self.tags, self.cells)
        ]
        return _with_lists(_with_lists(rows, self.tokens, words), self.tags, tags)


def find(rows: Dataset, tokens: str, tags: str) -> TagConversion | None:
    """Return how tags are read as lists of names in IOB2, or None where they are that, or no tags of these words.

    Raises:
        DataError: marks of spans come first in some tags, and last in others.
    """
    readings = _readings(rows, tokens, tags)
    if readings is None:
        return None
    words, cells = readings
    names = [row for row in _names(rows, tags, cells) if row is not None]
    counts = Counter(name for row in names for name in row)
    _refuse_both_sides(counts, tags, _names(rows, tags, cells))
    scheme = scheme_of(counts, names)
    found = [*_differences(scheme, counts), *_writings(rows, tokens, words), *_writings(rows, tags, cells)]
    if not found:
        return None
    return TagConversion(tokens, tags, scheme, words, cells, tuple(found))


def _readings(rows: Dataset, tokens: str, tags: str) -> tuple[CellReading, CellReading] | None:
    """Return how the cells of words and of tags are read, or None where they are not as many."""
    texts = [name for name in (tokens, tags) if item_of(rows.features[name]) is None]
    if any(not is_string(rows.features[name]) for name in texts):
        return None
    if (tokens not in texts and not is_string(item_of(rows.features[tokens]))) or not _can_be_tags(rows, tags):
        return None
    if not texts:
        return CellReading(), CellReading()
    pairs = [
        (word, tag)
        for word, tag in zip(rows[tokens][:], rows[tags][:], strict=True)
        if word is not None and tag is not None
    ]
    best, most = None, 0
    for words in (CellReading(), CellReading(CHARACTERS)) if tokens in texts else (CellReading(),):
        for cells in map(CellReading, SEPARATORS) if tags in texts else (CellReading(),):
            equal = sum(len(words.items(word) or ()) == len(cells.items(tag) or ()) for word, tag in pairs)
            if equal > most:
                best, most = (words, cells), equal
    if best is None or most < MOST * len(pairs):
        return None
    several = sum(len(best[1].items(tag) or ()) > 1 for _, tag in pairs)
    return best if several >= len(pairs) / 2 else None  # a class of a text of one word is no tag


def _can_be_tags(rows: Dataset, column: str) -> bool:
    """Tell whether a column of strings, or of lists, holds what can be tags: no lists in lists, no broken numbers."""
    item = item_of(rows.features[column])
    if not str(getattr(item, "dtype", "")).startswith("float"):
        return item is None or is_label(item)
    return all(tag is None or tag.is_integer() for cell in rows[column][:] for tag in cell or ())


def _names(rows: Dataset, column: str, reading: CellReading) -> Iterator[list[str] | None]:
    """Yield the names of the tags of each row: blank ones as "", words without a label as UNLABELLED.

    Raises:
        DataError: an id has no name.
    """
    declared = declared_in(rows, column)
    for place, cell in enumerate(rows[column][:], start=1):
        items = reading.items(cell)
        yield None if items is None else [_name(tag, declared, column, place) for tag in items]


def _name(tag: object, declared: Sequence[str], column: str, place: int) -> str:
    if tag is None:
        return ""
    if isinstance(tag, float) and tag.is_integer():
        tag = int(tag)
    name = str(tag).strip()
    if not declared or name == UNLABELLED:
        return name
    if not isinstance(tag, int) or not 0 <= tag < len(declared):
        raise DataError(f"row {place}: the tag {tag} in {column!r} has no name; there are {len(declared)}, from 0")
    return declared[tag].strip()


def _refuse_both_sides(counts: Counter[str], column: str, rows: Iterable[Sequence[str] | None]) -> None:
    first = [name for name in counts if (parsed_tag(name, suffixed=False) or " ")[0] in "BI"]
    last = [name for name in counts if name not in first and (parsed_tag(name, suffixed=True) or " ")[0] in "BI"]
    others = [name for name in counts if name not in {*first, *last, UNLABELLED} and name.upper() not in OUTSIDE_NAMES]
    if not first or not last or (marks_are_last(counts) is None and others):
        return
    rarer = min((first, last), key=lambda names: sum(counts[name] for name in names))
    place = next(place for place, names in enumerate(rows, start=1) if names and set(names) & set(rarer))
    raise DataError(
        f"row {place}: the marks of the tags in {column!r} come first in {first[0]!r} and last in {last[0]!r}, "
        f"which do not go together: write all as {OUTSIDE} and B-TYPE, I-TYPE"
    )


def _differences(scheme: TagScheme, counts: Counter[str]) -> Iterator[str]:
    """Yield what in the names of tags is not as IOB2 has it."""
    if scheme.marked and scheme.name != "IOB2":
        yield scheme.name
    changed = []
    for name, _ in counts.most_common():
        parsed = scheme.read(name)
        if name in {UNLABELLED, OUTSIDE} or (parsed is not None and not parsed[0]):
            continue
        if parsed is None:
            yield f"{name!r} is {OUTSIDE}" if name else f"a blank is {OUTSIDE}"
        elif "-".join(parsed) != name:
            changed.append(f"{name!r} is {'B' if parsed[0] in BEGINS else 'I'}-{parsed[1]}")
    if changed:
        yield listing(changed, 2)


def _writings(rows: Dataset, column: str, reading: CellReading) -> Iterator[str]:
    """Yield how the lists of a column are written, where they are no lists of strings or of classes."""
    item = item_of(rows.features[column])
    if item is not None:
        if str(getattr(item, "dtype", "")).startswith("float"):
            yield f"numbers in {column} without their .0"
        return
    cell = next((cell for cell in rows[column][:] if cell and cell.strip()), "")
    if list_in(cell) is not None:
        yield f"lists in {column} written as text"
    elif reading.separator == CHARACTERS:
        yield f"each character of {column} is a word"
    else:
        yield f"{column} split at {'blanks' if reading.separator is None else repr(reading.separator)}"


def _as_words(items: list[object] | None) -> list[str | None] | None:
    return None if items is None else [None if item is None else str(item) for item in items]


def _with_lists(rows: Dataset, column: str, lists: Sequence[Sequence[str | None] | None]) -> Dataset:
    """Return rows with a column of lists of strings in the place of one of that name."""
    from datasets import List, Value

    order = rows.column_names
    values = pa.array(lists, pa.list_(pa.string()))
    replaced = rows.remove_columns(column).add_column(column, values, feature=List(Value("string")))
    return replaced.select_columns(order)
