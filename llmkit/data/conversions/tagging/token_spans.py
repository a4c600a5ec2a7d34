"""Spans of words, as GLiNER's training data has them ([first word, last word, type]), made into tags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from llmkit.data.columns import is_string, item_of
from llmkit.data.conversions.base import Conversion
from llmkit.data.conversions.tagging.span_words import Span, longest
from llmkit.data.conversions.tagging.spans import span_cells
from llmkit.data.conversions.tagging.tag_schemes import OUTSIDE
from llmkit.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

WORDS, SPANS = "tokenized_text", "ner"


@dataclass(frozen=True)
class TokenSpanConversion(Conversion):
    """Words and spans of them, with the last word in each, as `tokens` and `tags` in IOB2."""

    overlapping: int = 0

    @property
    def reads(self) -> tuple[str, ...]:
        return (WORDS, SPANS)

    @property
    def writes(self) -> tuple[str, ...]:
        return ("tokens", "tags")

    @property
    def sentence(self) -> str:
        said = f"spans of words in {SPANS}: IOB2 tags of {WORDS}"
        more = f", of spans that overlap the longest is kept ({self.overlapping} left out)" if self.overlapping else ""
        return said + more

    def apply(self, rows: Dataset) -> Dataset:
        from datasets import List, Value

        tags = []
        for place, (words, spans) in enumerate(zip(rows[WORDS][:], _spans(rows), strict=True)):
            of_row = [OUTSIDE] * len(words or ())
            for start, end, kind in longest(spans):
                if not 0 <= start < end <= len(of_row):
                    raise DataError(
                        f"row {place + 1}: the span [{start}, {end - 1}] {kind!r} is none of {len(of_row)} words"
                    )
                of_row[start:end] = [f"B-{kind}", *[f"I-{kind}"] * (end - start - 1)]
            tags.append(of_row)
        others = rows.remove_columns([name for name in (SPANS, *self.writes) if name in rows.column_names])
        values = pa.array(tags, pa.list_(pa.string()))
        return others.rename_column(WORDS, "tokens").add_column("tags", values, feature=List(Value("string")))


def find(rows: Dataset) -> TokenSpanConversion | None:
    """Return how spans of words are made into tags, or None where there are none."""
    if not {WORDS, SPANS} <= {*rows.column_names} or not is_string(item_of(rows.features[WORDS])):
        return None
    if not any(isinstance(one, dict) for cell in span_cells(rows, SPANS) for one in cell or ()):
        return None
    spans = _spans(rows)
    return TokenSpanConversion(sum(len(of_row) - len(longest(of_row)) for of_row in spans))


def _spans(rows: Dataset) -> list[list[Span]]:
    """Return the spans of each row, each once, with one past the last word."""
    rows_of_spans = []
    for cell in span_cells(rows, SPANS):
        spans = [Span(int(str(one["start"])), int(str(one["end"])) + 1, str(one["label"])) for one in cell or ()]
        rows_of_spans.append(list(dict.fromkeys(spans)))
    return rows_of_spans
