"""The template-swap check: texts with one term in place of another (he, she), which should not change a prediction."""

from __future__ import annotations

import csv
import functools
import io
import itertools
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llmkit.data import files
from llmkit.data.columns import item_of
from llmkit.errors import DataError, OptionError
from llmkit.evaluation.measuring import Measured, Prepared, measure
from llmkit.evaluation.plan import Plan
from llmkit.metrics.intervals import wilson
from llmkit.metrics.observations import Bools
from llmkit.output.report import Report
from llmkit.output.result_parts import Label, SwappedPair, SwappedRow, SwapResult

TermPairs = Sequence[tuple[str, str]]
MAX_FLIPS_SHOWN = 20
TERM_HEADINGS = {("a", "b"), ("from", "to"), ("term", "swap"), ("term_a", "term_b"), ("term1", "term2")}
# scripts that put no space between words, or hang particles on them: Thai to Khmer, kana, Han, Hangul
SPACELESS_SCRIPTS = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
)


@dataclass(frozen=True)
class SwappedTexts:
    """A row whose texts changed."""

    row: int
    texts: dict[str, str]  # by role; all roles, whether they changed or not
    pairs: tuple[int, ...]  # which pairs were used


def read_terms(path: Path, encoding: str = "utf-8") -> list[tuple[str, str]]:
    """Read pairs of terms from the two columns of a CSV or TSV file; a heading such as `from,to` is left out.

    Raises:
        DataError: a line is no pair of different terms (its number is named), or there is none at all.
    """
    if not path.is_file():
        raise DataError(f"there is no file {str(path)!r}")
    text = files.decode(path.read_bytes(), encoding, str(path))
    delimiter = files.delimiter_of(files.format_of(path) or "csv", text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    pairs: list[tuple[str, str]] = []
    line = 1
    for number, row in enumerate(reader):
        cells = [" ".join(cell.split()) for cell in row]
        if any(cells) and not (number == 0 and tuple(map(str.lower, cells)) in TERM_HEADINGS):
            pairs.append(_pair(cells, f"{path}, line {line}"))
        line = reader.line_num + 1
    if not pairs:
        raise DataError(f"{path} holds no pairs of terms; a line such as he,she is wanted for each")
    return pairs


def _pair(cells: list[str], where: str) -> tuple[str, str]:
    if len(cells) != 2:
        counted = "1 cell" if len(cells) == 1 else f"{len(cells)} cells"
        raise DataError(f"{where}: {counted}; two terms are wanted, such as he,she")
    term, partner = cells
    if not (term and partner):
        raise DataError(f"{where}: one of the two terms is empty")
    if term.casefold() == partner.casefold():
        raise DataError(f"{where}: {term!r} twice, which would change nothing")
    return term, partner


def swap(text: str, pairs: TermPairs) -> tuple[str, list[int]] | None:
    """Return the text with each term in place of its partner, and which pairs were used; None when it has no term.

    Terms are whole words, but in scripts without spaces any part of the text. All are replaced in one pass, both ways
    and the longest first; a term that is in two pairs belongs to the first of them. Terms in lower case are found as
    he, He and HE, others as they are written (Will is a name, will is not) and in capitals; what replaces them is
    spelled alike.
    """
    pattern, partners = _compiled(tuple(pairs))
    used: set[int] = set()

    def replacement(match: re.Match[str]) -> str:
        partner, pair = partners[" ".join(match[0].split())]
        used.add(pair)
        return partner

    changed = pattern.sub(replacement, text)
    return (changed, sorted(used)) if changed != text else None


def swapped_rows(columns: Mapping[str, Sequence[str | None]], pairs: TermPairs) -> list[SwappedTexts]:
    """Return the rows of some columns of texts (by role) that change when terms are swapped in all of their texts."""
    rows = []
    for row, texts in enumerate(zip(*columns.values(), strict=True)):
        plain = [text or "" for text in texts]
        swaps = [swap(text, pairs) for text in plain]
        if any(swaps):
            changed = [text if swapped is None else swapped[0] for text, swapped in zip(plain, swaps, strict=True)]
            used = sorted({pair for swapped in swaps if swapped for pair in swapped[1]})
            rows.append(SwappedTexts(row, dict(zip(columns, changed, strict=True)), tuple(used)))
    return rows


@functools.lru_cache(maxsize=4)
def _compiled(pairs: tuple[tuple[str, str], ...]) -> tuple[re.Pattern[str], dict[str, tuple[str, int]]]:
    partners: dict[str, tuple[str, int]] = {}
    for number, pair in enumerate(pairs):
        for term, partner in (pair, pair[::-1]):
            for spelled, replacement in _spellings(term, partner):
                partners.setdefault(spelled, (replacement, number))
    return re.compile(_alternatives(partners)), partners


def _spellings(term: str, partner: str) -> list[tuple[str, str]]:
    """Return the ways to write a term in a text, each with the partner written alike."""
    cases = [(term, partner)]
    if term == term.lower():
        cases.append((_capitalized(term), _capitalized(partner)))
    cases.append((term.upper(), partner.upper()))
    forms = ("NFC", "NFD")
    return [*cases, *((unicodedata.normalize(form, a), b) for form in forms for a, b in cases)]  # type: ignore[arg-type]


def _capitalized(term: str) -> str:
    return term[:1].upper() + term[1:]  # str.capitalize() would write Mcdonald


def _alternatives(terms: Iterable[str]) -> str:
    """Return a pattern of terms, the longest first, with no letter of a spaced script beyond an end that is one."""
    letter = f"(?:[^\\W{SPACELESS_SCRIPTS}]|[{_marks()}])"

    def ends(term: str) -> tuple[bool, bool]:
        return bool(re.match(letter, term[0])), bool(re.match(letter, term[-1]))

    # terms that begin at one place in the text are alike there, so that sorting by it keeps the longest first
    ordered = sorted(terms, key=lambda term: (ends(term)[0], -len(term)))
    parts = []
    for (begins, stops), grouped in itertools.groupby(ordered, ends):
        either = "|".join(r"\s+".join(map(re.escape, term.split(" "))) for term in grouped)
        parts.append(f"{f'(?<!{letter})' if begins else ''}(?:{either}){f'(?!{letter})' if stops else ''}")
    return "|".join(parts)


@functools.cache
def _marks() -> str:
    """Return the combining marks: parts of a word that a regular expression's word characters leave out."""
    return "".join(chr(code) for code in range(0x300, 0x1F000) if unicodedata.category(chr(code)).startswith("M"))


@dataclass(frozen=True)
class Swaps:
    """The rows of an evaluation in which terms can be swapped."""

    terms: Path
    pairs: TermPairs
    texts: Mapping[str, Sequence[str]]  # of all rows, by role
    rows: Sequence[SwappedTexts]


def find_swaps(plan: Plan, terms: Path, encoding: str) -> Swaps:
    """Return the rows in which a term occurs, with the terms swapped.

    Raises:
        OptionError: the task has no classes, its inputs are no texts, or no row holds a term.
        DataError: the file of terms is broken.
    """
    labels = plan.settings.labels
    if labels is None or labels.regression:
        predicts = "a regression predicts none" if labels else f"{plan.task.name} predicts none"
        raise OptionError(f"--swap counts flipped classes, and {predicts}")
    for column in plan.settings.inputs.values():
        if item_of(plan.rows.features[column]) is not None:
            raise OptionError(f"--swap changes texts, and column {column!r} holds lists")
    pairs = read_terms(terms, encoding)
    texts = {role: list(plan.rows[column]) for role, column in plan.settings.inputs.items()}
    rows = swapped_rows(texts, pairs)
    if not rows:
        raise OptionError(f"--swap {terms}: no row holds one of its terms")
    return Swaps(terms, pairs, texts, rows)


def swap_check(swaps: Swaps, measured: Measured, prepared: Prepared, report: Report, cache: bool) -> SwapResult:
    """Ask the model again about each row in which a term occurs, with the terms swapped, and count what flips."""
    plan, swapped = prepared.plan, swaps.rows
    rows = plan.rows.select([row.row for row in swapped])
    for role, column in plan.settings.inputs.items():
        rows = rows.remove_columns(column).add_column(column, [row.texts[role] for row in swapped])
    report.say(f"swap check: {len(swapped)} of {len(plan.rows)} rows hold a term of {swaps.terms}")
    again, _ = measure(plan, rows, report, cache=cache, share=prepared)
    before = measured.observations.take([row.row for row in swapped]).predictions() or []
    after = again.observations.predictions() or []
    flipped = np.array([old != new for old, new in zip(before, after, strict=True)])
    count = int(flipped.sum())
    low, high = wilson(count, len(swapped)) or (None, None)
    return {
        "terms": str(swaps.terms),
        "n": len(swapped),
        "flipped": count,
        "value": count / len(swapped),
        "low": low,
        "high": high,
        "pairs": _by_pair(swaps.pairs, [row.pairs for row in swapped], flipped),
        "rows": [
            _swapped_row(swaps, swapped[i], measured.ids, before[i], after[i])
            for i in np.flatnonzero(flipped)[:MAX_FLIPS_SHOWN]
        ],
    }


def _swapped_row(swaps: Swaps, row: SwappedTexts, ids: Sequence[str], before: Label, after: Label) -> SwappedRow:
    return {
        "id": ids[row.row],
        "text": " / ".join(texts[row.row] for texts in swaps.texts.values()),
        "swapped": " / ".join(row.texts[role] for role in swaps.texts),
        "before": before,
        "after": after,
    }


def _by_pair(pairs: TermPairs, used: Sequence[Sequence[int]], flipped: Bools) -> list[SwappedPair]:
    """Return for each pair of terms in how many rows it was swapped, and how many of these flipped."""
    results: list[SwappedPair] = []
    for number, terms in enumerate(pairs):
        rows = [row for row, numbers in enumerate(used) if number in numbers]
        if rows:
            results.append({"terms": list(terms), "n": len(rows), "flipped": int(flipped[rows].sum())})
    return results
