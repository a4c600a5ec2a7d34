"""Numbers as people write them: 3,5 and 1,234 and 5% and € 3; whole columns at a time, as arrow holds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

Separators = Literal["point", "thousands", "decimal comma"]

SPACE = r"[\s\x{a0}\x{2009}\x{202f}\x{3000}]"
MINUS_SIGNS = r"^[\x{2212}\x{2013}\x{ff0d}]"
CURRENCY = r"(?:US\$|[$€£¥₹₩￥\x{ff04}]|(?i:usd|eur|gbp|jpy|cny|rmb|chf|inr|krw)|元|円|원)"
BEFORE, AFTER = rf"^([+-]?){SPACE}*{CURRENCY}{SPACE}*", rf"{SPACE}*(?:[%\x{{ff05}}‰]|{CURRENCY})$"

NOT_FINITE = r"(?i)^(?:[+-]?inf(?:inity)?|nan)$"
POINT = r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$"
GAP = r"[ \x{a0}\x{2009}\x{202f}'\x{2019}]"  # what stands between thousands, where no comma or point does
PATTERNS: dict[Separators, str] = {
    "point": POINT,
    "thousands": rf"^[+-]?(?:\d+\.?\d*|\.\d+|[1-9]\d{{0,2}}(?:(?:,\d{{2,3}})*,\d{{3}}|(?:{GAP}\d{{3}})+)(?:\.\d+)?)$",
    "decimal comma": rf"^[+-]?(?:\d+|\d*,\d+|[1-9]\d{{0,2}}(?:(?:\.\d{{3}})+|(?:{GAP}\d{{3}})+)(?:,\d+)?)$",
}
IGNORED = {"point": "", "thousands": rf"[,]|{GAP}", "decimal comma": rf"[.]|{GAP}"}


@dataclass(frozen=True)
class NumberStyle:
    """How the numbers of a column are written: what parts their digits, and whether a percent sign or currency does."""

    separators: Separators = "point"
    units: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether they are written as a program writes them."""
        return self == NumberStyle()


def trimmed(cells: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
    """Return texts without white space around them; null where nothing is left."""
    texts = pc.utf8_trim_whitespace(pc.cast(cells, pa.large_string()))
    return pc.if_else(pc.equal(texts, ""), None, texts)


def style_of(texts: pa.Array) -> NumberStyle | None:
    """Return how distinct trimmed texts are written where all of them are numbers; inf and nan are."""
    bare = _bare(texts)
    for separators in PATTERNS:
        if pc.all(_is_number(bare, separators), min_count=0).as_py():
            return NumberStyle(separators, units=not bare.equals(_signed(texts)))
    return None


def likeliest_style(texts: pa.Array) -> NumberStyle:
    """Return how those of distinct trimmed texts are written that are numbers: as most of them are."""
    bare = _bare(texts)
    separators = max(PATTERNS, key=lambda separators: int(_is_number(bare, separators).true_count))
    return NumberStyle(separators, units=not bare.equals(_signed(texts)))


def is_formatted(texts: pa.Array) -> pa.BooleanArray:
    """Tell of each text whether it is a number that only people write so: with a unit, or commas in it."""
    bare = _bare(texts)
    number = pc.or_(_is_number(bare, "thousands"), _is_number(bare, "decimal comma"))
    return pc.and_(number, pc.invert(pc.match_substring_regex(texts, POINT)))


def parsed(texts: pa.ChunkedArray | pa.Array, style: NumberStyle) -> pa.ChunkedArray | pa.Array:
    """Return the number of each trimmed text, as float64; null where it is none."""
    bare = _bare(texts) if style.units else _signed(texts)
    bare = pc.if_else(_is_number(bare, style.separators), bare, None)
    if IGNORED[style.separators]:
        bare = pc.replace_substring_regex(bare, IGNORED[style.separators], "")
    return pc.cast(pc.replace_substring(bare, ",", "."), pa.float64())


def _is_number(bare: pa.Array, separators: Separators) -> pa.BooleanArray:
    pattern = PATTERNS[separators]
    return pc.or_(pc.match_substring_regex(bare, pattern), pc.match_substring_regex(bare, NOT_FINITE))


def _bare(texts: pa.Array) -> pa.Array:
    """Return texts without a currency or percent sign."""
    return pc.replace_substring_regex(pc.replace_substring_regex(_signed(texts), BEFORE, r"\1"), AFTER, "")


def _signed(texts: pa.Array) -> pa.Array:
    return pc.replace_substring_regex(texts, MINUS_SIGNS, "-")
