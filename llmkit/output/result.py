"""The versioned result of `llmkit eval` as types: what evaluation writes, and all that the views know of one.

`schemas/evaluation.schema.json` says the same of the files, with a description of each field; a test holds the two
together. Figures that are not a number are null.
"""

# without `from __future__ import annotations`: Python then knows which keys are required

from collections.abc import Mapping
from typing import Literal, NotRequired, TypedDict

from llmkit.output.documents import JsonObject
from llmkit.output.result_parts import (
    BaselineResult,
    Calibration,
    ClassResult,
    ColumnSlices,
    ConfusionMatrix,
    Flips,
    GateResult,
    Invariance,
    MetricResult,
    PairedMetric,
    ResultRows,
    SwapResult,
)


class ThroughputRecord(TypedDict):
    """How fast the steps of a training were, over all processes; null where it took none."""

    tokens_per_second: float | None
    padding_share: float | None
    flops_per_second: float | None
    mfu: float | None
    phase_seconds: dict[str, float]


class TrainingSummary(TypedDict):
    """What a training run did."""

    steps: int
    seconds: float
    best_step: int | None
    best_by: str
    evaluation_seconds: float
    peak_memory_bytes: int
    throughput: NotRequired[ThroughputRecord]


class MetricSpread(TypedDict):
    """One metric over seeds."""

    mean: float | None
    sd: float | None
    min: float | None
    max: float | None
    values: list[float | None]
    of: NotRequired[str]


class SeedsResult(TypedDict):
    """The figures of several seeds; those of the result itself are the median seed's."""

    n: int
    seeds: list[int]
    by: str
    median_seed: int
    metrics: dict[str, MetricSpread]


TrialOutcome = Literal["complete", "pruned", "failed"]


class TrialResult(TypedDict):
    """One recipe that was tried."""

    trial: int
    state: TrialOutcome
    value: float | None
    values: dict[str, float | str]  # option -> what it was
    steps: int | None
    seconds: float


class SearchResult(TypedDict):
    """A search for a better recipe; the result itself is the best trial's."""

    by: str
    greater_is_better: bool
    best: int
    best_value: float
    default_value: float | None
    rows: int
    space: JsonObject
    trials: list[TrialResult]


class ModelOrigin(TypedDict):
    """What a model's answers rest on, whatever it is asked."""

    batch_size: int | None
    dtype: str | None
    device: str | None
    fingerprints: Mapping[str, str | None]
    model_commit: str | None
    versions: Mapping[str, str | None]


class Provenance(TypedDict, total=False):
    """What the figures of a result rest on; what is not there is said to be nothing in the result."""

    predictions: str | None
    columns: dict[str, str]
    dropped: int
    rows_sha256: str
    max_length: int | None
    stride: int | None
    dataset_commit: str | None
    batch_size: int | None
    dtype: str | None
    device: str | None
    fingerprints: Mapping[str, str | None]
    model_commit: str | None
    versions: Mapping[str, str | None]
    invariance: Invariance | None
    cached: bool
    seconds: float
    warnings: list[str]
    task_version: str
    num_fewshot: int
    benchmark_dataset: str
    prompts_sha256: str
    chat_template_sha256: str
    fewshot_as_multiturn: bool
    system_instruction: str


class Breakdown(TypedDict, total=False):
    """The parts of a result that not every task and not every call has."""

    baseline: BaselineResult | None
    slices: dict[str, ColumnSlices] | None
    swap: SwapResult | None
    per_class: dict[str, ClassResult] | None
    confusion: ConfusionMatrix | None
    calibration: Calibration | None


class EvaluationResult(TypedDict):
    """One evaluation that ran to its end."""

    schema: Literal[1]
    status: Literal["ok"]
    exit_code: int
    name: str
    task: str
    dataset: str
    split: str
    model: str | None
    predictions: str | None
    n: int
    counts: dict[str, int]
    headline: str
    metrics: dict[str, MetricResult]
    confidence: float
    resamples: int
    seed: int
    per_class: dict[str, ClassResult] | None
    confusion: ConfusionMatrix | None
    calibration: Calibration | None
    gates: list[GateResult]
    baseline: BaselineResult | None
    slices: dict[str, ColumnSlices] | None
    swap: SwapResult | None
    invariance: Invariance | None
    cached: bool
    warnings: list[str]
    columns: dict[str, str]
    dropped: int
    rows_sha256: str
    max_length: int | None
    task_version: NotRequired[str]
    num_fewshot: NotRequired[int]
    benchmark_dataset: NotRequired[str]
    prompts_sha256: NotRequired[str]
    chat_template_sha256: NotRequired[str]
    fewshot_as_multiturn: NotRequired[bool]
    system_instruction: NotRequired[str]
    stride: NotRequired[int | None]
    batch_size: int | None
    dtype: str | None
    device: str | None
    fingerprints: Mapping[str, str | None]
    model_commit: str | None
    dataset_commit: str | None
    seconds: float
    versions: Mapping[str, str | None]
    run: NotRequired[str]
    training: NotRequired[TrainingSummary | None]
    seeds: NotRequired[SeedsResult]
    search: NotRequired[SearchResult]
    rows: NotRequired[ResultRows]


class FailedResult(TypedDict):
    """An evaluation that could not be had."""

    schema: Literal[1]
    status: Literal["error", "stopped"]
    exit_code: int
    name: str
    dataset: str
    model: str | None
    error: str


class SuiteResult(TypedDict):
    """Several evaluations of one suite."""

    schema: Literal[1]
    suite: str
    status: Literal["ok", "error", "stopped"]
    exit_code: int
    results: list[EvaluationResult | FailedResult]


class ComparedSide(TypedDict):
    """One of the two results that `llmkit compare` was given."""

    name: str
    model: str | None
    dataset: str


class ComparisonResult(TypedDict):
    """What `llmkit compare --json` prints."""

    schema: Literal[1]
    exit_code: int
    before: ComparedSide
    after: ComparedSide
    n: int
    metrics: dict[str, PairedMetric]
    flips: Flips | None
    gates: list[GateResult]


Result = EvaluationResult | FailedResult
