"""What an evaluation came to, and the versioned result that every view of it is a function of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

from datasets import Dataset

from llmkit.errors import LlmkitError, Stopped
from llmkit.evaluation.gates import Gate, missed, require_met
from llmkit.evaluation.result_rows import pack
from llmkit.metrics import LOWER_IS_BETTER
from llmkit.metrics.hub_metric import HubMetric
from llmkit.metrics.intervals import DEFAULT_CONFIDENCE, DEFAULT_RESAMPLES, DEFAULT_SEED, Estimate
from llmkit.metrics.observations import Observations
from llmkit.options import GateOptions
from llmkit.output.result import Breakdown, EvaluationResult, FailedResult, Provenance
from llmkit.output.result_parts import SwapResult

SCHEMA_VERSION: Literal[1] = 1
# what a result says where there is nothing to say: a file of predictions has no dtype, a benchmark no columns
DEFAULT_FIELDS: Mapping[str, object] = {
    "predictions": None,
    "per_class": None,
    "confusion": None,
    "calibration": None,
    "invariance": None,
    "cached": False,
    "warnings": [],
    "columns": {},
    "dropped": 0,
    "max_length": None,
    "batch_size": None,
    "dtype": None,
    "device": None,
    "fingerprints": {},
    "model_commit": None,
    "dataset_commit": None,
    "seconds": 0.0,
}


@dataclass(frozen=True)
class MetricRequest:
    """Which figures to give, and what to demand of them."""

    metrics: tuple[str, ...]
    hub: tuple[HubMetric, ...] = ()
    tokenize: str | None = None  # of BLEU and TER; None: that of the references' script
    slices: tuple[str, ...] = ()
    gates: GateOptions = field(default_factory=GateOptions)
    resamples: int = DEFAULT_RESAMPLES
    seed: int = DEFAULT_SEED
    lower_is_better: frozenset[str] = LOWER_IS_BETTER


@dataclass(frozen=True, eq=False, kw_only=True)
class Subject:
    """What is assessed: observations, and what they are of."""

    name: str
    task: str
    dataset: str
    split: str
    model: str | None
    headline: str
    observations: Observations
    ids: Sequence[str]  # of the units: the same input has the same id in every evaluation
    counts: Mapping[str, int]
    rows: Dataset | None = None  # the dataset's row of each unit, for slices
    texts: Sequence[str] | None = None  # what a person tells a unit by
    swap: SwapResult | None = None
    fixed: Mapping[str, Estimate] = field(default_factory=dict)  # figures that come as they are, from another harness
    provenance: Provenance = field(default_factory=Provenance)


@dataclass(frozen=True, eq=False, kw_only=True)
class Evaluation:
    """What came of a subject: its figures, and the gates."""

    subject: Subject
    figures: Mapping[str, Estimate]
    resamples: int
    seed: int
    breakdown: Breakdown = field(default_factory=Breakdown)
    gates: tuple[Gate, ...] = ()

    @property
    def name(self) -> str:
        """What the result is called: the dataset, or the name that a suite gives it."""
        return self.subject.name

    @property
    def n(self) -> int:
        """How many rows (or, for language models, tokens) the figures rest on."""
        return next(iter(self.subject.counts.values()))

    @property
    def metrics(self) -> dict[str, float]:
        """The values of the figures by metric."""
        return {name: figure.value for name, figure in self.figures.items()}

    def as_dict(self, rows: bool = False) -> EvaluationResult:
        """Return the versioned result (schemas/evaluation.schema.json), with the rows when they are wanted."""
        subject = self.subject
        fields = {
            "schema": SCHEMA_VERSION,
            "status": "ok",
            "exit_code": int(bool(missed(self.gates))),
            "name": subject.name,
            "task": subject.task,
            "dataset": subject.dataset,
            "split": subject.split,
            "model": subject.model,
            "n": self.n,
            "counts": dict(subject.counts),
            "headline": subject.headline,
            "metrics": {name: figure.as_dict() for name, figure in self.figures.items()},
            "confidence": DEFAULT_CONFIDENCE,
            "resamples": self.resamples,
            "seed": self.seed,
            "gates": [gate.as_dict() for gate in self.gates],
            **DEFAULT_FIELDS,
            **self.breakdown,
            **subject.provenance,
        }
        result = cast(EvaluationResult, fields)  # of two parts of which neither has every field
        if rows:
            result["rows"] = pack(subject.observations, subject.ids)
        return result

    def require_gates(self) -> None:
        """Raise when a gate was not met.

        Raises:
            GateMissed: with a phrase for each.
        """
        require_met(self.gates)


def failed(name: str, dataset: str, model: str | None, error: LlmkitError) -> FailedResult:
    """Return the result of an evaluation that came to nothing."""
    return {
        "schema": SCHEMA_VERSION,
        "status": "stopped" if isinstance(error, Stopped) else "error",
        "exit_code": error.exit_code,
        "name": name,
        "dataset": dataset,
        "model": model,
        "error": str(error),
    }
