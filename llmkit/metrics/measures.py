"""What every metric is: a function of observations, and of how many times each unit of them counts.

A resample of a bootstrap is a row of weights, so an interval costs a few matrix products and no loop over rows.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeVar
from weakref import WeakKeyDictionary

import numpy as np

from llmkit.metrics.observations import Floats, Samples

Weigher = Callable[[Floats], Floats]  # weights (B, n) -> values (B,)
Seen = TypeVar("Seen")
Result = TypeVar("Result")


class Measure(Generic[Seen]):
    """A metric of one kind of observations; a new one must write `weigher`, and `value` where a library has it."""

    key: str
    kind: ClassVar[type]
    needs: ClassVar[str]  # what observations must hold, for the sentence that refuses others
    of_cells: ClassVar[bool] = False  # a function of how often each (truth, predicted) pair occurs

    def fits(self, observations: Any) -> bool:
        """Tell whether the metric can be computed of these observations."""
        return isinstance(observations, self.kind)

    def value(self, observations: Seen) -> float:
        """Return the metric of one or more units; NaN where it is not defined."""
        return float(self.weigher(observations)(np.ones((1, len(observations))))[0])  # type: ignore[arg-type]

    @abstractmethod
    def weigher(self, observations: Seen) -> Weigher:
        """Return weights (B, n) -> values (B,): the metric as though unit i stood weights[b, i] times.

        What does not depend on the weights (an order, the counts of a text) is worked out once, here.
        """

    def proportion(self, observations: Seen) -> tuple[int, int] | None:
        """Return (successes, trials) where the metric is a proportion of independent trials, else None."""
        return None

    def hits(self, observations: Seen) -> Floats | None:
        """Return a 0 or 1 for each unit where the metric is their mean, else None."""
        return None

    def size(self, observations: Seen) -> int:
        """Return the n that the metric is of."""
        return len(observations)  # type: ignore[arg-type]

    def note(self, observations: Seen) -> str | None:
        """Return what the metric is of, where its name does not say: "macro", "class 'spam'"."""
        return None

    def signature(self, observations: Seen) -> str | None:
        """Return the library's own description of how the metric was computed, where it has one."""
        return None


class HitShare(Measure[Seen]):
    """A metric that is the share of units that are hits: `hits` is what a new one must write."""

    @abstractmethod
    def hits(self, observations: Seen) -> Floats:
        """Return a 0 or 1 for each unit, (n,)."""

    def value(self, observations: Seen) -> float:
        return float(self.hits(observations).mean())

    def weigher(self, observations: Seen) -> Weigher:
        return mean_weigher(self.hits(observations))

    def proportion(self, observations: Seen) -> tuple[int, int]:
        hits = self.hits(observations)
        return int(hits.sum()), len(hits)


class SampleMean(Measure[Samples]):
    """The mean of what another harness measured of each row."""

    kind = Samples
    needs = "a value for each row"

    def __init__(self, key: str) -> None:
        self.key = key

    def fits(self, observations: Any) -> bool:
        return isinstance(observations, Samples) and self.key in observations.values

    def value(self, observations: Samples) -> float:
        return float(np.mean(observations.values[self.key]))

    def weigher(self, observations: Samples) -> Weigher:
        return mean_weigher(observations.values[self.key])

    def hits(self, observations: Samples) -> Floats | None:
        values = np.asarray(observations.values[self.key], dtype=np.float64)
        return values if np.isin(values, (0.0, 1.0)).all() else None

    def proportion(self, observations: Samples) -> tuple[int, int] | None:
        hits = self.hits(observations)
        return None if hits is None else (int(hits.sum()), len(hits))


def quotient(above: Any, below: Any, otherwise: float = np.nan) -> Floats:
    """Return above / below, and `otherwise` where below is 0."""
    above, below = np.broadcast_arrays(np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64))
    return np.asarray(np.divide(above, below, out=np.full(above.shape, otherwise), where=below != 0))


def ratio_weigher(above: Any, below: Any) -> Weigher:
    """Return the weigher of the sum of `above` (n,) over the sum of `below` (n,)."""
    columns = np.stack([above, below], axis=1).astype(np.float64)

    def weigh(weights: Floats) -> Floats:
        total, count = (weights @ columns).T
        return quotient(total, count)

    return weigh


def mean_weigher(values: Any) -> Weigher:
    """Return the weigher of the mean of `values` (n,)."""
    return ratio_weigher(values, np.ones(len(values)))


def below(values: Floats, thresholds: Floats) -> Callable[[Floats], Floats]:
    """Return weights (B, n) -> the weight of the `values` (n,) under each threshold (m,), ties by half: (B, m)."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    left, right = np.searchsorted(ordered, thresholds, "left"), np.searchsorted(ordered, thresholds, "right")

    def weigh(weights: Floats) -> Floats:
        sums = np.zeros((len(weights), len(values) + 1))
        np.cumsum(weights[:, order], axis=1, out=sums[:, 1:])
        found = sums[:, left]
        found += sums[:, right]
        found /= 2
        return found

    return weigh


def remembered(function: Callable[[Any], Result]) -> Callable[[Any], Result]:
    """Return the function with its result kept for as long as its argument, an observation, lives."""
    kept: WeakKeyDictionary[Any, Result] = WeakKeyDictionary()

    def look_up(observations: Any) -> Result:
        if observations not in kept:
            kept[observations] = function(observations)
        return kept[observations]

    return look_up
