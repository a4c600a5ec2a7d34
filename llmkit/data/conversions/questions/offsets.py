"""Offsets into a text: programs count characters, UTF-16 units (JavaScript, Java, C#) or UTF-8 bytes (Rust, Go)."""

from __future__ import annotations

from collections.abc import Iterable

OFFSETS = {"characters": "characters", "utf-16": "UTF-16 units", "utf-8": "UTF-8 bytes"}
Claim = tuple[str, str, int]  # a text, a part of it, and the offset where it is said to start


def character_at(text: str, offset: int, unit: str) -> int | None:
    """Return the character of a text at an offset in some unit, or None where no character starts there."""
    if unit == "characters" or text.isascii():
        return offset if 0 <= offset <= len(text) else None
    encoding, width = ("utf-16-le", 2) if unit == "utf-16" else ("utf-8", 1)
    data = text.encode(encoding, "surrogatepass")
    if not 0 <= offset * width <= len(data):
        return None
    try:
        return len(data[: offset * width].decode(encoding))
    except UnicodeDecodeError:
        return None


def fits(claim: Claim, unit: str) -> bool:
    """Tell whether a part starts where it is said to, counted in a unit."""
    text, part, offset = claim
    place = character_at(text, offset, unit)
    return place is not None and text.startswith(part, place)


def other_unit(claims: Iterable[Claim]) -> tuple[int, str] | None:
    """Return the index of the first claim that characters do not fit, and the unit that all claims fit; None: none."""
    known = list(claims)
    wrong = next((index for index, claim in enumerate(known) if not fits(claim, "characters")), None)
    if wrong is None:
        return None
    units = (unit for unit in ("utf-16", "utf-8") if all(fits(claim, unit) for claim in known))
    unit = next(units, None)
    return None if unit is None else (wrong, unit)
