"""What an evaluation came to, and the versioned result that every view of it is a function of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmkit.errors import GateMissed, LlmkitError, Stopped
from llmkit.evaluation.gates import Gate
from llmkit.evaluation.rows import pack
from llmkit.metrics import LOWER_IS_BETTER
from llmkit.metrics.hub_metric import HubMetric
from llmkit.observations import Observations
from llmkit.options import GateOptions
from llmkit.uncertainty import Figure

SCHEMA = 1
# what a result says where there is nothing to say: a file of predictions has no dtype, a benchmark no columns
NOTHING: dict[str, Any] = {
    "predictions": None, "per_class": None, "confusion": None, "calibration": None, "invariance": None,
    "cached": False, "warnings": [], "columns": {}, "dropped": 0, "max_length": None, "batch_size": None,
    "dtype": None, "device": None, "fingerprints": {}, "model_commit": None, "dataset_commit": None, "seconds": 0.0,
}  # fmt: skip


@dataclass(frozen=True)
class Wanted:
    """Which figures to give, and what to demand of them."""

    metrics: tuple[str, ...]
    hub: tuple[HubMetric, ...] = ()
    slices: tuple[str, ...] = ()
    gates: GateOptions = field(default_factory=GateOptions)
    resamples: int = 2000
    seed: int = 42
    swap: Path | None = None
    lower_is_better: frozenset[str] = LOWER_IS_BETTER


@dataclass(frozen=True)
class Evaluation:
    """What was measured, on which rows, with what."""

    name: str
    task: str
    dataset: str
    split: str
    model: str | None
    headline: str
    counts: Mapping[str, int]
    figures: Mapping[str, Figure]
    observations: Observations
    ids: Sequence[str]  # of the units: the same input has the same id in every evaluation
    resamples: int
    seed: int
    details: Mapping[str, Any] = field(default_factory=dict)  # per_class, confusion, slices, baseline, swap ...
    gates: tuple[Gate, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """How many rows (or, for language models, tokens) the figures rest on."""
        return next(iter(self.counts.values()))

    @property
    def metrics(self) -> dict[str, float]:
        """The values of the figures by metric."""
        return {name: figure.value for name, figure in self.figures.items()}

    def as_dict(self, rows: bool = False) -> dict[str, Any]:
        """Return the versioned result (schemas/evaluation.schema.json), with the rows when they are wanted."""
        missed = any(not gate.met for gate in self.gates)
        result = {
            "schema": SCHEMA, "status": "ok", "exit_code": int(missed), "name": self.name, "task": self.task,
            "dataset": self.dataset, "split": self.split, "model": self.model, "n": self.n,
            "counts": dict(self.counts), "headline": self.headline,
            "metrics": {name: figure.as_dict() for name, figure in self.figures.items()},
            "confidence": 0.95, "resamples": self.resamples, "seed": self.seed,
            "gates": [gate.as_dict() for gate in self.gates], **NOTHING, **self.details, **self.about,
        }  # fmt: skip
        return {**result, "rows": pack(self.observations, self.ids)} if rows else result

    def require_gates(self) -> None:
        """Raise when a gate was not met.

        Raises:
            GateMissed: with a phrase for each.
        """
        missed = [gate.sentence for gate in self.gates if not gate.met]
        if missed:
            raise GateMissed("; ".join(missed))


def failed(name: str, dataset: str, model: str | None, error: LlmkitError) -> dict[str, Any]:
    """Return the result of an evaluation that came to nothing."""
    return {
        "schema": SCHEMA, "status": "stopped" if isinstance(error, Stopped) else "error",
        "exit_code": error.exit_code, "name": name, "dataset": dataset, "model": model, "error": str(error),
    }  # fmt: skip
