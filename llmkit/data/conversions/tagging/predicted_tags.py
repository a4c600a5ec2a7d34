"""Tags that any system predicted, in whatever scheme: read as IOB2 by the types of the dataset and by all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from llmkit.data.conversions.tagging.tag_schemes import (
    MARKS,
    NO_NAME,
    OUTSIDE,
    OUTSIDE_NAMES,
    Parsed,
    TagScheme,
    iob2,
    marked_scheme,
    marks_are_last,
    parsed_tag,
)
from llmkit.data.label_sets import UNLABELLED
from llmkit.data.labels import spelled_as
from llmkit.errors import DataError, listing

TagRows = Sequence[Sequence[str]]


@dataclass(frozen=True)
class PredictedTags:
    """The tags of each row in IOB2, and a sentence for the user where they were written otherwise."""

    rows: list[tuple[str, ...]]
    sentence: str | None = None


def as_iob2(predicted: TagRows, dataset_tags: Collection[str], types: Sequence[str]) -> PredictedTags:
    """Return predicted tags as the dataset's are: in IOB2, or as names of their own where those are no marks.

    Args:
        predicted: the tags of each row, UNLABELLED among them.
        dataset_tags: the names of the dataset's tags, in IOB2.
        types: the types of spans that these mark.

    Raises:
        DataError: their marks have no type, come first in some and last in others, or can be read in both ways.
    """
    counts = Counter(tag for row in predicted for tag in row if tag != UNLABELLED)
    if set(counts) <= {*dataset_tags, OUTSIDE} and not _are_iob1(predicted, counts):
        return PredictedTags([tuple(row) for row in predicted])
    names = [name for name in counts if name.upper() not in OUTSIDE_NAMES]
    if set(types) != {*dataset_tags} and NO_NAME not in types:  # else they are parts of speech, or bare on both sides
        _refuse_bare(names, types)
    suffixed = _marks_are_last(counts, names, types)
    if suffixed is None:
        scheme = _unmarked(counts, dataset_tags)
    else:
        scheme = _with_types_of(marked_scheme(counts, predicted, suffixed), names, types)
    memory: dict[str, Parsed | None] = {}
    rows = [tuple(iob2(row, scheme, memory)) for row in predicted]
    return PredictedTags(rows, _sentence(scheme, counts))


def with_marks_read(truth: TagRows, predicted: TagRows) -> list[tuple[str, ...]] | None:
    """Return a dataset's tags in IOB2 where only the predictions tell that they have marks: E-PER alone; else None."""
    names = {tag for row in truth for tag in row if tag not in {UNLABELLED, OUTSIDE}}
    suffixed = marks_are_last(Counter(tag for row in (*truth, *predicted) for tag in row))
    if not names or suffixed is None or any(parsed_tag(name, suffixed) is None for name in names):
        return None
    scheme, memory = TagScheme(suffixed), dict[str, Parsed | None]()
    return [tuple(iob2(row, scheme, memory)) for row in truth]


def _are_iob1(predicted: TagRows, counts: Counter[str]) -> bool:
    """Tell whether I- begins spans in several rows, and B- but such as stand right behind one of the same type."""
    if any(parsed_tag(name, suffixed=False) is None for name in counts if name != OUTSIDE):
        return False
    spans = sum(any(tag != OUTSIDE for tag in row) for row in predicted)
    return spans > 1 and marked_scheme(counts, predicted, suffixed=False).name == "IOB1"


def _refuse_bare(names: Sequence[str], types: Sequence[str]) -> None:
    bare = [name for name in names if name.upper().rstrip("-_.:/|") in MARKS and spelled_as(name, types) is None]
    if bare and len(bare) == len(names):
        kind = types[0] if types else NO_NAME
        raise DataError(
            f"predictions: their tags {listing(map(repr, bare))} have no type, and the dataset's spans are of "
            f"{listing(map(repr, types or (NO_NAME,)))}; a type in each tag is wanted: B-{kind} and I-{kind}"
        )


def _marks_are_last(counts: Counter[str], names: Sequence[str], types: Sequence[str]) -> bool | None:
    """Tell whether marks come last in predicted tags, or first; None: they have none."""
    fitting = {suffixed: _of_types(names, types, suffixed) for suffixed in (False, True)}
    first, last = (fitting[suffixed] for suffixed in (False, True))
    both = [name for name in first if name in last]
    only_first, only_last = ([name for name in side if name not in both] for side in (first, last))
    if only_first and only_last:
        raise DataError(
            f"predictions: the marks of their tags come first in {only_first[0]!r} and last in {only_last[0]!r}, which "
            f"do not go together: write all as {OUTSIDE} and B-TYPE, I-TYPE"
        )
    unclear = [name for name in both if parsed_tag(name, suffixed=False) != parsed_tag(name, suffixed=True)]
    if unclear and not only_first and not only_last:
        name = unclear[0]
        raise DataError(
            f"predictions: the mark of the tag {name!r} can be its first letter or its last, for {name[0]!r} and "
            f"{name[-1]!r} are types of the dataset too: call the types otherwise, as B-TYPE and I-TYPE, in both files"
        )
    if first or last:
        return not first if not both else bool(only_last)
    if any(spelled_as(name, types) is not None for name in names):
        return None
    return marks_are_last(counts)


def _of_types(names: Sequence[str], types: Sequence[str], suffixed: bool) -> list[str]:
    """Return the names that have a mark, read so, and one of the types."""
    parsed = {name: parsed_tag(name, suffixed) for name in names if spelled_as(name, types) is None}
    return [name for name, each in parsed.items() if each is not None and spelled_as(each[1], types) is not None]


def _unmarked(counts: Counter[str], dataset_tags: Collection[str]) -> TagScheme:
    """Return the scheme of types alone: other names for O are read as that where the dataset has O."""
    others = {name for name in counts if name.upper() in OUTSIDE_NAMES and name not in dataset_tags}
    return TagScheme(marked=False, name="IO", outside=frozenset({OUTSIDE, *others} if OUTSIDE in dataset_tags else ""))


def _with_types_of(scheme: TagScheme, names: Sequence[str], types: Sequence[str]) -> TagScheme:
    """Return a scheme whose types are spelled as the dataset's are, and whose names for O are none of these."""
    kinds = {parsed[1] for name in names if (parsed := parsed_tag(name, scheme.suffixed)) is not None}
    spellings = {kind.lower(): spelled for kind in kinds if (spelled := spelled_as(kind, types)) is not None}
    outside = frozenset(name for name in scheme.outside if spelled_as(name, types) is None)
    return replace(
        scheme, outside=outside, spellings=tuple({**dict(scheme.spellings), **spellings}.items()), upper=False
    )


def _sentence(scheme: TagScheme, counts: Counter[str]) -> str | None:
    """Return what was found that is not as IOB2 has it."""
    read = {name: scheme.read(name) for name in counts if name != OUTSIDE}
    written = {name: OUTSIDE if parsed is None else "-".join(filter(None, parsed)) for name, parsed in read.items()}
    changed = [f"{name!r} is {spelled}" for name, spelled in written.items() if name != spelled]
    if not changed and scheme.name == "IOB2":
        return None
    name = scheme.name + (" with the marks last" if scheme.suffixed else "") if scheme.marked else "types without marks"
    changes = f" ({listing(changed, 2)})" if changed else ""
    return f"predictions: their tags are {name}{changes}, read as IOB2, as seqeval's default mode reads them"
