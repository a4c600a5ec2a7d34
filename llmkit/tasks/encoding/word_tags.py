"""Tags of words: read from a dataset or a file of predictions, and what can be wrong with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmkit.data.columns import Row, item_of
from llmkit.data.conversions.tagging.predicted_tags import as_iob2, with_marks_read
from llmkit.data.conversions.tagging.tag_schemes import OUTSIDE_NAMES, marks_are_last, parsed_tag
from llmkit.data.label_sets import UNLABELLED, as_list, declared_in, is_unlabelled, single_labels
from llmkit.data.labels import Labels, found_in
from llmkit.errors import DataError, listing, shortened
from llmkit.metrics.observations import OUTSIDE, are_single, span_types
from llmkit.metrics.observations.spans import SPAN_MARKS

if TYPE_CHECKING:
    from datasets import Dataset

UNSUPPORTED_MARKS = ("S-", "E-", "U-", "L-", "M-", "W-")  # of BIOES, BILOU and BMES: one word, last word, middle word
TagRows = tuple[tuple[str, ...], ...]


def tags_of(rows: Dataset, column: str) -> list[tuple[str, ...]]:
    """Return the names of the tags of each row, UNLABELLED among them; none where it is null."""
    names = dict(enumerate(declared_in(rows, column)))
    return [tuple(names.get(tag, str(tag).strip()) for tag in tags or ()) for tags in rows[column][:]]


def labels_of(rows: Dataset, column: str) -> list[tuple[str, ...]]:
    """Return the names of the tags of each row without UNLABELLED."""
    return [tuple(tag for tag in tags if tag != UNLABELLED) for tags in tags_of(rows, column)]


def found_tags(train: Dataset, column: str) -> Labels:
    """Return the tags of training rows; ids without names count from 0, also where only one of them occurs.

    Raises:
        DataError: no row has a tag, or all have the same name.
    """
    single = single_labels(train, column)
    ids = {tag for tag in single[column][:] if isinstance(tag, int)}
    if not declared_in(train, column) and len(ids) == 1 and ids != {0}:
        return Labels(tuple(map(str, range(max(ids) + 1))))
    return found_in(single, column)


def require_iob2(names: Sequence[str]) -> None:
    """Refuse tags with other marks than B- and I- beside them, or with these in another place.

    Raises:
        DataError: naming some of them, and what to write.
    """
    marked = [name for name in names if name.startswith(UNSUPPORTED_MARKS)]
    others = [name for name in marked if f"B-{name[2:]}" in names]
    if others:
        raise DataError(
            f"tags such as {listing(map(repr, others[:2]))} are BIOES, BILOU or BMES, and IOB2 is wanted: "
            "write B- for S-, U- and W-, and I- for M-, E- and L-"
        )
    suffixed = marks_are_last(Counter(names))
    if suffixed is None:
        return
    outside = [] if OUTSIDE in names else [name for name in names if name.upper() in OUTSIDE_NAMES]
    written = {name: "-".join(parsed) for name in names if (parsed := parsed_tag(name, suffixed)) is not None}
    changed = [
        f"{tag} for {name!r}" for name, tag in (written | dict.fromkeys(outside, OUTSIDE)).items() if tag != name
    ]
    if changed:
        raise DataError(f"tags are not written as IOB2, and that is wanted: write {listing(changed, 3)}")


def without_unlabelled(truth: Iterable[Sequence[str]], predicted: Iterable[Sequence[str]]) -> tuple[TagRows, TagRows]:
    """Return the tags of both sides of the words that have a label."""
    kept = [
        [(label, tag) for label, tag in zip(*row, strict=True) if label != UNLABELLED]
        for row in zip(truth, predicted, strict=True)
    ]
    return tuple(tuple(tag for tag, _ in row) for row in kept), tuple(tuple(tag for _, tag in row) for row in kept)


def first_invalid_tags(rows: Dataset, words_column: str, tags_column: str) -> tuple[int, str] | None:
    """Return the index of the first row whose tags are none for its words and a phrase on what is wrong, or None."""
    if item_of(rows.features[tags_column]) is None:
        first = next((place for place, cell in enumerate(rows[tags_column]) if cell is not None), 0)
        tags = shortened(rows[first][tags_column])
        return first, f"its tags are {tags}, and a list with a tag for each word is wanted"
    declared = declared_in(rows, tags_column)
    for place, (words, tags) in enumerate(zip(rows[words_column], rows[tags_column], strict=True)):
        problem = None if words is None or tags is None else problem_with_tags(words, tags, declared)
        if problem is not None:
            return place, problem
    return None


def problem_with_tags(words: Sequence[object], tags: Sequence[object], declared: Sequence[str]) -> str | None:
    """Return a phrase on what is wrong with the tags of some words, or None; `declared`: the names of class labels."""
    if len(words) != len(tags):
        return f"{len(words)} words and {len(tags)} tags"
    if None in words or None in tags:
        return "a word or a tag is null"
    problems = (_problem_with_tag(tag, declared) for tag in tags)
    return next((problem for problem in problems if problem is not None), None)


def _problem_with_tag(tag: object, declared: Sequence[str]) -> str | None:
    if is_unlabelled(tag):
        return None
    if declared and isinstance(tag, int) and not 0 <= tag < len(declared):
        return f"the tag {tag} has no name; there are {len(declared)}, from 0"
    is_id = isinstance(tag, int) and not isinstance(tag, bool) and tag >= 0
    if not is_id and not (isinstance(tag, str) and tag.strip()):
        return f"{tag!r} is no tag: names such as B-PER, or integers from 0, are wanted"
    return None


def predicted_tags(row: Row, truth: Sequence[str], declared: Sequence[str]) -> tuple[str, ...]:
    """Return the tags in a row of a file of predictions: a list, in a CSV as JSON, or a string with blanks.

    There is one for each word, or one for each word that has a label; words without one are UNLABELLED then.

    Raises:
        DataError: they are not as many as the words, or one is no tag; the row is named.
    """
    tags = as_list(row["prediction"])
    if isinstance(tags, str):
        tags = tags.split()
    where = f"predictions, row {row['place']}"
    places = [place for place, label in enumerate(truth) if label != UNLABELLED]
    if not isinstance(tags, list) or len(tags) not in {len(truth), len(places)}:
        text = shortened(row["prediction"])
        raise DataError(f"{where}: a list of {len(truth)} tags is wanted, one for each word, not {text}")
    if any(map(is_unlabelled, tags)):
        raise DataError(f"{where}: {UNLABELLED} is no prediction: a tag for each word is wanted")
    names = declared if all(isinstance(tag, int) for tag in tags) else ()  # of integers, which are ids then
    problem = problem_with_tags(tags, tags, names)
    if problem is not None:
        raise DataError(f"{where}: {problem}")
    predicted = [names[tag] if names else str(tag).strip() for tag in tags]
    if len(predicted) < len(truth):
        by_place = dict(zip(places, predicted, strict=True))
        predicted = [by_place.get(place, UNLABELLED) for place in range(len(truth))]
    return tuple(predicted)


@dataclass(frozen=True)
class ScoredTags:
    """The tags of each row on both sides, in IOB2, and a sentence on how those that were predicted are read."""

    truth: Sequence[tuple[str, ...]]
    predicted: Sequence[tuple[str, ...]]
    names: tuple[str, ...]  # of the dataset's tags
    sentence: str | None

    @property
    def types(self) -> tuple[str, ...]:
        """The types of the spans: those of the dataset, then others that are predicted.

        Raises:
            DataError: the two sides have no type in common.
        """
        types, predicted = span_types(self.names), span_types(tag for tags in self.predicted for tag in tags)
        if predicted and types and not set(types) & set(predicted):
            raise DataError(
                f"predictions: their tags are of {listing(map(repr, predicted))}, the dataset's of "
                f"{listing(map(repr, types))}, and none is the same"
            )
        return tuple(dict.fromkeys((*types, *predicted)))


def scored_tags(rows: Dataset, column: str, predictions: Sequence[Row], names: tuple[str, ...]) -> ScoredTags:
    """Return a dataset's tags beside those of a file of predictions, whatever scheme these are written in.

    Args:
        rows: of the dataset.
        column: of their tags.
        predictions: of each row.
        names: of the dataset's tags.

    Raises:
        DataError: tags are not as many as the words, one is no tag, or their scheme cannot be told.
    """
    truth, declared = tags_of(rows, column), declared_in(rows, column)
    predicted = [predicted_tags(row, tags, declared) for tags, row in zip(truth, predictions, strict=True)]
    if not any(name[:2] in SPAN_MARKS for name in names):
        read = with_marks_read(truth, predicted)
        if read is not None:
            truth, names = read, tuple(dict.fromkeys(tag for tags in read for tag in tags if tag != UNLABELLED))
    found = as_iob2(predicted, names, span_types(names))
    if are_single(names) or not _any_marks(truth) ^ _any_marks(found.rows):
        return ScoredTags(truth, found.rows, names, found.sentence)
    truth, predicted = ([_with_marks(tags) for tags in side] for side in (truth, found.rows))
    return ScoredTags(truth, predicted, names, found.sentence)


def _any_marks(rows: Sequence[Sequence[str]]) -> bool:
    return any(tag[:2] in SPAN_MARKS for tags in rows for tag in tags)


def _with_marks(tags: Sequence[str]) -> tuple[str, ...]:
    """Return the tags of a row with B- and I- where they have no marks, so that words compare with those that have."""
    written, before = [], OUTSIDE
    for tag in tags:
        bare = tag not in {OUTSIDE, UNLABELLED} and tag[:2] not in SPAN_MARKS
        written.append(f"{'I' if tag == before else 'B'}-{tag}" if bare else tag)
        before = before if tag == UNLABELLED else tag
    return tuple(written)
