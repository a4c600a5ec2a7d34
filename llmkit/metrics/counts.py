"""Metrics of rows that hold any number of labels, or of spans: precision, recall and F1 of what is counted over rows.

Each row counts what is right, what is true and what is predicted, by label or by type; every figure is a function of
weighted sums of these counts. Rows are resampled, since what stands in one row is not independent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt
from datasets import Sequence, Value
from scipy import sparse

from llmkit.metrics.base import Metric, RowFeatures
from llmkit.metrics.classification import WeightedCounts, scores
from llmkit.metrics.measures import CorrectShare, WeightedValues, memoized, safe_divide, weighted_ratio
from llmkit.metrics.observations import Floats, LabelSets, Observations, Spans, span_types, spans_of

SPAN_SIGNATURE = "spans|tags:IOB2|mode:default|as:seqeval"  # whatever scheme they were written in, as is said then


class CountsByLabel:
    """Sample weights (B, n) -> their `WeightedCounts`, (B, K) each; the last are kept for the next metric."""

    def __init__(self, counts: sparse.csr_array) -> None:
        self._counts = counts  # (n, 3 K): of each row the right labels or spans, the true ones, the predicted ones
        self._last: tuple[Floats, WeightedCounts] | None = None

    def __call__(self, weights: Floats) -> WeightedCounts:
        if self._last is None or self._last[0] is not weights:
            self._last = weights, WeightedCounts(*np.split(weights @ self._counts, 3, axis=1))
        return self._last[1]


@memoized
def weighted_counts(observations: LabelSets | Spans) -> CountsByLabel:
    """Return the function from sample weights to the counts of each label or type of span."""
    if isinstance(observations, Spans):
        return CountsByLabel(_span_counts(observations))
    truth, predicted = observations.truth, observations.predicted
    return CountsByLabel(sparse.csr_array(np.hstack([truth & predicted, truth, predicted]).astype(np.float64)))


def _span_counts(observations: Spans) -> sparse.csr_array:
    ids = {name: number for number, name in enumerate(observations.names)}
    single, width = bool(observations.single), len(ids)
    cells: Counter[tuple[int, int]] = Counter()
    for row, tags in enumerate(zip(observations.truth, observations.predicted, strict=True)):
        truth, predicted = (set(spans_of(side, single)) for side in tags)
        for side, spans in enumerate((truth & predicted, truth, predicted)):
            cells.update((row, side * width + ids[kind]) for kind, _, _ in spans)
    coordinates = np.array(list(cells), dtype=np.int64).reshape(-1, 2).T
    entries = np.array(list(cells.values()), dtype=np.float64)
    return sparse.csr_array((entries, coordinates), shape=(len(observations), 3 * width))


class CountMetric(Metric[LabelSets | Spans]):
    """Precision, recall or F1 over all labels together (micro), as the mean of the labels' (macro), or by support.

    A label that neither occurs nor is predicted counts 0 in the mean, as in scikit-learn; such a type of span is left
    out, as in seqeval.
    """

    observed = (LabelSets, Spans)
    needs = "sets of labels, or spans"
    about = "Of spans as a whole (type and both ends), over all types; or of the labels of each row."
    source = "Nakayama, seqeval, 2018; Pedregosa et al., Scikit-learn, JMLR 12, 2011."
    inputs = "predictions, references: a list of tags, one for each word, per row"

    @classmethod
    def row_features(cls) -> RowFeatures:
        return {"predictions": Sequence(Value("string")), "references": Sequence(Value("string"))}

    def to_observations(self, *, predictions: Iterable[Iterable[str]], references: Iterable[Iterable[str]]) -> Spans:
        truth, predicted = (tuple(tuple(row) for row in side) for side in (references, predictions))
        tags = sorted({tag for side in (truth, predicted) for row in side for tag in row})
        return Spans(truth, predicted, span_types(tags))

    def fits(self, observations: Observations) -> bool:
        """Tell whether the name means this: of spans the usual average is micro, of labels it must be named."""
        named = self.config_name != "default"
        return isinstance(observations, Spans) or (named and isinstance(observations, LabelSets))

    def weighted_values(self, observations: LabelSets | Spans) -> WeightedValues:
        counts, key = weighted_counts(observations), type(self).key
        average = (SPAN_AVERAGES if isinstance(observations, Spans) else AVERAGES)[self.config_name]
        return lambda weights: average(key, counts(weights))

    def signature(self, observations: LabelSets | Spans) -> str | None:
        return SPAN_SIGNATURE if isinstance(observations, Spans) and not observations.single else None

    def averaging(self, observations: LabelSets | Spans) -> str | None:
        return "micro" if self.config_name == "default" else None


def _micro(key: str, counts: WeightedCounts) -> Floats:
    totals = WeightedCounts(*(side.sum(1, keepdims=True) for side in counts))
    return scores(totals)[key][:, 0]


def _macro(key: str, counts: WeightedCounts) -> Floats:
    return safe_divide(scores(counts)[key].sum(1), counts.support.shape[1], 0.0)


def _macro_of_occurring(key: str, counts: WeightedCounts) -> Floats:
    return safe_divide(scores(counts)[key].sum(1), (counts.support + counts.predicted > 0).sum(1), 0.0)


def _by_support(key: str, counts: WeightedCounts) -> Floats:
    return safe_divide((scores(counts)[key] * counts.support).sum(1), counts.support.sum(1), 0.0)


AVERAGES: dict[str, Callable[[str, WeightedCounts], Floats]] = {
    "default": _micro,
    "micro": _micro,
    "macro": _macro,
    "weighted": _by_support,
}
SPAN_AVERAGES = {**AVERAGES, "macro": _macro_of_occurring}


class F1(CountMetric):
    key = "f1"


class Precision(CountMetric):
    key = "precision"


class Recall(CountMetric):
    key = "recall"


class WordAccuracy(Metric[Spans]):
    """The share of words whose tag is right: a ratio of sums, for the words of a row are not independent."""

    observed = Spans
    key = "accuracy"
    needs = "a tag for each word"
    about = "The share of the words whose tag is the right one."
    source = CountMetric.source
    inputs = CountMetric.inputs
    row_features = CountMetric.row_features
    to_observations = CountMetric.to_observations

    def weighted_values(self, observations: Spans) -> WeightedValues:
        pairs = list(zip(observations.truth, observations.predicted, strict=True))
        correct = [sum(map(str.__eq__, *pair)) for pair in pairs]
        return weighted_ratio(correct, [len(truth) for truth, _ in pairs])

    def size(self, observations: Spans) -> int:
        return sum(map(len, observations.truth))


class SetExactMatch(CorrectShare[LabelSets], Metric[LabelSets]):
    """The share of rows of which all labels are right, and none is missing."""

    observed = LabelSets
    key = "exact_match"
    needs = "a set of labels for each row"
    about = "The share of rows whose labels are all right, and none is missing."
    source = "Pedregosa et al., Scikit-learn: Machine Learning in Python, JMLR 12, 2011 (subset accuracy)."
    inputs = "predictions, references: for each row a list of 0 and 1, one for each label"

    @classmethod
    def row_features(cls) -> RowFeatures:
        return {"predictions": Sequence(Value("int64")), "references": Sequence(Value("int64"))}

    def to_observations(self, *, predictions: npt.ArrayLike, references: npt.ArrayLike) -> LabelSets:
        truth, predicted = (np.asarray(side, dtype=bool) for side in (references, predictions))
        return LabelSets(truth, predicted, tuple(map(str, range(truth.shape[1]))))

    def correctness(self, observations: LabelSets) -> Floats:
        return np.asarray((observations.truth == observations.predicted).all(1), dtype=np.float64)
