"""Labels that a person reads as one: é composed or not, a no-break space, another case, a Cyrillic letter."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from difflib import SequenceMatcher

MAX_DIFFERENCES = 3  # between two names, that a sentence holds
HYPHENS = re.compile(r"[\u2010-\u2015\u2212\ufe58\ufe63\uff0d]")
INVISIBLE = re.compile(r"[\u00ad\u034f\u200b-\u200f\u2060-\u2064\ufe00-\ufe0f\ufeff]")
# Cyrillic and Greek letters that are drawn as Latin ones, by their code points: on paper they are the same
CYRILLIC = "0410A 0412B 0415E 041AK 041CM 041DH 041EO 0420P 0421C 0422T 0425X 0423Y 0406I 0405S 0408J "
CYRILLIC_SMALL = "0430a 0435e 043Eo 0440p 0441c 0443y 0445x 0456i 0455s 0458j "
GREEK = "0391A 0392B 0395E 0396Z 0397H 0399I 039AK 039CM 039DN 039FO 03A1P 03A4T 03A5Y 03A7X 03BFo"
AS_LATIN = {int(pair[:4], 16): pair[4] for pair in (CYRILLIC + CYRILLIC_SMALL + GREEK).split()}


def skeleton(name: str) -> str:
    """Return what a person reads of a name: the same for names that look alike."""
    visible = INVISIBLE.sub("", unicodedata.normalize("NFKC", HYPHENS.sub("-", name)))
    words = re.sub(r"[\s_]+", " ", visible.translate(AS_LATIN)).strip()
    return unicodedata.normalize("NFKC", words.casefold())


def lookalikes(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Return the groups of two or more names that look alike, in the order of the names."""
    groups: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        groups.setdefault(skeleton(name), []).append(name)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def differences(name: str, other: str) -> str:
    """Return the code points that a name has in other places than another: `U+0301 COMBINING ACUTE ACCENT`."""
    matcher = SequenceMatcher(None, name, other, autojunk=False)
    apart = [
        " against ".join(_code_points(part) for part in (name[a:b], other[c:d]) if part)
        for kind, a, b, c, d in matcher.get_opcodes()
        if kind != "equal"
    ]
    rest = f" and {len(apart) - MAX_DIFFERENCES} more" if len(apart) > MAX_DIFFERENCES else ""
    return ", ".join(apart[:MAX_DIFFERENCES]) + rest


def _code_points(text: str) -> str:
    return " ".join(map(_code_point, text[:4])) + ("..." if len(text) > 4 else "")


def _code_point(character: str) -> str:
    """Return U+ and its number, with a name where it is not plain to see."""
    name = "" if character.isascii() and character.isalnum() else unicodedata.name(character, "")
    return f"U+{ord(character):04X} {name}".strip()
