"""What is wrong with some rows of a dataset, as a sentence for a person and as fields for a script."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from llmkit.data.parts import Part
from llmkit.inspection.row_codes import Ints

FIRST = 5  # rows that a finding names


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

    def as_dict(self) -> dict[str, Any]:
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


def finding(
    kind: str,
    part: Part,
    places: Ints,
    says: str,
    *,
    twins: Ints | None = None,
    other: Part | None = None,
    label: str | None = None,
) -> Iterator[Finding]:
    """Yield the finding of the rows at some places, if there are any: `4 of 20 train rows` and what it says of them."""
    if not len(places):
        return
    home = other or part
    first = tuple(part.number(place) for place in places[:FIRST].tolist()) if part.named else ()
    known = twins is not None and home.named and bool(first)
    against = tuple(home.number(twin) for twin in twins[:FIRST].tolist()) if twins is not None and known else ()
    align_columns = "is like" if kind.startswith("near") else "is"
    which = _listed(first, against, len(places), f"{{}} {align_columns} row {{}}{' there' if other else ''}")
    sentence = f"{len(places)} of {len(part.rows)} {part.name} rows {says}{which}"
    yield Finding(
        kind, part.name, len(places), len(part.rows), sentence, first, against, other.name if other else None, label
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
