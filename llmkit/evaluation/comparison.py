"""Two evaluations of the same rows: paired by content, compared metric by metric, with the rows that flipped."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llmkit import metrics
from llmkit.errors import DataError, listing, one_line
from llmkit.evaluation.gates import Gate, drop_gates, missed
from llmkit.evaluation.result import SCHEMA_VERSION
from llmkit.evaluation.result_rows import ObservedUnits, unpack
from llmkit.metrics.observations import AnswerTexts, ChoiceIds, Classes, LabelSets, Observations, Texts
from llmkit.metrics.significance import Difference, differences
from llmkit.metrics.texts.tokenizers import TOKENIZED
from llmkit.options import CompareOptions, GateOptions
from llmkit.options.base import limits
from llmkit.output.result import ComparedSide, ComparisonResult
from llmkit.output.result_parts import BaselineResult, FlippedRow, Flips, Label

MAX_FLIPS_SHOWN = 50
# the metric that says which predictions are right, for observations of which each prediction is or is not
CORRECTNESS_METRICS: dict[type[Observations], str] = {
    Classes: "accuracy",
    ChoiceIds: "accuracy",
    LabelSets: "exact_match",
    AnswerTexts: "exact_match",
}


@dataclass(frozen=True, eq=False)
class ComparisonSide:
    """One side of a comparison: a saved result, or an evaluation made now."""

    name: str
    model: str | None
    task: str
    dataset: str
    units: ObservedUnits
    metrics: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Comparison:
    """How the figures of `after` differ from those of `before` on the same rows."""

    before: ComparisonSide
    after: ComparisonSide
    differences: Mapping[str, Difference]
    flips: Flips | None

    def as_dict(self) -> BaselineResult:
        """Return the fields for the result."""
        return {
            "name": self.before.name,
            "model": self.before.model,
            "n": len(self.after.units.ids),
            "metrics": {name: difference.as_dict() for name, difference in self.differences.items()},
            "flips": self.flips,
        }


def looks_saved(name: str) -> bool:
    """Tell whether a baseline is a file with a saved result rather than a model."""
    return Path(name).is_file() or name.endswith(".json")


def read_saved(path: str) -> ComparisonSide:
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
    if isinstance(result, dict) and result.get("schema", SCHEMA_VERSION) != SCHEMA_VERSION:
        raise DataError(
            f"{path!r} is of schema {result['schema']!r}, and this llmkit reads {SCHEMA_VERSION}; "
            "make it anew with this one"
        )
    if isinstance(result, dict) and "results" in result:
        raise DataError(f"{path!r} holds the results of a suite; compare those of its members, each on its own")
    if isinstance(result, dict) and result.get("status") not in {None, "ok"}:
        raise DataError(f"{path!r} holds a run that failed ({result.get('error')}); make it anew")
    try:
        units = unpack(result["rows"])
        model = result["model"] or result.get("predictions")
        return ComparisonSide(path, model, result["task"], result["dataset"], units, tuple(result["metrics"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else one_line(error)
        raise DataError(
            f"{path!r} holds no rows to compare with ({reason}); `llmkit eval --output FILE.json` writes them"
        ) from None


def compared(
    before: ComparisonSide, after: ComparisonSide, names: Sequence[str], resamples: int, seed: int
) -> Comparison:
    """Pair the units of two evaluations by content and compare them metric by metric.

    Raises:
        DataError: the rows are not the same, or the tasks, classes or labels differ.
    """
    require_same_task(before.name, before.task, after.task)
    order = _pairing(before, after)
    earlier = _respelled(before.units.observations.take(order), after)
    later = after.units.observations
    _refuse_other_labels(before, earlier, later, after.units.ids)
    known = [name for name in names if name in metrics.names_for(earlier)]
    _refuse_other_tokenizer(before, earlier, after, known)
    by_metric = differences(known, earlier, later, resamples, seed)
    return Comparison(before, after, by_metric, _flips(earlier, after.units))


def require_same_task(baseline: str, before: str, after: str) -> None:
    """Refuse a baseline of another task.

    Raises:
        DataError: naming both.
    """
    if before != after:
        raise DataError(f"the baseline {baseline!r} is of {before}, which cannot be compared with {after}")


def _pairing(before: ComparisonSide, after: ComparisonSide) -> list[int]:
    """Return for each unit of `after` that of the same content in `before`; equal ones by label, then by order."""
    before_ids, after_ids = before.units.ids, after.units.ids
    paired: dict[int, int] = {}  # unit of `after` -> unit of `before`
    for old, new in ((_with_labels(before.units), _with_labels(after.units)), (before_ids, after_ids)):
        taken, left = set(paired.values()), dict[object, list[int]]()
        for unit in reversed(range(len(old))):
            if unit not in taken:
                left.setdefault(old[unit], []).append(unit)
        for unit, key in enumerate(new):
            if unit not in paired and left.get(key):
                paired[unit] = left[key].pop()
    missing, extra = len(after_ids) - len(paired), len(before_ids) - len(paired)
    if missing or extra:
        raise DataError(
            f"the rows are not those of the baseline {before.name!r}: {missing} of {len(after_ids)} are "
            f"not in it, and {extra} of its {len(before_ids)} are missing here; the dataset, the split, "
            "--limit or the tokens have changed: make the baseline anew"
        )
    return [paired[unit] for unit in range(len(after_ids))]


def _with_labels(units: ObservedUnits) -> list[tuple[str, str]]:
    labels = units.observations.labels() or [None] * len(units.ids)
    return [(key, repr(label)) for key, label in zip(units.ids, labels, strict=True)]


def _respelled(earlier: Observations, after: ComparisonSide) -> Observations:
    """Return the baseline's classes or labels by their places, and with the positive class, in the later evaluation."""
    later = after.units.observations
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


