"""Two evaluations of the same rows: paired by content, compared metric by metric, with the rows that flipped."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llmkit import metrics
from llmkit.errors import DataError, listing
from llmkit.evaluation.gates import Gate, drop_gates, missed
from llmkit.evaluation.result import SCHEMA
from llmkit.evaluation.result_rows import Observed, labels_of, predictions_of, unpack
from llmkit.metrics.observations import AnswerTexts, Choices, Classes, LabelSets, Observations
from llmkit.metrics.significance import Difference, differences
from llmkit.options import CompareOptions, GateOptions
from llmkit.options.base import limits

SHOWN_FLIPS = 50
# the metric whose hits say which predictions are right, for observations of which each prediction is or is not
RIGHT: dict[type, str] = {
    Classes: "accuracy",
    Choices: "accuracy",
    LabelSets: "exact_match",
    AnswerTexts: "exact_match",
}


@dataclass(frozen=True, eq=False)
class Saved:
    """One side of a comparison: a saved result, or an evaluation made now."""

    name: str
    model: str | None
    task: str
    dataset: str
    observed: Observed
    metrics: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Comparison:
    """How the figures of `after` differ from those of `before` on the same rows."""

    before: Saved
    after: Saved
    differences: Mapping[str, Difference]
    flips: dict[str, Any] | None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for the result."""
        return {
            "name": self.before.name,
            "model": self.before.model,
            "n": len(self.after.observed.ids),
            "metrics": {name: difference.as_dict() for name, difference in self.differences.items()},
            "flips": self.flips,
        }


def looks_saved(name: str) -> bool:
    """Tell whether a baseline is a file with a saved result rather than a model."""
    return Path(name).is_file() or name.endswith(".json")


