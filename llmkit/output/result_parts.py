"""The parts of a result of `llmkit eval` as types: figures, gates, comparisons, slices, rows. See `output.result`."""

# without `from __future__ import annotations`: Python then knows which keys are required

from typing import Literal, NotRequired, TypedDict

Label = str | float | list[str | float] | None  # a label, a number, a text, or several of them
Interval = list[float | None]  # low, high
CLASS_METRICS: tuple[Literal["precision", "recall", "f1"], ...] = ("precision", "recall", "f1")  # of a `ClassResult`


class MetricResult(TypedDict):
    """The value of a metric, with its uncertainty."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    interval: Literal["wilson", "bootstrap", "standard error"] | None
    of: NotRequired[str]  # what the metric is of, where its name does not say: "class 'spam'"
    signature: NotRequired[str]  # how a metric of texts was computed, as sacrebleu spells it


class ClassIntervals(TypedDict, total=False):
    """The 95% intervals of one class's figures; None where there is none."""

    precision: Interval | None
    recall: Interval | None
    f1: Interval | None


class ClassResult(TypedDict):
    """The figures of one class against the rest, of one label, or of one type of span."""

    precision: float | None
    recall: float | None
    f1: float | None
    support: int
    intervals: NotRequired[ClassIntervals | None]


class ConfusionMatrix(TypedDict):
    """How often each class (outer list) was predicted as each (inner list)."""

    labels: list[str]
    counts: list[list[int]]


class CalibrationBin(TypedDict):
    """The rows whose confidence, the probability of the predicted class, lies between two bounds."""

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


class Calibration(TypedDict):
    """How well the probabilities agree with what was right."""

    bins: list[CalibrationBin]


class GateResult(TypedDict):
    """A demand on a metric, and what came of it."""

    kind: Literal["fail-under", "fail-above", "max-drop", "max-gap"]
    metric: str
    limit: float
    value: float | None
    bound: float | None
    strict: bool
    met: bool
    sentence: str


class PairedMetric(TypedDict):
    """A metric of two results on the same rows."""

    baseline: float | None
    value: float | None
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    test: Literal["paired bootstrap", "exact McNemar", "McNemar"] | None


class FlippedRow(TypedDict):
    """A row whose prediction differs from the baseline's."""

    id: str
    text: NotRequired[str]
    label: Label
    before: Label
    after: Label


class Flips(TypedDict):
    """How many predictions became right or wrong, and the first rows that changed."""

    fixed: int
    broken: int
    changed: int
    rows: list[FlippedRow]


class BaselineResult(TypedDict):
    """The comparison with an earlier result on the same rows, paired by content."""

    name: str
    model: str | None
    n: int
    metrics: dict[str, PairedMetric]
    flips: Flips | None


class SliceResult(TypedDict):
    """The rows with one value of a column."""

    n: int
    metrics: dict[str, MetricResult]


class Gap(TypedDict):
    """The largest difference of a metric between two values of the column."""

    gap: float | None
    low: float | None
    high: float | None
    best: str | None
    worst: str | None


class ColumnSlices(TypedDict):
    """The figures of one column's values."""

    values: dict[str, SliceResult]
    gaps: dict[str, Gap]


class SwappedPair(TypedDict):
    """How many texts hold one of two terms, and how many predictions flip when they change places."""

    terms: list[str]
    n: int
    flipped: int


class SwappedRow(TypedDict):
    """A text whose prediction flips."""

    id: str
    text: str
    swapped: str
    before: Label
    after: Label


class SwapResult(TypedDict):
    """What --swap found: texts with their terms swapped, and whether the prediction flips."""

    terms: str
    n: int
    flipped: int
    value: float | None
    low: float | None
    high: float | None
    pairs: list[SwappedPair]
    rows: list[SwappedRow]


class VariantRow(TypedDict):
    """A row whose prediction depends on the rows beside it."""

    id: str
    alone: Label
    together: Label


class Invariance(TypedDict):
    """What --check-invariance found: rows run alone and in other company."""

    rows: int
    largest_difference: float | None
    changed: int
    changed_rows: list[VariantRow]


class RowColumns(TypedDict, total=False):
    """What was observed of each row, column by column; `kind` says which of the columns there are."""

    names: list[str] | None
    positive: str | None
    label: list[Label] | None
    prediction: list[Label] | None
    scores: list[dict[str, float | None] | list[float | None] | float | None] | None
    single: bool
    normalised: list[int] | None
    nll: list[float | None] | None
    tokens: list[int] | None
    bytes: list[int] | None
    hits: list[int] | None
    margin: list[float | None] | None
    before: list[float | None] | None
    beta: float
    tokenizer: str
    values: dict[str, list[float | None]] | None


class ResultRows(RowColumns):
    """Every row that was measured; all lists have the same length. Only in the file of --output."""

    kind: NotRequired[str]
    id: list[str]
