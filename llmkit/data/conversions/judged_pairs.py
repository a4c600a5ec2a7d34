"""Two answers in columns of one name (response_0 and response_1), and which is the better one, made into pairs.

So are PKU-SafeRLHF, SHP, AlpacaFarm, and the battles of LMSYS's arena, whose winner is a name, or a flag for each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from llmkit.data.columns import is_string, item_of
from llmkit.data.conversions.base import Conversion
from llmkit.data.conversions.writing import with_column
from llmkit.errors import DataError, shortened

if TYPE_CHECKING:
    from datasets import Dataset

STEMS = ("response", "answer", "output", "completion", "reply", "conversation", "human_ref", "generation", "sample")
NAME = re.compile(rf"(?P<stem>(?:\w+_)?(?:{'|'.join(STEMS)})s?)[ _.-]?(?P<mark>0|1|2|a|b)")
MARKS = (("0", "1"), ("1", "2"), ("a", "b"))
JUDGEMENT = re.compile(
    r"(better|preferred|chosen|winning|best)(_(response|answer|output|completion|model))?(_?(id|idx|index))?|winner|"
    r"(overall_)?(human_)?preference|choice|verdict|label|labels"
)
FLAG = re.compile(r"(winner|win|prefer(red)?|chosen)_(\w+_)?(?P<mark>0|1|2|a|b)")
TIES = frozenset(
    {"tie", "tie (bothbad)", "both", "neither", "both_bad", "bothbad", "none", "equal", "same", "draw", ""}
)


@dataclass(frozen=True)
class JudgedPairConversion(Conversion):
    """The better answer of each row as `chosen`, the other as `rejected`; rows where neither is better are left out."""

    answers: tuple[str, str]
    judgement: tuple[str, ...]  # the column that names the better answer, or a flag for each
    firsts: frozenset[str] = frozenset()  # what the judgement says where the first answer is the better one
    seconds: frozenset[str] = frozenset()
    ties: int = 0

    @property
    def reads(self) -> tuple[str, ...]:
        return (*self.answers, *self.judgement)

    @property
    def writes(self) -> tuple[str, ...]:
        return ("chosen", "rejected")

    @property
    def sentence(self) -> str:
        first, second = self.answers
        left_out = f"; {self.ties} rows where neither is better are left out" if self.ties else ""
        if len(self.judgement) > 1:
            one, other = self.judgement
            return f"chosen is {first} where {one} says so, {second} where {other} does{left_out}"
        said = f"chosen is {first} where {self.judgement[0]} is {_said(self.firsts)}, {second} where it is "
        return f"{said}{_said(self.seconds)}{left_out}"

    def apply(self, rows: Dataset) -> Dataset:
        better = list(self.better(rows))
        kept = [place for place, number in enumerate(better) if number is not None]
        first, second = self.answers
        feature = rows.features[first]
        rows = rows.select(kept) if len(kept) < len(rows) else rows
        columns = rows[first][:], rows[second][:]
        pairs = [
            (cells[better[place] or 0], cells[1 - (better[place] or 0)])
            for place, cells in zip(kept, zip(*columns, strict=True), strict=True)
        ]
        rows = with_column(rows, "chosen", [chosen for chosen, _ in pairs], feature)
        return with_column(rows, "rejected", [rejected for _, rejected in pairs], feature)

    def better(self, rows: Dataset) -> Iterator[int | None]:
        """Yield which answer of each row is the better one, 0 or 1, or None where neither is.

        Raises:
            DataError: the judgement is something else.
        """
        cells = zip(*(rows[name][:] for name in self.judgement), strict=True)
        for number, row in enumerate(cells, start=1):
            values = [_plain(cell) for cell in row]
            if len(values) > 1:
                flags = [value in {"1", "true"} for value in values]
                yield flags.index(True) if sum(flags) == 1 else None
            elif values[0] in self.firsts | self.seconds:
                yield int(values[0] in self.seconds)
            elif values[0] in TIES:
                yield None
            else:
                raise DataError(
                    f"row {number}: {self.judgement[0]} is {shortened(row[0])}, and {_said(self.firsts)}, "
                    f"{_said(self.seconds)} or a tie is wanted"
                )


def answer_pair(features: Mapping[str, object]) -> tuple[str, str] | None:
    """Return two columns of answers whose names differ by 0 and 1, 1 and 2, or a and b at the end, or None."""
    by_stem: dict[str, dict[str, str]] = {}
    for name, feature in features.items():
        match = NAME.fullmatch(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
        if match is not None and (is_string(feature) or isinstance(item_of(feature), dict)):
            by_stem.setdefault(match["stem"], {})[match["mark"]] = name
    pairs = [
        (named[marks[0]], named[marks[1]]) for named in by_stem.values() for marks in MARKS if {*named} == {*marks}
    ]
    return pairs[0] if len(pairs) == 1 else None


def find(rows: Dataset) -> JudgedPairConversion | None:
    """Return how judged answers are made into pairs, or None where there are no two, or nothing judges them."""
    answers = answer_pair(rows.features)
    if answers is None:
        return None
    plain = {name: re.sub(r"(?<=[a-z])(?=[A-Z])|[\s-]+", "_", name).lower() for name in rows.column_names}
    flags = {match["mark"]: name for name, words in plain.items() if (match := FLAG.fullmatch(words))}
    if {*flags} in [{*marks} for marks in MARKS]:
        found = JudgedPairConversion(answers, tuple(flags[mark] for mark in sorted(flags)))
        return _with_ties(found, rows)
    for name, words in plain.items():
        if name not in answers and JUDGEMENT.fullmatch(words) and item_of(rows.features[name]) is None:
            values = {_plain(value) for value in rows.unique(name)} - TIES
            sides = _sides(values, answers, words)
            if sides is not None:
                return _with_ties(JudgedPairConversion(answers, (name,), *sides), rows)
    return None


def _sides(values: set[str], answers: Sequence[str], name: str) -> tuple[frozenset[str], frozenset[str]] | None:
    """Return what is said where the first answer is the better one, and where the second is, or None."""
    numbered = answers[0][-1].lower()
    if answers[0].lower().startswith("human_ref") and values <= {"0", "1"}:
        return frozenset("1"), frozenset("0")  # SHP: 1 where A is preferred
    if name in {"label", "labels"} and numbered not in "01":
        return None  # 0 and 1 beside a and b can say either
    marks = next(marks for marks in MARKS if marks[0] == numbered)
    ends = [{mark, answer.lower(), f"model_{mark}"} for mark, answer in zip(marks, answers, strict=True)]
    for first, second in (
        *[tuple(ends)],
        ({"0"}, {"1"}),
        ({"1"}, {"2"}),
        ({"left"}, {"right"}),
        ({"first"}, {"second"}),
    ):
        if values and values <= first | second:
            return frozenset(first & values or first), frozenset(second & values or second)
    return None


def _with_ties(found: JudgedPairConversion, rows: Dataset) -> JudgedPairConversion:
    return replace(found, ties=sum(number is None for number in found.better(rows)))


def _plain(cell: object) -> str:
    text = "" if cell is None else str(cell).strip().lower()
    return text.removesuffix(".0")


def _said(values: frozenset[str]) -> str:
    return " or ".join(sorted(values))
