"""What an evaluation observed, unit by unit: the arrays that every metric is a function of.

A unit is what a resample draws: a row, or for language models a window of text. All arrays have one entry per unit, in
the order of the rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


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

    def take(self, units: Sequence[int] | Ints) -> Texts:
        """Return some of the units, in the given order."""
        return Texts(tuple(self.predicted[i] for i in units), tuple(self.references[i] for i in units))


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


Observations = Classes | Numbers | Likelihoods | Texts | Samples


def softmax(logits: Any) -> Floats:
    """Return the probabilities of logits (..., classes) in float64."""
    wide = np.asarray(logits, dtype=np.float64)
    powers = np.exp(wide - wide.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))
