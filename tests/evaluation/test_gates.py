from __future__ import annotations

import math

import pytest

from llmkit.errors import OptionError
from llmkit.evaluation.gates import drop_gate, drop_gates, figure_gate, figure_gates, gap_gate
from llmkit.metrics.intervals import Estimate
from llmkit.metrics.significance import Difference
from llmkit.options import GateOptions

F1 = Estimate(0.86, 0.83, 0.89, 400, "bootstrap")
LOSS = Estimate(20.0, 18.0, 22.0, 400, "bootstrap")
NAN = Estimate(math.nan, None, None, 400, None)


def dropped(difference: float, low: float | None, high: float | None) -> Difference:
    return Difference(0.9, 0.9 + difference, difference, low, high, 0.5, "paired bootstrap")


@pytest.mark.parametrize(
    ("kind", "figure", "limit", "strict", "met"),
    [
        ("fail-under", F1, 0.85, False, True),
        ("fail-under", F1, 0.87, False, False),
        ("fail-under", F1, 0.86, False, True),  # at least
        ("fail-under", F1, 0.85, True, False),
        ("fail-under", F1, 0.83, True, True),
        ("fail-above", LOSS, 20.0, False, True),  # at most
        ("fail-above", LOSS, 19.9, False, False),
        ("fail-above", LOSS, 21.0, True, False),
        ("fail-above", LOSS, 22.0, True, True),
        ("fail-under", NAN, -9.0, False, False),
        ("fail-above", NAN, 9.0, False, False),
        ("fail-above", NAN, 9.0, True, False),
        ("fail-under", Estimate(0.9, None, None, 1, None), 0.5, True, False),  # no interval: doubt
    ],
)
def test_a_gate_judges_the_value_or_strictly_the_worse_bound(kind, figure, limit, strict, met):
    gate = figure_gate(kind, "f1", limit, figure, strict)
    assert gate.met is met
    assert gate.sentence.startswith("gate met: " if met else "gate NOT met: ")
    assert gate.bound == (figure.low if kind == "fail-under" else figure.high)
    assert (gate.kind, gate.metric, gate.limit, gate.strict) == (kind, "f1", limit, strict)


def test_a_sentence_tells_the_value_from_the_limit():
    gate = figure_gate("fail-under", "f1", 0.85, Estimate(0.8499999, 0.8, 0.9, 400, "bootstrap"), False)
    assert gate.sentence == "gate NOT met: f1 is 0.8499999, at least 0.85 is demanded"
    assert "0.8500" in figure_gate("fail-under", "f1", 0.85, Estimate(0.85, None, None, 4, None), False).sentence
    assert "not a number" in figure_gate("fail-above", "loss", 1, NAN, False).sentence


def test_a_strict_sentence_names_the_bound_and_the_interval():
    sentence = figure_gate("fail-under", "f1", 0.85, F1, True).sentence
    assert "lower bound of its 95% interval (0.8300 to 0.8900)" in sentence
    assert "no interval" in figure_gate("fail-under", "f1", 0.5, Estimate(0.9, None, None, 1, None), True).sentence


def test_metrics_are_found_by_their_other_names():
    figures = {"matthews_correlation": F1, "perplexity": LOSS}
    gates = figure_gates(GateOptions(fail_under=["mcc=0.5"], fail_above=["perplexity=9"]), figures)
    assert [(gate.kind, gate.metric, gate.met) for gate in gates] == [
        ("fail-under", "matthews_correlation", True),
        ("fail-above", "perplexity", False),
    ]


@pytest.mark.parametrize(
    ("low", "high", "limit", "met", "strictly"),
    [
        (-0.03, 0.01, 0.05, True, True),  # at most .03 lower
        (-0.06, 0.01, 0.05, True, False),  # in doubt
        (-0.09, -0.06, 0.05, False, False),  # surely
        (-0.05, -0.05, 0.05, True, True),  # just what is allowed
        (0.01, 0.03, 0.0, True, True),  # better
        (0.0, 0.0, 0.0, True, True),  # the same model
    ],
)
def test_a_drop_is_missed_when_it_is_sure_and_strictly_when_it_may_be(low, high, limit, met, strictly):
    middle = (low + high) / 2
    for strict, expected in ((False, met), (True, strictly)):
        higher = drop_gate("f1", limit, dropped(middle, low, high), strict, lower_is_better=False)
        lower = drop_gate("loss", limit, dropped(-middle, -high, -low), strict, lower_is_better=True)
        assert higher.met is lower.met is expected
        assert higher.value == pytest.approx(-middle)
        assert lower.value == pytest.approx(-middle)
        assert ("more rows would settle it" in higher.sentence) == (met and not strictly)
        assert higher.bound == pytest.approx(-low if strict else -high)


def test_which_metrics_are_better_when_lower_is_known_by_name():
    found = {"loss": dropped(0.5, 0.4, 0.6), "f1": dropped(0.5, 0.4, 0.6)}
    options = GateOptions(baseline="old.json", max_drop=["loss=0.1", "f1=0.1"])
    assert [gate.met for gate in drop_gates(options, found, frozenset({"loss"}), 40)] == [False, True]


@pytest.mark.parametrize(
    ("found", "units", "sentence"),
    [
        (dropped(0.0, None, None), 1, "--max-drop f1: the difference has no interval, for one row has none"),
        (dropped(0.0, None, None), 3, "f1 is not defined of most resamples of these 3 rows"),
        (dropped(math.nan, None, None), 3, "f1 is not defined of"),
    ],
)
def test_a_drop_without_an_interval_cannot_be_judged_and_it_is_said_why(found, units, sentence):
    options = GateOptions(baseline="old.json", max_drop=["f1=0.1"])
    with pytest.raises(OptionError, match=sentence) as raised:
        drop_gates(options, {"f1": found}, frozenset(), units)
    assert "--resamples" not in str(raised.value)
    with pytest.raises(OptionError, match="has no interval"):
        drop_gate("f1", 0.1, dropped(0.0, None, None), False, False)


GAP = {"gap": 0.1, "low": 0.05, "high": 0.2, "best": "news", "worst": "blog"}
NO_GAP = {"gap": None, "low": None, "high": None, "best": None, "worst": None}


@pytest.mark.parametrize(
    ("gap", "limit", "strict", "met"),
    [
        (GAP, 0.1, False, True),
        (GAP, 0.09, False, False),
        (GAP, 0.15, True, False),
        (GAP, 0.2, True, True),
        ({**GAP, "high": None}, 0.5, True, False),
        (NO_GAP, 0.5, False, False),
    ],
)
def test_a_gap_is_judged_by_its_value_or_strictly_by_its_upper_bound(gap, limit, strict, met):
    gate = gap_gate("f1", "genre", limit, gap, strict)
    assert (gate.met, gate.value, gate.bound, gate.kind) == (met, gap["gap"], gap["high"], "max-gap")
    assert "of genre" in gate.sentence


def test_a_gap_that_is_no_number_is_said_to_be_none():
    assert "not a number" in gap_gate("f1", "genre", 0.5, NO_GAP, False).sentence
    assert "(none)" in gap_gate("f1", "genre", 0.5, NO_GAP, True).sentence
