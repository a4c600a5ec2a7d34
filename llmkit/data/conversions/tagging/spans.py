"""Spans of characters in a text, as doccano, Label Studio, prodigy and spaCy have them, made into words and tags."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa

from llmkit.data.columns import Row, is_string, item_of, string_columns, usual_among
from llmkit.data.conversions.base import Conversion
from llmkit.data.conversions.literals import value_of
from llmkit.data.conversions.tagging.span_words import Span, kept_spans, tagged_words
from llmkit.data.formats.annotations import span_objects
from llmkit.errors import DataError, shortened

if TYPE_CHECKING:
    from datasets import Dataset

TEXT_NAMES = ("text", "content", "sentence", "document", "data", "context", "raw", "文本")
SPAN_NAMES = ("spans", "entities", "label", "labels", "annotations", "annotation", "ner", "tags", "span", "entity")
STARTS = ("start", "start_offset", "begin", "start_char", "startoffset", "char_start", "offset", "from")
ENDS = ("end", "end_offset", "stop", "end_char", "endoffset", "char_end", "to")
LABELS = ("label", "labels", "type", "tag", "entity_type", "entity", "entity_group", "category", "class", "name")
BOUNDS = ("pos", "position", "positions", "offsets", "offset", "span", "range", "indices", "bounds", "loc")
WORDINGS = ("text", "word", "value", "surface", "mention")
REFUSED_ANSWERS = ("reject", "ignore")  # of prodigy


class Wording(NamedTuple):
    """A span and what its file says that it holds."""

    span: Span
    text: str | None


@dataclass(frozen=True)
class SpanConversion(Conversion):
    """A text and its spans as `tokens` and `tags` in IOB2; rows that nobody annotated, or rejected, are left out."""

    text: str
    spans: str
    inclusive: bool = False  # whether the end of a span is its last character
    left_out: int = 0
    overlapping: int = 0

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.text, self.spans)

    @property
    def writes(self) -> tuple[str, ...]:
        return ("tokens", "tags")

    @property
    def sentence(self) -> str:
        notes = [f"spans of {self.text} in {self.spans}: words and IOB2 tags"]
        if self.inclusive:
            notes.append("the end of a span is its last character")
        if self.overlapping:
            notes.append(f"of spans that overlap the longest is kept ({self.overlapping} left out)")
        if self.left_out:
            notes.append(f"{self.left_out} rows without annotations, or rejected, are left out")
        return ", ".join(notes)

    def apply(self, rows: Dataset) -> Dataset:
        from datasets import List, Value

        kept = [place for place, cell in enumerate(span_cells(rows, self.spans)) if cell is not None]
        words, tags = list[list[str]](), list[list[str]]()
        cells, texts = span_cells(rows, self.spans), rows[self.text][:]
        for place in kept:
            text = texts[place] or ""
            found = _spans_of(text, cells[place] or [], place, self.inclusive)
            row_words, row_tags = tagged_words(text, kept_spans(text, found, place))
            words.append(row_words)
            tags.append(row_tags)
        others = rows.remove_columns([name for name in (self.spans, *self.writes) if name in rows.column_names])
        if len(kept) < len(rows):
            others = others.select(kept)
        for name, lists in zip(self.writes, (words, tags), strict=True):
            others = others.add_column(name, pa.array(lists, pa.list_(pa.string())), feature=List(Value("string")))
        return others


def find(rows: Dataset) -> SpanConversion | None:
    """Return how spans of a text are made into tagged words, or None where there are none.

    Raises:
        DataError: a span lies outside of its text or has no label; its row is named.
    """
    if any(is_string(item_of(rows.features[name])) for name in usual_among(rows.column_names, ("tokens", "words"))):
        return None  # the words are there
    for spans in usual_among(rows.column_names, SPAN_NAMES):
        cells = span_cells(rows, spans)
        if not any(cells) or not all(_is_span(item) for cell in cells for item in cell or ()):
            continue
        strings = [name for name in string_columns(rows) if name != spans]
        named = usual_among(strings, TEXT_NAMES)
        fitting = [name for name in (*named, *strings) if _all_lie_in(rows[name][:], cells)]
        if fitting or named:
            return _conversion(rows, [*fitting, *named][0], spans, cells)
    return None


def _conversion(rows: Dataset, text: str, spans: str, cells: Sequence[list[Row] | None]) -> SpanConversion:
    texts = [cell or "" for cell in rows[text][:]]
    inclusive = _ends_are_inclusive(texts, cells)
    overlapping = 0
    for place, (cell, of_row) in enumerate(zip(cells, texts, strict=True)):
        if cell is not None:
            found = _spans_of(of_row, cell, place, inclusive)
            overlapping += len(found) - len(kept_spans(of_row, found, place))
    return SpanConversion(text, spans, inclusive, sum(cell is None for cell in cells), overlapping)


def span_cells(rows: Dataset, column: str) -> list[list[Row] | None]:
    """Return the spans of each row as objects; None where it has none because nobody looked, or rejected it."""
    values = [_listed(cell) for cell in rows[column][:]]
    objects = span_objects(values) or values
    if "answer" not in rows.column_names:
        return [cell if isinstance(cell, list) else None for cell in objects]
    return [
        None if answer in REFUSED_ANSWERS else cell if isinstance(cell, list) else []
        for cell, answer in zip(objects, rows["answer"][:], strict=True)
    ]


def _listed(cell: object) -> object:
    """Return the list that a cell holds, as JSON or Python text too; spaCy's object of entities is its list."""
    cell = value_of(cell)
    if isinstance(cell, Mapping) and isinstance(cell.get("entities"), list):
        cell = cell["entities"]
    if isinstance(cell, list) and any(isinstance(item, Mapping) and "points" in item for item in cell):
        return [_of_points(item) for item in cell]  # Dataturks
    if isinstance(cell, list):
        return [_of_bounds(item) if isinstance(item, Mapping) else item for item in cell]
    return cell