def _refuse_other_labels(
    before: ComparisonSide, earlier: Observations, later: Observations, ids: Sequence[str]
) -> None:
    if type(earlier) is not type(later):
        raise DataError(f"the baseline {before.name!r} holds other figures than this evaluation")
    earlier_labels, later_labels = earlier.labels(), later.labels()
    if earlier_labels is None or later_labels is None:
        return
    relabelled = [key for key, old, new in zip(ids, earlier_labels, later_labels, strict=True) if old != new]
    if relabelled:
        raise DataError(
            f"{len(relabelled)} rows have another label than in the baseline {before.name!r} "
            f"(the first is {relabelled[0]}): "
            "the dataset has changed; make the baseline anew"
        )


def _refuse_other_tokenizer(
    before: ComparisonSide, earlier: Observations, after: ComparisonSide, names: Sequence[str]
) -> None:
    """Refuse to compare BLEU or TER of two tokenizers."""
    later, reading = after.units.observations, [name for name in names if name in TOKENIZED]
    if not reading or not isinstance(earlier, Texts) or not isinstance(later, Texts):
        return
    if earlier.tokenizer != later.tokenizer:
        raise DataError(
            f"{listing(reading)} cannot be compared: {before.name!r} is of the tokenizer {earlier.tokenizer}, "
            f"{after.name!r} of {later.tokenizer}; make one of them anew with --tokenize {earlier.tokenizer} or "
            f"{later.tokenizer}, or compare other metrics"
        )


def _flips(earlier: Observations, units: ObservedUnits) -> Flips | None:
    """Return how many predictions became right (fixed) or wrong (broken), and the rows that changed.

    None where a prediction is not just right or wrong: a number, a text, the tags of a sentence.
    """
    later = units.observations
    name = CORRECTNESS_METRICS.get(type(later))
    labels, old, new = later.labels(), earlier.predictions(), later.predictions()
    if name is None or labels is None or old is None or new is None:
        return None
    was_right, is_right = (
        np.asarray(metrics.resolve((name,), side)[name].correctness(side), dtype=bool) for side in (earlier, later)
    )
    changed = [row for row, (before, after) in enumerate(zip(old, new, strict=True)) if before != after]
    broken_first = sorted(changed, key=lambda row: (not was_right[row] or is_right[row], row))
    return {
        "fixed": int((~was_right & is_right).sum()),
        "broken": int((was_right & ~is_right).sum()),
        "changed": len(changed),
        "rows": [_flipped_row(units, row, labels, old, new) for row in broken_first[:MAX_FLIPS_SHOWN]],
    }


def _flipped_row(
    units: ObservedUnits, row: int, labels: Sequence[Label], before: Sequence[Label], after: Sequence[Label]
) -> FlippedRow:
    if units.texts is None:
        return {"id": units.ids[row], "label": labels[row], "before": before[row], "after": after[row]}
    text = units.texts[row]
    return {"id": units.ids[row], "text": text, "label": labels[row], "before": before[row], "after": after[row]}


@dataclass(frozen=True, eq=False)
class ComparedResults:
    """Two saved results on the same rows, and what came of the gates."""

    comparison: Comparison
    gates: list[Gate]

    def as_dict(self) -> ComparisonResult:
        """Return the versioned result that --json prints."""
        paired = self.comparison.as_dict()
        return {
            "schema": SCHEMA_VERSION,
            "exit_code": int(bool(missed(self.gates))),
            "before": _side(self.comparison.before),
            "after": _side(self.comparison.after),
            "n": paired["n"],
            "metrics": paired["metrics"],
            "flips": paired["flips"],
            "gates": [gate.as_dict() for gate in self.gates],
        }


def _side(side: ComparisonSide) -> ComparedSide:
    return {"name": side.name, "model": side.model, "dataset": side.dataset}


def compare_saved(before: str, after: str, options: CompareOptions) -> ComparedResults:
    """Return how the result `after` differs from the result `before`.

    Raises:
        DataError: a file holds no result, or the two are not of the same rows.
        OptionError: a metric that the results do not have.
    """
    old, new = read_saved(before), read_saved(after)
    known = metrics.names_for(new.units.observations)
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
    return ComparedResults(
        comparison, drop_gates(gates, comparison.differences, metrics.LOWER_IS_BETTER, len(new.units.ids))
    )
