"""Compare two saved results: what `llmkit compare` does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmkit import metrics
from llmkit.errors import DataError
from llmkit.evaluation.baselines import Comparison, compared, read_saved
from llmkit.evaluation.gates import Gate, drop_gates, missed
from llmkit.evaluation.result import SCHEMA
from llmkit.options import CompareOptions, GateOptions
from llmkit.options.base import limits


@dataclass(frozen=True, eq=False)
class ComparedResults:
    """Two saved results on the same rows, and what came of the gates."""

    comparison: Comparison
    gates: list[Gate]

    def as_dict(self) -> dict[str, Any]:
        """Return the versioned result that --json prints."""
        before, after = self.comparison.before, self.comparison.after
        return {
            "schema": SCHEMA, "exit_code": int(bool(missed(self.gates))),
            "before": {"name": before.name, "model": before.model, "dataset": before.dataset},
            "after": {"name": after.name, "model": after.model, "dataset": after.dataset},
            **{key: value for key, value in self.comparison.as_dict().items() if key in {"n", "metrics", "flips"}},
            "gates": [gate.as_dict() for gate in self.gates],
        }  # fmt: skip


def compare_saved(before: str, after: str, options: CompareOptions) -> ComparedResults:
    """Return how the result `after` differs from the result `before`.

    Raises:
        DataError: a file holds no result, or the two are not of the same rows.
        OptionError: a metric that the results do not have.
    """
    old, new = read_saved(before), read_saved(after)
    known = metrics.names_for(new.observed.observations)
    gated = [metrics.canonical(name) for name in limits(options.max_drop)]
    named = [metrics.canonical(name) for name in options.metric or ()]
    for flag, names in (("--metric", named), ("--max-drop", gated)):
        for name in names:
            metrics.require_known(name, known, flag)
    shared = [name for name in new.metrics if name in old.metrics and name in known]
    comparison = compared(old, new, list(dict.fromkeys([*(named or shared), *gated])), options.resamples, options.seed)
    if not comparison.differences:
        raise DataError(f"{before!r} and {after!r} have no metric in common")
    gates = GateOptions(baseline=before, max_drop=options.max_drop, strict=options.strict)
    return ComparedResults(comparison, drop_gates(gates, comparison.differences, metrics.LOWER_IS_BETTER))
