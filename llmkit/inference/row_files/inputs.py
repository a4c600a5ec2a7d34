"""What a model is asked about rows: their inputs by role, and which of its texts were longer than it reads."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmkit.data.columns import Row, input_list, input_text, kind_of
from llmkit.data.label_sets import as_list
from llmkit.errors import DataError
from llmkit.models.text.prompts import spelled_sentence
from llmkit.output.report import Report


@dataclass(frozen=True)
class TextCounts:
    """The texts that a model was given until now."""

    total: int = 0
    cut: int = 0  # that are longer than it reads
    cut_roles: frozenset[str] = frozenset()  # the inputs that lose tokens in them
    kind: str = ""  # what one of them is called: text, pair, question

    def plus(self, other: TextCounts) -> TextCounts:
        """Return the counts of both."""
        kind = "pair" if "pair" in (self.kind, other.kind) else other.kind or self.kind
        return TextCounts(self.total + other.total, self.cut + other.cut, self.cut_roles | other.cut_roles, kind)


@dataclass
class SpelledRows:
    """How many rows of a file spell control tokens that stay text, and which."""

    rows: int = 0
    tokens: dict[str, None] = field(default_factory=dict)

    def add(self, tokens: Iterable[str]) -> None:
        """Count a row more."""
        self.rows += 1
        self.tokens |= dict.fromkeys(tokens)

    def tell(self, rows: int, report: Report) -> None:
        """Say it of so many rows."""
        if self.rows:
            of_rows = f"{self.rows} of {rows} rows hold{'s' if self.rows == 1 else ''}"
            report.say(spelled_sentence(of_rows, list(self.tokens)))


def inputs_of(
    rows: Sequence[Row], columns: Mapping[str, str], list_roles: Collection[str] = frozenset(), first: int = 1
) -> list[Row]:
    """Return the inputs of rows by role: cells as text, a null as the empty text; in `list_roles`, lists as they are.

    Raises:
        DataError: a cell holds a list or an object where a text is wanted; its row is named, the first by that number.
    """
    return [
        {role: _input(row.get(name), role, number, role in list_roles) for role, name in columns.items()}
        for number, row in enumerate(rows, start=first)
    ]


def _input(value: object, role: str, number: int, takes_lists: bool) -> object:
    listed = as_list(value) if takes_lists else None
    return input_list(listed, role, number) if listed else input_text(value, role, number)


def require_alike(columns: Mapping[str, Sequence[Any]], numbers: Sequence[int]) -> None:
    """Refuse a text where the rows before have a list, or the other way round; `numbers` are those of the rows.

    Raises:
        DataError: naming the row.
    """
    for role, values in columns.items():
        kinds = [(value, number) for value, number in zip(values, numbers, strict=True) if value is not None]
        odd = next((pair for pair in kinds if type(pair[0]) is not type(kinds[0][0])), None)
        if odd is not None:
            here, there = kind_of(odd[0]), kind_of(kinds[0][0])
            raise DataError(f"row {odd[1]}: {role} is {here}, and {there} in row {kinds[0][1]}; write all rows alike")
