"""One evaluation as it was asked for."""

from __future__ import annotations

from dataclasses import dataclass

from llmkit.options import DataOptions, EvalOptions, GateOptions, ModelOptions


@dataclass(frozen=True)
class Member:
    """One evaluation that was asked for."""

    name: str
    dataset: str
    model: ModelOptions
    data: DataOptions
    evaluation: EvalOptions
    gates: GateOptions