def _of_bounds(item: Row) -> Row:
    """Return a span with its bounds by name, where it has them as a list of two."""
    bounds: Sequence[object] = next((item[name] for name in BOUNDS if isinstance(item.get(name), list)), [])
    if len(bounds) != 2 or not all(isinstance(place, int) for place in bounds):
        return item
    return {**item, "start": bounds[0], "end": bounds[1]}


def _of_points(item: Row) -> dict[str, object]:
    point = (item["points"] or [{}])[0]
    return {**{key: point.get(key) for key in ("start", "end", "text")}, "label": item.get("label")}


def _value(item: Row, names: Iterable[str]) -> object:
    by_name = {str(key).lower(): value for key, value in item.items()}
    return next((by_name[name] for name in names if by_name.get(name) is not None), None)


def _is_span(item: object) -> bool:
    if not isinstance(item, Mapping):
        return False
    places = _value(item, STARTS), _value(item, ENDS)
    known = {str(key).lower() for key in item}
    return all(isinstance(place, int) for place in places) and any(name in known for name in LABELS)


def _wordings(cell: Sequence[Row], place: int, inclusive: bool) -> list[Wording]:
    """Return the spans of a row.

    Raises:
        DataError: one has no label, or several.
    """
    found = []
    for item in cell:
        label, text = _value(item, LABELS), _value(item, WORDINGS)
        start, end = int(str(_value(item, STARTS))), int(str(_value(item, ENDS)))
        labels = label if isinstance(label, list) else [label]
        if len(labels) != 1 or labels[0] is None or not str(labels[0]).strip():
            count = len(labels) if label else "no"
            raise DataError(f"row {place + 1}: the span [{start}, {end}] has {count} labels, and one is wanted")
        wording = text if isinstance(text, str) else None
        found.append(Wording(Span(start, end + inclusive, str(labels[0]).strip()), wording))
    return found


def _spans_of(text: str, cell: Sequence[Row], place: int, inclusive: bool) -> list[Span]:
    """Return the spans of a row, each once.

    Raises:
        DataError: one has no label, or holds something else than the row says.
    """
    wordings = _wordings(cell, place, inclusive)
    for wording in wordings:
        if not _agrees(text, wording):
            raise _of_other_words(text, wording, place)
    return list(dict.fromkeys(wording.span for wording in wordings))


def _agrees(text: str, wording: Wording) -> bool:
    return wording.text is None or _same(text[wording.span.start : wording.span.end], wording.text)


def _same(held: str, wording: str) -> bool:
    """Tell whether two texts are the same but for their blanks; Label Studio writes a line end as two characters."""
    return "".join(held.replace("\\n", "").split()) == "".join(wording.replace("\\n", "").split())


def _ends_are_inclusive(texts: Sequence[str], cells: Sequence[list[Row] | None]) -> bool:
    """Tell whether the words that files give with their spans say that an end is the last character."""

    def agree(inclusive: bool) -> Iterator[bool]:
        for place, (text, cell) in enumerate(zip(texts, cells, strict=True)):
            for wording in _wordings(cell or (), place, inclusive):
                if wording.text is not None:
                    yield _agrees(text, wording)

    return not all(agree(False)) and all(agree(True))


def _of_other_words(text: str, wording: Wording, place: int) -> DataError:
    start, end, _ = wording.span
    units = text.encode("utf-16-le", errors="surrogatepass")[2 * start : 2 * end].decode("utf-16-le", errors="replace")
    where = f"row {place + 1}: the span [{start}, {end}]"
    held = f"holds {shortened(text[start:end])} and its text is {shortened(wording.text)}"
    if _same(units, wording.text or ""):
        return DataError(f"{where} {held}: it counts UTF-16 units, in which an emoji is two; count characters")
    return DataError(f"{where} {held}: the same characters are wanted")


def _all_lie_in(texts: Sequence[str | None], cells: Sequence[list[Row] | None]) -> bool:
    pairs = [(text or "", cell) for text, cell in zip(texts, cells, strict=True) if cell]
    return all(int(str(_value(item, ENDS))) <= len(text) for text, cell in pairs for item in cell)
