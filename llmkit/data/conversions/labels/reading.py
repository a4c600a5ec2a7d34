"""Whether labels are numbers or classes: by a flag, or by what their column holds in all splits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from llmkit.data.columns import cells_of
from llmkit.data.conversions.labels.evidence import FEW, NEARLY_ALL, LabelEvidence, evidence_of, kind_of
from llmkit.data.conversions.labels.written_numbers import NOT_FINITE, POINT, NumberStyle, is_formatted, parsed, trimmed
from llmkit.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

CLASSES, NUMBERS = "--classes", "--regression"
CODE = r"^[+-]?0\d|^[+-]?\d{19,}$"  # leading zeros, and integers beyond 64 bits: who writes so counts nothing
WHOLE = r"^[+-]?\d+$"
WRITTEN_AS_FLOAT = r"^-?(?:0|[1-9]\d*)\.0$"


@dataclass(frozen=True)
class LabelReading:
    """Whether a label column holds numbers, and why.

    `flag` asks for the other reading, and is blank where one was given. `decided` says that a person could take the
    cells in the other way, so that the sentence is to be said.
    """

    regression: bool
    reason: str
    flag: str
    decided: bool = True

    @property
    def sentence(self) -> str:
        """What was decided, why, and the flag for the other reading."""
        taken, other = ("numbers", "classes") if self.regression else ("classes", "numbers")
        more = f" ({self.flag} takes them as {other})" if self.flag else ""
        return f"{self.reason}: taken as {taken}{more}"


def reading(parts: Mapping[str, Dataset], column: str, regression: bool | None) -> LabelReading:
    """Return whether the labels are numbers: as said by `regression`, or else by what they are.

    Args:
        parts: all splits with the column, that which is trained on first.
        column: of the labels.
        regression: what a flag or a model's config says; None: what the cells hold decides.

    Raises:
        DataError: it cannot be told; the sentence names the row and the flags.
    """
    return read(parts, evidence_of(parts, column), regression)


def read(parts: Mapping[str, Dataset], evidence: LabelEvidence, regression: bool | None) -> LabelReading:
    """Return whether labels with that evidence are numbers: see `reading`."""
    countable = evidence.kinds <= {"integers", "floats", "text"}
    if regression is True and evidence.kinds and not countable:
        raise DataError(_no_numbers(parts, evidence))
    if regression is not None:
        return LabelReading(regression, f"column {evidence.column!r}", "", decided=False)
    if not evidence.kinds or not countable:
        return LabelReading(False, f"column {evidence.column!r} holds names", NUMBERS, decided=False)
    if not len(evidence.texts):
        return _read_numbers(evidence)
    return _read_texts(parts, evidence)


def _read_numbers(evidence: LabelEvidence) -> LabelReading:
    """Decide on integers and floats."""
    column, examples = evidence.column, evidence.examples()
    if not evidence.is_whole:
        few = evidence.distinct <= FEW
        return LabelReading(True, f"column {column!r} holds numbers with fractions ({examples})", CLASSES, decided=few)
    if evidence.measures:
        return LabelReading(True, _many(evidence), CLASSES)
    if "floats" in evidence.kinds:
        reason = f"column {column!r} holds whole numbers ({examples}), as pandas writes integers beside blank cells"
        return LabelReading(False, reason, NUMBERS)
    reason = f"column {column!r} holds {evidence.distinct} whole numbers that repeat"
    return LabelReading(False, reason, NUMBERS, decided=evidence.distinct > FEW or evidence.is_called_measure)


def _read_texts(parts: Mapping[str, Dataset], evidence: LabelEvidence) -> LabelReading:
    """Decide on texts, and numbers beside them."""
    column, style, texts = evidence.column, evidence.style, evidence.texts
    if style is None:
        _refuse_half_numbers(parts, evidence)
        return LabelReading(False, f"column {column!r} holds names", NUMBERS, decided=False)
    if not style.is_plain:
        return LabelReading(True, _formatted(evidence, style), CLASSES)
    if pc.any(pc.match_substring_regex(texts, CODE)).as_py():
        return LabelReading(False, f"column {column!r} holds codes ({evidence.examples()})", NUMBERS, decided=False)
    if pc.all(pc.match_substring_regex(texts, f"{WHOLE}|{WRITTEN_AS_FLOAT}|{NOT_FINITE}")).as_py():
        if evidence.measures:
            return LabelReading(True, _many(evidence), CLASSES)
        return LabelReading(False, f"column {column!r} holds few whole numbers ({evidence.examples()})", NUMBERS)
    is_one_number_twice = len(evidence.values) < len(texts) and not len(evidence.numbers)
    if is_one_number_twice:
        reason = f"column {column!r} writes one number in two ways ({evidence.examples()}), as versions are"
        return LabelReading(False, reason, NUMBERS)
    decimals = pc.unique(pc.utf8_length(pc.replace_substring_regex(texts, r"^[^.]*", "")))
    if len(decimals) == 1 or evidence.distinct >= NEARLY_ALL * evidence.rows or len(evidence.numbers):
        return LabelReading(True, f"column {column!r} holds numbers with fractions ({evidence.examples()})", CLASSES)
    return LabelReading(False, f"column {column!r} holds few numbers, as text ({evidence.examples()})", NUMBERS)


def _many(evidence: LabelEvidence) -> str:
    amount = f"{evidence.distinct} different whole numbers in {evidence.rows} rows"
    return f"column {evidence.column!r} holds {amount}"


def _formatted(evidence: LabelEvidence, style: NumberStyle) -> str:
    """Return the phrase on how numbers are written, with one of them as it is read."""
    first = next((text for text in evidence.texts.to_pylist() if is_formatted(pa.array([text])).to_pylist()[0]), "")
    number = parsed(pa.array([first], pa.large_string()), style)[0].as_py()
    doubt = f" (write {first.replace(',', '.')} if the comma begins the decimals)" if _is_ambiguous(evidence) else ""
    return f"column {evidence.column!r} holds numbers such as {first}, read as {number:.15g}{doubt}"


def _is_ambiguous(evidence: LabelEvidence) -> bool:
    """Tell whether the comma of 1,234 could begin the decimals as well."""
    with_comma = pc.filter(evidence.texts, pc.match_substring(evidence.texts, ","))
    return len(with_comma) > 0 and bool(pc.all(pc.match_substring_regex(with_comma, r"\d,\d{3}\D*$")).as_py())


def _refuse_half_numbers(parts: Mapping[str, Dataset], evidence: LabelEvidence) -> None:
    """Refuse names among numbers, where classes of 5% and of 3.71 would come of it.

    Raises:
        DataError: naming the first row that is no number.
    """
    texts = evidence.texts
    formatted = is_formatted(texts)
    fractions = pc.and_(pc.match_substring_regex(texts, POINT), pc.match_substring(texts, "."))
    are_many = evidence.distinct > FEW and evidence.distinct >= NEARLY_ALL * evidence.rows
    suspected = pc.or_(formatted, fractions) if are_many else formatted
    if 2 * suspected.true_count < len(texts):
        return
    example = pc.filter(texts, suspected)[0].as_py()
    odd = pc.filter(texts, pc.invert(pc.or_(suspected, pc.match_substring_regex(texts, POINT))))
    if not len(odd):
        raise DataError(
            f"column {evidence.column!r} writes numbers in several ways ({evidence.examples()}): write them all with a "
            f"point, as 3.5, or take them as names with {CLASSES}"
        )
    where = _first_row(parts, evidence.column, odd)
    raise DataError(
        f"{where} of column {evidence.column!r} holds {odd[0].as_py()!r} where others hold numbers such as {example}: "
        f"blank the cell, or take all as names with {CLASSES}"
    )


def _first_row(parts: Mapping[str, Dataset], column: str, values: pa.Array) -> str:
    """Return the split and the number of the first row that holds one of the trimmed texts."""
    for name, part in parts.items():
        if kind_of(part.features[column]) == "text":
            place = pc.index(pc.is_in(trimmed(cells_of(part, column)), value_set=values), True).as_py()
            if place >= 0:
                return f"{name}, row {place + 1}"
    return next(iter(parts))


def _no_numbers(parts: Mapping[str, Dataset], evidence: LabelEvidence) -> str:
    kinds = {name: kind_of(part.features[evidence.column]) for name, part in parts.items()}
    name = next(name for name, kind in kinds.items() if kind in {"classes", "booleans", "other"})
    kind = "lists or objects" if kinds[name] == "other" else kinds[name]
    return f"{name}: column {evidence.column!r} holds {kind}, and a regression wants numbers: see {CLASSES}"
