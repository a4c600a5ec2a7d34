"""Schemes of tags: how the names of tags mark where spans of words begin and end, found in the names and their order.

The schemes and their names: IOB1 is Ramshaw and Marcus, 1995; IOB2 (BIO), IOE and BIOES (BILOU, BMES, BMEWO) as
compared by Ratinov and Roth, Design Challenges and Misconceptions in Named Entity Recognition, 2009.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from llmkit.data.label_sets import UNLABELLED

OUTSIDE = "O"
NO_NAME = "ENTITY"  # the type of spans that have none: tags that are B, I and O alone
BEGINS, GOES_ON, ENDS = frozenset("BSUW"), frozenset("IM"), frozenset("ESULW")  # ENDS: a span ends with such a word
MARKS = BEGINS | GOES_ON | ENDS
PREFIXED = re.compile(r"([A-Za-z])[-_.:/|](.+)")
SUFFIXED = re.compile(r"(.+)[-_.:/|]([A-Za-z])")
OUTSIDE_NAMES = frozenset({"O", "0", "", "-", "_", "NONE", "NULL", "NAN", "OUT", "OUTSIDE"})  # in upper case
MOSTLY = 0.4  # of all words: what a name holds that stands for no span, where no tag has a mark

Parsed = tuple[str, str]  # the mark in upper case, and the type


@dataclass(frozen=True)
class TagScheme:
    """How names of tags are read: `read` gives a mark and a type, or None outside of any span."""

    suffixed: bool = False  # the mark comes last: PER-B
    marked: bool = True  # whether names have marks at all
    name: str = "IOB2"
    outside: frozenset[str] = frozenset({OUTSIDE})
    spellings: tuple[tuple[str, str], ...] = ()  # of a type in lower case: as it is written
    upper: bool = False  # types of tags in lower case are written in upper case

    def read(self, name: str) -> Parsed | None:
        """Return the mark of a tag and its type; the mark is empty where it has none."""
        if name in self.outside:
            return None
        parsed = parsed_tag(name, self.suffixed) if self.marked else None
        mark, kind = parsed or ("", name)
        if not parsed:
            return mark, kind
        return mark, dict(self.spellings).get(kind.lower(), kind.upper() if self.upper else kind)


def parsed_tag(name: str, suffixed: bool) -> Parsed | None:
    """Return the mark and the type of a tag, whose mark comes last, or first, or is all of it; None: it has none."""
    if name.upper() in MARKS:
        return name.upper(), NO_NAME
    found = (SUFFIXED if suffixed else PREFIXED).fullmatch(name)
    if found is None:
        return None
    mark, kind = (found[2], found[1]) if suffixed else (found[1], found[2])
    return (mark.upper(), kind) if mark.upper() in MARKS else None


def iob2(tags: Sequence[str], scheme: TagScheme, memory: dict[str, Parsed | None]) -> list[str]:
    """Return the tags of a row as IOB2; words without a label keep that, and spans go on over them.

    Args:
        tags: the names.
        scheme: how they are read.
        memory: names that were read before; new ones are added.
    """
    written: list[str] = []
    before: Parsed | None = None
    for tag in tags:
        if tag == UNLABELLED:
            written.append(tag)
            continue
        if tag not in memory:
            memory[tag] = scheme.read(tag)
        here = memory[tag]
        if here is None:
            written.append(OUTSIDE)
        elif not here[0]:
            written.append(here[1])
        else:
            written.append(f"{'B' if _begins(before, here) else 'I'}-{here[1]}")
        before = here
    return written


def _begins(before: Parsed | None, here: Parsed) -> bool:
    return here[0] in BEGINS or before is None or before[1] != here[1] or before[0] in ENDS


def marks_are_last(counts: Mapping[str, int]) -> bool | None:
    """Tell whether the marks of tags come last (PER-B), or first; None where the names have no marks."""
    names = [name for name in counts if name.upper() not in OUTSIDE_NAMES and name != UNLABELLED]
    bare = {name.upper() for name in names} & MARKS
    if bare and not ("B" in bare and bare & {"I", "E", "M"}):
        return None  # parts of speech by letters, or subjects and objects
    for suffixed in (False, True):
        parsed = {name: found for name in names if (found := parsed_tag(name, suffixed)) is not None}
        marks, marked = {mark for mark, _ in parsed.values()}, sum(counts[name] for name in parsed)
        is_scheme = bool(marks & {"B", "I"}) or _are_ends(parsed, any(name in counts for name in "Oo"))
        if is_scheme and (marked == sum(counts[name] for name in names) or _few_others(names, suffixed, marks)):
            return suffixed
    return None


def _are_ends(parsed: Mapping[str, Parsed], has_outside: bool) -> bool:
    """Tell whether marks without B and I are those of ends of spans: S-PER beside O, E-PER beside E-LOC."""
    marks, types = {mark for mark, _ in parsed.values()}, {kind for _, kind in parsed.values()}
    several = len(types) > 1 and not any(kind.isdecimal() for kind in types)  # codes such as S-1 and S-2 are none
    return bool(marks & {"S", "U"} and has_outside) or bool(marks & ENDS and several)


def _few_others(names: Sequence[str], suffixed: bool, marks: set[str]) -> bool:
    """Tell whether names without a mark are but a few beside B- and I-: [CLS], X, or the one for outside."""
    return {"B", "I"} <= marks and sum(parsed_tag(name, suffixed) is None for name in names) <= 3


def scheme_of(counts: Mapping[str, int], rows: Iterable[Sequence[str]]) -> TagScheme:
    """Return the scheme of tags; one without marks where they are parts of speech, or types alone.

    Args:
        counts: how often each name occurs.
        rows: the names of each row.
    """
    suffixed = marks_are_last(counts)
    if suffixed is None:
        return TagScheme(marked=False, name="IO", outside=_outside_without_marks(counts))
    return marked_scheme(counts, rows, suffixed)


def marked_scheme(counts: Mapping[str, int], rows: Iterable[Sequence[str]], suffixed: bool) -> TagScheme:
    """Return the scheme of tags whose marks come last, or first: see `scheme_of`."""
    names = {name: parsed for name in counts if (parsed := parsed_tag(name, suffixed)) is not None}
    outside = frozenset(name for name in counts if name.upper() in OUTSIDE_NAMES) | {OUTSIDE}
    others = [name for name in counts if name not in names and name not in outside and name != UNLABELLED]
    if not outside & counts.keys() and len(others) == 1:
        outside |= {others[0]}  # the only name without a mark, such as OTHER
    upper = all(name == name.lower() for name in names)
    scheme = TagScheme(suffixed, True, "", outside, _spellings(counts, names), upper)
    marks = {mark for mark, _ in names.values()}
    name = _name_of(marks) if marks - {"B", "I"} else _iob(rows, scheme)
    return TagScheme(suffixed, True, name, outside, scheme.spellings, upper)


def _name_of(marks: set[str]) -> str:
    if "B" not in marks and "E" in marks:
        return "IOE"
    last = "L" if "L" in marks else "E"
    single = "U" if "U" in marks else "W" if "W" in marks else "S"
    middle = "M" if "M" in marks else "I"
    if last == "L":
        return "BILOU"
    if middle == "M":
        return "BMEWO" if single == "W" else "BMES"
    return "BIOES" if single in marks or not marks & {"E"} else "BIOE"


def _iob(rows: Iterable[Sequence[str]], scheme: TagScheme) -> str:
    """Return IOB1 where I- begins spans, and B- but such as stand right behind one of the same type."""
    begun_by_i, memory = False, dict[str, Parsed | None]()
    for tags in rows:
        before: Parsed | None = None
        for tag in tags:
            if tag == UNLABELLED:
                continue
            if tag not in memory:
                memory[tag] = scheme.read(tag)
            here = memory[tag]
            if here is not None and (before is None or before[1] != here[1]):
                if here[0] == "B":
                    return "IOB2"
                begun_by_i = begun_by_i or here[0] == "I"
            before = here
    return "IOB1" if begun_by_i else "IOB2"


def _spellings(counts: Mapping[str, int], names: Mapping[str, Parsed]) -> tuple[tuple[str, str], ...]:
    """Return the spelling that most words have of each type that is written in several: per and PER."""
    written: dict[str, Counter[str]] = {}
    for name, (_, kind) in names.items():
        written.setdefault(kind.lower(), Counter())[kind] += counts[name]
    return tuple((kind, of_kind.most_common(1)[0][0]) for kind, of_kind in written.items() if len(of_kind) > 1)


def _outside_without_marks(counts: Mapping[str, int]) -> frozenset[str]:
    """Return the name that stands for no span where tags are types alone: most words have it, and others are names."""
    if OUTSIDE in counts or not any(name.strip("0123456789.-") for name in counts if name.upper() not in OUTSIDE_NAMES):
        return frozenset({OUTSIDE, ""} if OUTSIDE in counts else {OUTSIDE})
    found = [name for name in counts if name.upper() in OUTSIDE_NAMES]
    enough = sum(counts[name] for name in found) >= MOSTLY * sum(counts.values())
    return frozenset({OUTSIDE, *found} if enough else {OUTSIDE})