def read_saved(path: str) -> Saved:
    """Read a result that `llmkit eval --output` wrote.

    Raises:
        DataError: there is no such file, it holds something else, a run that failed, or one of another schema.
    """
    try:
        result = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"the result {path!r} cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise DataError(f"{path!r} is not JSON: {error}") from None
    if isinstance(result, dict) and result.get("schema", SCHEMA) != SCHEMA:
        raise DataError(
            f"{path!r} is of schema {result['schema']!r}, and this llmkit reads {SCHEMA}; make it anew with this one"
        )
    if isinstance(result, dict) and "results" in result:
        raise DataError(f"{path!r} holds the results of a suite; compare those of its members, each on its own")
    if isinstance(result, dict) and result.get("status") not in {None, "ok"}:
        raise DataError(f"{path!r} holds a run that failed ({result.get('error')}); make it anew")
    try:
        observed = unpack(result["rows"])
        return Saved(
            path,
            result["model"] or result.get("predictions"),
            result["task"],
            result["dataset"],
            observed,
            tuple(result["metrics"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{path!r} holds no rows to compare with ({type(error).__name__}: {error}); "
            "`llmkit eval --output FILE.json` writes them"
        ) from None


def compared(before: Saved, after: Saved, names: Sequence[str], resamples: int, seed: int) -> Comparison:
    """Pair the units of two evaluations by content and compare them metric by metric.

    Raises:
        DataError: the rows are not the same, or the tasks, classes or labels differ.
    """
    require_same_task(before.name, before.task, after.task)
    order = _pairing(before, after)
    earlier = _respelled(before.observed.observations.take(order), after)
    later = after.observed.observations
    _refuse_other_labels(before, earlier, later, after.observed.ids)
    known = metrics.names_for(earlier)
    found = differences([name for name in names if name in known], earlier, later, resamples, seed)
    return Comparison(before, after, found, _flips(earlier, later, after.observed))


def require_same_task(baseline: str, before: str, after: str) -> None:
    """Refuse a baseline of another task.

    Raises:
        DataError: naming both.
    """
    if before != after:
        raise DataError(f"the baseline {baseline!r} is of {before}, which cannot be compared with {after}")


def _pairing(before: Saved, after: Saved) -> list[int]:
    """Return for each unit of `after` the place of the same content in `before`; equal ones by label, then by order."""
    then, now = before.observed.ids, after.observed.ids
    found: dict[int, int] = {}
    for old, new in ((_with_labels(before.observed), _with_labels(after.observed)), (then, now)):
        taken, left = set(found.values()), dict[Any, list[int]]()
        for place in reversed(range(len(old))):
            if place not in taken:
                left.setdefault(old[place], []).append(place)
        for unit, key in enumerate(new):
            if unit not in found and left.get(key):
                found[unit] = left[key].pop()
    missing, extra = len(now) - len(found), len(then) - len(found)
    if missing or extra:
        raise DataError(
            f"the rows are not those of the baseline {before.name!r}: {missing} of {len(now)} are "
            f"not in it, and {extra} of its {len(then)} are missing here; the dataset, the split, "
            "--limit or the tokens have changed: make the baseline anew"
        )
    return [found[unit] for unit in range(len(now))]


def _with_labels(side: Observed) -> list[tuple[str, str]]:
    labels = labels_of(side.observations) or [None] * len(side.ids)
    return [(key, repr(label)) for key, label in zip(side.ids, labels, strict=True)]


def _respelled(earlier: Observations, after: Saved) -> Observations:
    """Return the baseline's classes or labels by their places, and with the positive class, in the later evaluation."""
    later = after.observed.observations
    if not isinstance(earlier, Classes | LabelSets) or type(earlier) is not type(later):
        return earlier
    assert isinstance(later, Classes | LabelSets)
    if set(earlier.names) != set(later.names):
        raise DataError(
            f"the baseline has the classes {listing(earlier.names)}, this evaluation {listing(later.names)}; "
            "the same are wanted"
        )
    ids = np.array([later.names.index(name) for name in earlier.names])
    columns = np.argsort(ids)
    scores = None if earlier.probabilities is None else earlier.probabilities[:, columns]
    if isinstance(earlier, LabelSets):
        return LabelSets(earlier.truth[:, columns], earlier.predicted[:, columns], later.names, scores)
    assert isinstance(later, Classes)
    return Classes(ids[earlier.truth], ids[earlier.predicted], later.names, scores, later.positive)


def _refuse_other_labels(before: Saved, earlier: Observations, later: Observations, ids: Sequence[str]) -> None:
    if type(earlier) is not type(later):
        raise DataError(f"the baseline {before.name!r} holds other figures than this evaluation")
    then, now = labels_of(earlier), labels_of(later)
    if then is None or now is None:
        return
    other = [key for key, old, new in zip(ids, then, now, strict=True) if old != new]
    if other:
        raise DataError(
            f"{len(other)} rows have another label than in the baseline {before.name!r} (the first is {other[0]}): "
            "the dataset has changed; make the baseline anew"
        )


def _flips(earlier: Observations, later: Observations, observed: Observed) -> dict[str, Any] | None:
    """Return how many predictions became right (fixed) or wrong (broken), and the rows that changed.

    None where a prediction is not just right or wrong: a number, a text, the tags of a sentence.
    """
    name = RIGHT.get(type(later))
    labels, before, after = labels_of(later), predictions_of(earlier), predictions_of(later)
    if name is None or labels is None or before is None or after is None:
        return None
    hits = metrics.hits(name, earlier), metrics.hits(name, later)
    was, now = (np.asarray(side, dtype=bool) for side in hits)
    changed = [row for row, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    first = sorted(changed, key=lambda row: (not was[row] or now[row], row))[:SHOWN_FLIPS]  # broken ones first
    texts = observed.texts
    rows = [
        {
            "id": observed.ids[row],
            **({} if texts is None else {"text": texts[row]}),
            "label": labels[row],
            "before": before[row],
            "after": after[row],
        }
        for row in first
    ]
    return {"fixed": int((~was & now).sum()), "broken": int((was & ~now).sum()), "changed": len(changed), "rows": rows}


@dataclass(frozen=True, eq=False)
class ComparedResults:
    """Two saved results on the same rows, and what came of the gates."""

    comparison: Comparison
    gates: list[Gate]

    def as_dict(self) -> dict[str, Any]:
        """Return the versioned result that --json prints."""
        before, after = self.comparison.before, self.comparison.after
        return {
            "schema": SCHEMA,
            "exit_code": int(bool(missed(self.gates))),
            "before": {"name": before.name, "model": before.model, "dataset": before.dataset},
            "after": {"name": after.name, "model": after.model, "dataset": after.dataset},
            **{key: value for key, value in self.comparison.as_dict().items() if key in {"n", "metrics", "flips"}},
            "gates": [gate.as_dict() for gate in self.gates],
        }


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
