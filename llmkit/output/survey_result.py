"""What `llmkit data` prints and writes as JSON; `schemas/survey.schema.json` describes the same fields."""

from __future__ import annotations

from typing import Literal, TypedDict

PieceKind = Literal["text", "special", "padding", "learned", "unlearned", "answer", "omitted"]


class ReadingResult(TypedDict):
    """One way to read the columns; the first of them was taken."""

    task: str
    columns: dict[str, str]
    confidence: str
    why: str


class TaskResult(TypedDict):
    """The task that finetuning would take."""

    name: str
    why: str
    others: list[str]
    readings: list[ReadingResult]
    columns: dict[str, str]
    pieces: str | None


class ColumnResult(TypedDict):
    """One column of the dataset."""

    name: str
    feature: str
    holds: str
    role: str | None


class Histogram(TypedDict):
    """How many rows have so many tokens: of n bins, n + 1 edges."""

    edges: list[float]
    counts: list[int]


class LengthsResult(TypedDict):
    """Lengths in tokens of the rows of a split."""

    measured: int
    min: int
    mean: float
    median: float
    p95: float
    p99: float
    max: int
    over: int
    over_share: float
    histogram: Histogram


class SplitResult(TypedDict):
    """One split that has rows."""

    rows: int
    labelled: bool | None
    empty: int
    unusable: int
    duplicates: int
    labels: dict[str, int] | None
    lengths: LengthsResult | None


class NearResult(TypedDict):
    """How near duplicates were sought."""

    method: str
    threshold: float


class FindingResult(TypedDict):
    """Something that is wrong with some rows of a split, counted exactly."""

    kind: str
    split: str
    rows: int
    of: int
    share: float
    first: list[int]
    twins: list[int]
    other: str | None
    label: str | None
    sentence: str


class PieceResult(TypedDict):
    """Tokens side by side that are taken in one way."""

    kind: PieceKind
    text: str
    tokens: int


class RowResult(TypedDict):
    """One row of a batch as the model sees it."""

    texts: dict[str, list[PieceResult]]
    truth: str | None


SurveyResult = TypedDict(  # all of it
    "SurveyResult",
    {
        "schema": int,
        "dataset": str,
        "dataset_commit": str | None,
        "task": TaskResult,
        "columns": list[ColumnResult],
        "tokenizer": str,
        "max_length": int,
        "splits": dict[str, SplitResult],
        "near": NearResult | None,
        "findings": list[FindingResult],
        "shown": list[RowResult],
    },
)
