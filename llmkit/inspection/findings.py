"""What is wrong with some rows of a dataset, as a sentence for a person and as fields for a script."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llmkit.data.parts import Part
from llmkit.metrics.observations import Ints
from llmkit.output.survey_result import FindingResult

MAX_ROWS_NAMED = 5  # of a finding, by their numbers


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with `rows` rows, counted exactly; `first` are the numbers of a few of them.

    `twins` are the rows that these were compared with, of the split `other` where it is another one.
    """

    kind: str
    split: str
    rows: int
    of: int
    sentence: str
    first: tuple[int, ...] = ()
    twins: tuple[int, ...] = ()
    other: str | None = None
    label: str | None = None

    def as_dict(self) -> FindingResult:
        """Return the fields that --json prints."""
        return {
            "kind": self.kind,
            "split": self.split,
            "rows": self.rows,
            "of": self.of,
            "share": self.rows / self.of,
            "first": list(self.first),
            "twins": list(self.twins),
            "other": self.other,
            "label": self.label,
            "sentence": self.sentence,
        }


@dataclass(frozen=True)
class RowsOf:
    """Rows of a part, by their places."""

    part: Part
    places: Ints

    def numbers(self) -> tuple[int, ...]:
        """Return the numbers that a person finds the first of them by; none where they cannot be found."""
        return tuple(map(self.part.number, self.places[:MAX_ROWS_NAMED].tolist())) if self.part.named else ()


def finding_of(
    kind: str, part: Part, places: Ints, what: str, *, twins: RowsOf | None = None, label: str | None = None
) -> Iterator[Finding]:
    """Yield the finding of the rows at some places, if there are any: `4 of 20 train rows` and what is wrong with them.

    Args:
        kind: by which scripts know it.
        part: whose rows they are.
        places: of the rows, (n,).
        what: the rest of the sentence.
        twins: the rows that they were compared with, (n,), in the same order; none where only their part counts.
        label: in question, where one is.
    """
    if not len(places):
        return
    first = RowsOf(part, places).numbers()
    twin_numbers = twins.numbers() if twins is not None and first else ()
    elsewhere = twins is not None and twins.part is not part
    verb = "is like" if kind.startswith("near") else "is"
    rows = _listed(first, twin_numbers, len(places), f"{{}} {verb} row {{}}{' there' if elsewhere else ''}")
    yield Finding(
        kind=kind,
        split=part.name,
        rows=len(places),
        of=len(part.rows),
        sentence=f"{len(places)} of {len(part.rows)} {part.name} rows {what}{rows}",
        first=first,
        twins=twin_numbers,
        other=twins.part.name if twins is not None and elsewhere else None,
        label=label,
    )


def _listed(first: Sequence[int], twins: Sequence[int], count: int, pair: str) -> str:
    """Return ` (rows 3, 8 and 12 more)` or ` (row 3 is row 1 there, ...)`; nothing where no row is named."""
    if not first:
        return ""
    rest = f" and {count - len(first)} more" if count > len(first) else ""
    if not twins:
        return f" ({'rows' if count > 1 else 'row'} {', '.join(map(str, first))}{rest})"
    pairs = ("row " + pair.format(row, twin) for row, twin in zip(first, twins, strict=True))
    return f" ({', '.join(pairs)}{rest})"
