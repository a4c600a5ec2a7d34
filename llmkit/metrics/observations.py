"""What an evaluation observed, unit by unit: the arrays that every metric is a function of.

A unit is what a resample draws: a row, or for language models a window of text. All arrays have one entry per unit, in
the order of the rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
OUTSIDE = "O"  # the tag of a word in no span
MARKS = frozenset({"B-", "I-"})  # a span begins, goes on


@dataclass(frozen=True, eq=False)
class Classes:
    """One class for each row: ids into `names`."""

    truth: Ints  # (n,)
    predicted: Ints  # (n,)
    names: tuple[str, ...]
    probabilities: Floats | None = None  # (n, classes); None where a system gave labels alone
    positive: int | None = None  # the class that precision, recall and F1 are of; None: the mean over the classes

    def __len__(self) -> int:
        return len(self.truth)

    def take(self, units: Sequence[int] | Ints) -> Classes:
        """Return some of the units, in the given order."""
        index = np.asarray(units, dtype=np.int64)
        some = None if self.probabilities is None else self.probabilities[index]
        return replace(self, truth=self.truth[index], predicted=self.predicted[index], probabilities=some)


@dataclass(frozen=True, eq=False)
class Numbers:
    """One number for each row."""

    truth: Floats  # (n,)
    predicted: Floats  # (n,)

    def __len__(self) -> int:
        return len(self.truth)

    def take(self, units: Sequence[int] | Ints) -> Numbers:
        """Return some of the units, in the given order."""
        index = np.asarray(units, dtype=np.int64)
        return Numbers(self.truth[index], self.predicted[index])


@dataclass(frozen=True, eq=False)
class Likelihoods:
    """Summed negative log-likelihood (nats) of each piece of text, the tokens that were scored and their bytes."""

    nll: Floats  # (n,)
    tokens: Ints  # (n,)
    bytes: Ints  # (n,); zeros where bytes mean nothing (masked-lm)
    hits: Ints | None = None  # (n,): how many tokens were guessed right

    def __len__(self) -> int:
        return len(self.nll)

    def take(self, units: Sequence[int] | Ints) -> Likelihoods:
        """Return some of the units, in the given order."""
        index = np.asarray(units, dtype=np.int64)
        hits = None if self.hits is None else self.hits[index]
        return Likelihoods(self.nll[index], self.tokens[index], self.bytes[index], hits)


@dataclass(frozen=True, eq=False)
class Texts:
    """A text for each row, and one or more references that it is measured against."""

    predicted: tuple[str, ...]
    references: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        return len(self.predicted)

    def take(self, units: Sequence[int] | Ints) -> Self:
        """Return some of the units, in the given order."""
        predicted, references = tuple(self.predicted[i] for i in units), tuple(self.references[i] for i in units)
        return replace(self, predicted=predicted, references=references)


@dataclass(frozen=True, eq=False)
class Samples:
    """What another harness measured of each row, by metric: metrics are the means of these values."""

    values: Mapping[str, Floats]  # metric -> (n,)
    truth: tuple[str, ...] | None = None  # what was right, as a person reads it
    predicted: tuple[str | None, ...] | None = None  # what was answered; None where that is not known

    def __len__(self) -> int:
        return len(next(iter(self.values.values()), ()))

    def take(self, units: Sequence[int] | Ints) -> Samples:
        """Return some of the units, in the given order."""
        index = np.asarray(units, dtype=np.int64)
        some = {name: values[index] for name, values in self.values.items()}
        truth = None if self.truth is None else tuple(self.truth[i] for i in units)
        return Samples(some, truth, None if self.predicted is None else tuple(self.predicted[i] for i in units))


@dataclass(frozen=True, eq=False)
class AnswerTexts(Texts):
    """The answer that was found for each row, and those that are right: an empty text says that there is none."""


@dataclass(frozen=True, eq=False)
class LabelSets:
    """The labels that hold of each row, any number of `names`."""

    truth: Bools  # (n, labels)
    predicted: Bools  # (n, labels)
    names: tuple[str, ...]
    probabilities: Floats | None = None  # (n, labels), each for itself; None where a system gave labels alone

    def __len__(self) -> int:
        return len(self.truth)

    def take(self, units: Sequence[int] | Ints) -> LabelSets:
        """Return some of the units, in the given order."""
        index = np.asarray(units, dtype=np.int64)
        some = None if self.probabilities is None else self.probabilities[index]
        return LabelSets(self.truth[index], self.predicted[index], self.names, some)


@dataclass(frozen=True, eq=False)
class Spans:
    """The tag of each word of each row, as many on both sides: see `spans_of`."""

    truth: tuple[tuple[str, ...], ...]
    predicted: tuple[tuple[str, ...], ...]
    names: tuple[str, ...]  # the types of all spans on both sides: `span_types` of the set of tags
    single: bool | None = None  # each word is a span of its own; None: `are_single` of the tags that occur

    def __post_init__(self) -> None:
        if self.single is None:
            tags = {tag for side in (self.truth, self.predicted) for row in side for tag in row}
            object.__setattr__(self, "single", are_single(tags))  # some of the rows may not tell

    def __len__(self) -> int:
        return len(self.truth)

    def take(self, units: Sequence[int] | Ints) -> Spans:
        """Return some of the units, in the given order."""
        truth, predicted = (tuple(side[i] for i in units) for side in (self.truth, self.predicted))
        return replace(self, truth=truth, predicted=predicted)


@dataclass(frozen=True, eq=False)
class Choices:
    """The number of the choice that was taken in each row, from 0."""

    truth: Ints  # (n,)
    predicted: Ints  # (n,)
    normalised: Ints | None = None  # (n,): taken by the likelihood per character, where likelihoods were compared
    scores: tuple[tuple[float, ...], ...] | None = None  # of the choices of each row, which may differ in number

    def __len__(self) -> int:
        return len(self.truth)

    def take(self, units: Sequence[int] | Ints) -> Choices:
        """Return some of the units, in the given order."""
        index = np.asarray(units, dtype=np.int64)
        normalised = None if self.normalised is None else self.normalised[index]
        scores = None if self.scores is None else tuple(self.scores[i] for i in index)
        return Choices(self.truth[index], self.predicted[index], normalised, scores)


@dataclass(frozen=True, eq=False)
class Preferences:
    """How much likelier than the other the preferred answer of each pair is: log-probabilities in nats, subtracted."""

    margins: Floats  # (n,)
    before: Floats | None = None  # (n,): the same of the reference model, where there is one
    beta: float = 0.1  # what a reward is: beta times how much likelier an answer has become

    def __len__(self) -> int:
        return len(self.margins)

    @property
    def rewards(self) -> Floats:
        """The implicit reward of the preferred answer less that of the other, (n,)."""
        if self.before is None:
            raise ValueError("there is no reference model")
        return self.beta * (self.margins - self.before)

    def take(self, units: Sequence[int] | Ints) -> Preferences:
        """Return some of the units, in the given order."""
        index = np.asarray(units, dtype=np.int64)
        return replace(self, margins=self.margins[index], before=None if self.before is None else self.before[index])


Observations = (
    Classes | Numbers | Likelihoods | AnswerTexts | Texts | Samples | LabelSets | Spans | Choices | Preferences
)


def span_types(tags: Iterable[str]) -> tuple[str, ...]:
    """Return the types of spans that a set of tags can mark, in the order of the tags."""
    return tuple(dict.fromkeys(_type_of(tag) for tag in tags if tag != OUTSIDE))


def are_single(tags: Iterable[str]) -> bool:
    """Tell whether each word is a span of its own, as parts of speech are, from the set of all tags.

    That is so where no tag says that a span begins or goes on, nor that a word is in none.
    """
    return not any(tag == OUTSIDE or tag[:2] in MARKS for tag in tags)


def spans_of(tags: Sequence[str], single: bool = False) -> list[tuple[str, int, int]]:
    """Return the spans that the tags of a row mark: type, first word, one past the last.

    B- begins a span; I-, or a tag without a mark, goes on with one of its type and begins one after anything else (as
    seqeval reads IOB2, and as IO tags mean it). With `single`, as for parts of speech, each word is a span.
    Source: Ramshaw and Marcus, Text Chunking using Transformation-Based Learning, 1995; seqeval's default mode.
    """
    spans: list[tuple[str, int, int]] = []
    for place, tag in enumerate(tags):
        if tag == OUTSIDE:
            continue
        kind = _type_of(tag)
        begins = single or tag.startswith("B-") or not spans or spans[-1][0] != kind or spans[-1][2] != place
        if begins:
            spans.append((kind, place, place + 1))
        else:
            spans[-1] = (kind, spans[-1][1], place + 1)
    return spans


def _type_of(tag: str) -> str:
    return tag[2:] if tag[:2] in MARKS else tag


def softmax(logits: Any) -> Floats:
    """Return the probabilities of logits (..., classes) in float64."""
    wide = np.asarray(logits, dtype=np.float64)
    powers = np.exp(wide - wide.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))
