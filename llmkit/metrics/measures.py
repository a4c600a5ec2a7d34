"""What every metric is: a function of observations, and of how many times each unit of them counts.

A resample of a bootstrap is a row of sample weights, so an interval costs a few matrix products and no loop over rows.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar, Generic, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from llmkit.metrics.observations import Floats, Observations, Samples

WeightedValues = Callable[[Floats], Floats]  # sample weights (B, n) -> values (B,)
ObservationsT = TypeVar("ObservationsT", bound=Observations)
T = TypeVar("T")


class Measure(Generic[ObservationsT]):
    """A metric of one kind of observations; a new one must write `weighted_values`, and `value` where a library has it.

    `weighted_values` is the same figure as though each unit stood as many times as its weight says.
    """

    key: str
    observed: ClassVar[type[Observations] | tuple[type[Observations], ...]]  # the kinds of observations it is of
    needs: ClassVar[str]  # what observations must hold, for the sentence that refuses others
    of_cells: ClassVar[bool] = False  # a function of the cells of the confusion matrix alone

    def fits(self, observations: Observations) -> bool:
        """Tell whether the metric can be computed of these observations."""
        return isinstance(observations, self.observed)

    def value(self, observations: ObservationsT) -> float:
        """Return the metric of one or more units; NaN where it is not defined."""
        return float(self.weighted_values(observations)(np.ones((1, len(observations))))[0])

    def value_or_nan(self, observations: ObservationsT) -> float:
        """Return the metric of any number of units; NaN where it is not defined, as of none at all."""
        return self.value(observations) if len(observations) else float("nan")

    @abstractmethod
    def weighted_values(self, observations: ObservationsT) -> WeightedValues:
        """Return sample weights (B, n) -> values (B,): the metric as though unit i stood weights[b, i] times.

        What does not depend on the weights (an order, the counts of a text) is worked out once, here.
        """

    def proportion(self, observations: ObservationsT) -> tuple[int, int] | None:
        """Return (successes, trials) where the metric is a proportion of independent trials, else None."""
        return None

    def correctness(self, observations: ObservationsT) -> Floats | None:
        """Return a 0 or 1 for each unit, (n,), where the metric is their mean, else None."""
        return None

    def size(self, observations: ObservationsT) -> int:
        """Return the n of the figure: rows; of one class, the rows that it is a share of; scored tokens of texts."""
        return len(observations)

    def averaging(self, observations: ObservationsT) -> str | None:
        """Return what the figure is of, where the name does not say: "macro", "class 'spam'", "one-vs-rest macro"."""
        return None

    def signature(self, observations: ObservationsT) -> str | None:
        """Return the library's own description of how the metric was computed (sacrebleu's), where it has one."""
        return None


class CorrectShare(Measure[ObservationsT]):
    """A metric that is the share of units that are correct: `correctness` is what a new one must write."""

    @abstractmethod
    def correctness(self, observations: ObservationsT) -> Floats:
        """Return a 0 or 1 for each unit, (n,)."""

    def value(self, observations: ObservationsT) -> float:
        return float(self.correctness(observations).mean())

    def weighted_values(self, observations: ObservationsT) -> WeightedValues:
        return weighted_mean(self.correctness(observations))

    def proportion(self, observations: ObservationsT) -> tuple[int, int]:
        correct = self.correctness(observations)
        return int(correct.sum()), len(correct)


class SampleMean(Measure[Samples]):
    """The mean of what another harness measured of each row."""

    observed = Samples
    needs = "a value for each row"

    def __init__(self, key: str) -> None:
        self.key = key

    def fits(self, observations: Observations) -> bool:
        return isinstance(observations, Samples) and self.key in observations.values

    def value(self, observations: Samples) -> float:
        return float(np.mean(observations.values[self.key]))

    def weighted_values(self, observations: Samples) -> WeightedValues:
        return weighted_mean(observations.values[self.key])

    def correctness(self, observations: Samples) -> Floats | None:
        values = np.asarray(observations.values[self.key], dtype=np.float64)
        return values if np.isin(values, (0.0, 1.0)).all() else None

    def proportion(self, observations: Samples) -> tuple[int, int] | None:
        correct = self.correctness(observations)
        return None if correct is None else (int(correct.sum()), len(correct))


def safe_divide(numerator: npt.ArrayLike, denominator: npt.ArrayLike, zero_division: float = np.nan) -> Floats:
    """Return the quotients of two arrays that broadcast, in their shape; `zero_division` where there is nothing below.

    The word is scikit-learn's.
    """
    above, below = np.broadcast_arrays(
        np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    )
    return np.asarray(np.divide(above, below, out=np.full(above.shape, zero_division), where=below != 0))


def weighted_ratio(numerators: npt.ArrayLike, denominators: npt.ArrayLike) -> WeightedValues:
    """Return the weighted sum of the numerators (n,) over that of the denominators (n,), as a function of weights."""
    columns = np.stack([numerators, denominators], axis=1).astype(np.float64)

    def ratio(weights: Floats) -> Floats:
        total, count = (weights @ columns).T
        return safe_divide(total, count)

    return ratio


def weighted_mean(values: Floats) -> WeightedValues:
    """Return the weighted mean of values (n,), as a function of weights."""
    return weighted_ratio(values, np.ones(len(values)))


def weight_below(values: Floats, thresholds: Floats) -> Callable[[Floats], Floats]:
    """Return weights (B, n) -> the weight of the `values` (n,) under each threshold (m,), ties by half: (B, m)."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    left, right = np.searchsorted(ordered, thresholds, "left"), np.searchsorted(ordered, thresholds, "right")

    def below(weights: Floats) -> Floats:
        sums = np.zeros((len(weights), len(values) + 1))
        np.cumsum(weights[:, order], axis=1, out=sums[:, 1:])
        totals = sums[:, left]
        totals += sums[:, right]
        totals /= 2
        return totals

    return below


def memoized(function: Callable[[ObservationsT], T]) -> Callable[[ObservationsT], T]:
    """Return the function with its result kept for as long as its argument, an observation, lives."""
    results: WeakKeyDictionary[ObservationsT, T] = WeakKeyDictionary()

    def look_up(observations: ObservationsT) -> T:
        if observations not in results:
            results[observations] = function(observations)
        return results[observations]

    return look_up
