"""Gates: what is demanded of a figure, whether it is met, and the sentence that says so."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from llmkit.errors import GateMissed, OptionError
from llmkit.metrics import canonical
from llmkit.metrics.intervals import Estimate
from llmkit.metrics.significance import Difference
from llmkit.options import GateOptions
from llmkit.options.base import limits
from llmkit.output.result_parts import Gap, GateResult

GateKind = Literal["fail-under", "fail-above", "max-drop", "max-gap"]


@dataclass(frozen=True)
class Gate:
    """A demand on a metric, and what came of it."""

    kind: GateKind
    metric: str
    limit: float
    value: float | None
    bound: float | None  # of the 95% interval: the one that --strict looks at
    strict: bool
    met: bool
    sentence: str

    def as_dict(self) -> GateResult:
        """Return the fields for the result."""
        return {
            "kind": self.kind,
            "metric": self.metric,
            "limit": self.limit,
            "value": self.value,
            "bound": self.bound,
            "strict": self.strict,
            "met": self.met,
            "sentence": self.sentence,
        }


def missed(gates: Iterable[Gate]) -> list[str]:
    """Return the sentences of the gates that were not met."""
    return [gate.sentence for gate in gates if not gate.met]


def require_met(gates: Iterable[Gate]) -> None:
    """Raise when a gate was not met.

    Raises:
        GateMissed: with a phrase for each.
    """
    sentences = missed(gates)
    if sentences:
        raise GateMissed("; ".join(sentences))


def require_intervals(options: GateOptions, resamples: int) -> None:
    """Refuse gates on the bounds of intervals when the bootstrap that gives them is turned off.

    Raises:
        OptionError: naming the flag.
    """
    flag = "--strict" if options.strict and options.named else "--max-drop" if options.max_drop else None
    if flag and not resamples:
        raise OptionError(f"{flag} looks at the bounds of intervals, and --resamples 0 turns them off; leave one out")


def figure_gates(options: GateOptions, figures: Mapping[str, Estimate]) -> list[Gate]:
    """Return the --fail-under and --fail-above gates."""
    demands: dict[Literal["fail-under", "fail-above"], list[str] | None] = {
        "fail-under": options.fail_under,
        "fail-above": options.fail_above,
    }
    return [
        figure_gate(kind, metric, limit, figures[canonical(metric)], options.strict)
        for kind, pairs in demands.items()
        for metric, limit in limits(pairs).items()
    ]


def figure_gate(
    kind: Literal["fail-under", "fail-above"], metric: str, limit: float, figure: Estimate, strict: bool
) -> Gate:
    """Return the gate on one figure: on its value, or with `strict` on the worse bound of its interval.

    A value that is not a number, and under `strict` a missing interval, does not meet any demand.
    """
    bound = figure.low if kind == "fail-under" else figure.high
    judged = bound if strict else figure.value
    met = judged is not None and (judged >= limit if kind == "fail-under" else judged <= limit)
    side, word = ("lower", "at least") if kind == "fail-under" else ("upper", "at most")
    interval = "no interval" if figure.low is None else f"{_spell(figure.low, limit)} to {_spell(figure.high, limit)}"
    sentence = f"{metric} is {_spell(figure.value, limit)}, {word} {limit:g} is demanded"
    if strict:
        sentence += f" of the {side} bound of its 95% interval ({interval})"
    return Gate(kind, canonical(metric), limit, figure.value, bound, strict, met, _verdict(met) + sentence)


def drop_gates(
    options: GateOptions, differences: Mapping[str, Difference], lower_is_better: frozenset[str], units: int
) -> list[Gate]:
    """Return the --max-drop gates: missed when the metric is surely worse than the baseline by more than the limit.

    Surely: the whole 95% interval of the paired difference lies beyond the limit. In doubt (the interval holds the
    limit) the gate is met and says so; under `strict` doubt fails. `units`: how many rows were compared.

    Raises:
        OptionError: a difference has no interval.
    """
    demands = limits(options.max_drop)
    for metric in demands:
        _require_interval(metric, differences[canonical(metric)], units)
    return [
        drop_gate(metric, limit, differences[canonical(metric)], options.strict, canonical(metric) in lower_is_better)
        for metric, limit in demands.items()
    ]


def _require_interval(metric: str, paired: Difference, units: int) -> None:
    if paired.low is not None and paired.high is not None:
        return
    gate, flag = f"--max-drop {metric}: the difference", f"--fail-under {metric}=NUMBER"
    if units < 2:
        raise OptionError(
            f"{gate} has no interval, for one row has none: compare on two or more rows, or judge the value by {flag}"
        )
    sides = {"the baseline": paired.baseline, "this evaluation": paired.value}
    undefined = [side for side, value in sides.items() if math.isnan(value)]
    if undefined:
        raise OptionError(f"{gate} is not a number, for {metric} is not defined of {' and '.join(undefined)}")
    raise OptionError(f"{gate} has no interval, for {metric} is not defined of most resamples of these {units} rows")


def drop_gate(metric: str, limit: float, paired: Difference, strict: bool, lower_is_better: bool) -> Gate:
    """Return the gate on one paired difference.

    Raises:
        OptionError: the difference has no interval.
    """
    sign = 1.0 if lower_is_better else -1.0  # a drop is a change for the worse
    drop = sign * paired.difference
    if paired.low is None or paired.high is None:
        raise OptionError(f"--max-drop {metric}: the difference has no interval")
    smallest, largest = sorted((sign * paired.low, sign * paired.high))
    surely, maybe = smallest > limit, largest > limit
    met = not (maybe if strict else surely)
    sentence = (
        f"{metric} went from {paired.baseline:.4f} to {paired.value:.4f} (change {paired.difference:+.4f}, "
        f"95% interval {paired.low:+.4f} to {paired.high:+.4f}); a drop of at most {limit:g} is allowed"
    )
    if maybe and not surely:
        sentence += "; the interval holds both more and less: more rows would settle it"
    return Gate(
        "max-drop",
        canonical(metric),
        limit,
        drop,
        largest if strict else smallest,
        strict,
        met,
        _verdict(met) + sentence,
    )


def gap_gate(metric: str, column: str, limit: float, gap: Gap, strict: bool) -> Gate:
    """Return the gate on the largest gap between two slices: on its value, or with `strict` on its upper bound."""
    bound = gap["high"]
    judged = bound if strict else gap["gap"]
    met = judged is not None and judged <= limit
    where = f"between {gap['best']!r} and {gap['worst']!r} of {column}"
    sentence = f"{metric} has a gap of {_spell(gap['gap'], limit)} {where}, at most {limit:g} is allowed"
    if strict:
        sentence += " of the upper bound of its 95% interval" + (f" ({bound:.4f})" if bound is not None else " (none)")
    return Gate("max-gap", canonical(metric), limit, gap["gap"], bound, strict, met, _verdict(met) + sentence)


def _verdict(met: bool) -> str:
    return "gate met: " if met else "gate NOT met: "


def _spell(value: float | None, limit: float) -> str:
    """Write a value with four digits, or with as many as tell it from the limit."""
    if value is None or value != value:
        return "not a number"
    return f"{value:.4f}" if value == limit or float(f"{value:.4f}") != limit else repr(value)
