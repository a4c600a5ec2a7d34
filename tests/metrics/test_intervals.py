from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from resolving import metric, weighted
from statsmodels.stats.proportion import proportion_confint

from llmkit import metrics
from llmkit.metrics import intervals
from llmkit.metrics.intervals import (
    Estimate,
    estimate,
    estimates,
    per_class,
    per_label,
    resampled_values,
    weights,
    wilson,
)
from llmkit.metrics.observations import Classes, LabelSets, Likelihoods, Numbers, Samples, Spans, Texts

CASES = settings(max_examples=200, derandomize=True, deadline=None, database=None)


def labelled(seed, count, share=0.8, positive=1):
    """Return rows of two classes, half of each, of which `share` are predicted right."""
    dice = np.random.default_rng(seed)
    truth = dice.integers(0, 2, count)
    return Classes(truth, np.where(dice.random(count) < share, truth, 1 - truth), ("no", "yes"), positive=positive)


def measured(seed, count):
    dice = np.random.default_rng(seed)
    truth = dice.normal(size=count)
    return Numbers(truth, truth + dice.normal(size=count))


@CASES
@given(
    st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.sampled_from([0.9, 0.95, 0.99])
)
def test_wilson_equals_statsmodels(counts, confidence):
    assert wilson(*counts, confidence) == pytest.approx(
        proportion_confint(*counts, alpha=1 - confidence, method="wilson"), rel=1e-9, abs=1e-9
    )


def test_proportions_have_wilsons_interval_and_their_own_n():
    seen = labelled(0, 80)
    found = estimates(("accuracy", "precision", "f1"), seen, resamples=50)
    right, of = metric("precision", seen).proportion(seen)
    assert (found["precision"].low, found["precision"].high) == wilson(right, of)
    assert found["precision"].n == of == int((seen.predicted == 1).sum())
    assert [one.interval for one in found.values()] == ["wilson", "wilson", "bootstrap"]
    assert [one.of for one in found.values()] == [None, "class 'yes'", "class 'yes'"]


def f1(truth, predicted):
    return 2 * (truth & predicted).sum() / (truth.sum() + predicted.sum())


def mean_squared(truth, predicted):
    return ((truth - predicted) ** 2).mean()


def area(truth, chances):
    wins = chances[truth == 1][:, None] - chances[truth == 0][None]
    return ((wins > 0) + (wins == 0) / 2).mean()


def scored(seed, count):
    seen = labelled(seed, count, 0.7)
    chance = np.round(0.5 * seen.predicted + 0.5 * np.random.default_rng(seed).random(count), 1)
    return Classes(seen.truth, seen.predicted, seen.names, np.stack([1 - chance, chance], 1), 1)


@pytest.mark.parametrize(
    ("name", "seen", "sides", "statistic"),
    [
        ("f1", labelled(1, 150), lambda seen: (seen.truth, seen.predicted), f1),
        ("mse", measured(2, 90), lambda seen: (seen.truth, seen.predicted), mean_squared),
        ("pearson", measured(3, 60), lambda seen: (seen.truth, seen.predicted), lambda a, b: np.corrcoef(a, b)[0, 1]),
        ("roc_auc", scored(4, 80), lambda seen: (seen.truth, seen.probabilities[:, 1]), area),
    ],
)
def test_the_bootstrap_interval_is_that_of_scipy_up_to_chance(name, seen, sides, statistic):
    theirs = scipy.stats.bootstrap(
        sides(seen), statistic, paired=True, vectorized=False, n_resamples=3000, method="percentile", rng=0
    ).confidence_interval
    ours = estimate(name, seen, resamples=3000)
    assert ours.value == pytest.approx(statistic(*sides(seen)))
    # a bound is an order statistic of 3000: its standard error is about 1/60 of the width
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs), abs=0.07 * (theirs.high - theirs.low))


def test_the_interval_of_f1_covers_the_truth_ninety_five_times_in_a_hundred():
    # half of the rows of each class and 0.8 of each right: of 10 rows 4 right, 1 missed and 1 too many, so F1 is 0.8
    found = [estimate("f1", labelled(seed, 200), resamples=1000, seed=seed) for seed in range(400)]
    covered = np.mean([one.low <= 0.8 <= one.high for one in found])
    assert 0.92 <= covered <= 0.98


def test_a_larger_confidence_is_a_wider_interval():
    seen = labelled(5, 100)
    for name in ("f1", "accuracy"):
        narrow, wide = estimate(name, seen, confidence=0.8), estimate(name, seen, confidence=0.99)
        assert wide.low < narrow.low < narrow.value < narrow.high < wide.high


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    seen = measured(6, 50)
    assert estimate("pearson", seen, 500, seed=1) == estimate("pearson", seen, 500, seed=1)
    assert estimate("pearson", seen, 500, seed=1).low != estimate("pearson", seen, 500, seed=2).low


@pytest.mark.parametrize("counts", [[1] * 37, [3, 1, 9, 24]], ids=["rows", "cells"])
def test_resamples_do_not_depend_on_how_many_are_held_at_a_time(monkeypatch, counts):
    units = np.array(counts)
    at_once = list(weights(units, 50, 7))
    monkeypatch.setattr(intervals, "WEIGHTS_PER_CHUNK", 7 * len(counts))
    in_parts = list(weights(units, 50, 7))
    assert (len(at_once), len(in_parts)) == (1, 8)
    assert np.array_equal(np.concatenate(at_once), np.concatenate(in_parts))


def test_a_resample_draws_as_many_rows_as_there_are():
    for counts in (np.ones(30, dtype=int), np.array([5, 20, 5])):
        drawn = np.concatenate(list(weights(counts, 4000, 0)))
        assert (drawn.sum(1) == 30).all()
        assert drawn.mean(0) == pytest.approx(counts, rel=0.1)
        spread = counts * (1 - counts / 30)  # of a binomial
        assert drawn.var(0) == pytest.approx(spread, rel=0.15)


def test_cells_and_rows_are_resampled_alike():
    """What is drawn of the cells of a confusion matrix has the distribution of what is drawn of the rows."""
    seen = labelled(8, 60)
    by_cells = resampled_values("f1", seen, 6000, 1)
    by_rows = np.concatenate([weighted("f1", seen, some) for some in weights(np.ones(60, dtype=int), 6000, 2)])
    assert scipy.stats.ks_2samp(by_cells, by_rows).pvalue > 0.01
    assert np.quantile(by_cells, [0.025, 0.975]) == pytest.approx(np.quantile(by_rows, [0.025, 0.975]), abs=0.02)


def test_figures_together_are_those_alone():
    seen = scored(9, 70)
    names = ("f1", "roc_auc", "accuracy", "matthews_correlation", "ece")
    assert estimates(names, seen, 200) == {name: estimate(name, seen, 200) for name in names}


def test_every_metric_holds_its_value_within_its_interval_but_for_the_biased_one():
    texts = Texts(("the cat sat", "a dog ran off", "x"), (("the cat sat",), ("a dog ran",), ("y",)))
    pieces = Likelihoods(np.array([3.0, 9, 4]), np.array([2, 3, 4]), np.array([5, 6, 9]), np.array([1, 2, 0]))
    for seen in (scored(10, 60), measured(10, 60), pieces, texts, Samples({"acc": np.array([0.0, 1, 1, 0.5])})):
        for name, found in estimates(metrics.names_for(seen), seen, 400).items():
            assert found.interval in {"wilson", "bootstrap"}
            assert found.low <= found.value <= found.high, name


def test_there_is_no_interval_of_one_unit_nor_without_resamples():
    one = labelled(11, 40).take([0])
    assert estimate("accuracy", one) == Estimate(metrics.value("accuracy", one), None, None, 1, None, None)
    assert estimate("perplexity", Likelihoods(np.array([4.0]), np.array([2]), np.array([9]))).interval is None
    many = estimates(("accuracy", "f1"), labelled(11, 40), resamples=0)
    assert (many["accuracy"].interval, many["f1"].interval, many["f1"].low) == ("wilson", None, None)


def test_there_is_no_interval_of_what_is_not_a_number():
    constant = Numbers(np.ones(9), np.arange(9.0))
    found = estimate("pearson", constant)
    assert math.isnan(found.value)
    assert found.as_dict() == {"value": None, "low": None, "high": None, "n": 9, "interval": None}


def test_resamples_without_a_value_are_left_out_unless_they_are_more_than_half():
    truth, chances = np.array([1] + [0] * 5), np.linspace(0.1, 0.9, 6)
    seen = Classes(truth, truth, ("a", "b"), np.stack([1 - chances, chances], 1))
    drawn = resampled_values("roc_auc", seen, 2000)
    assert 0.2 < np.isnan(drawn).mean() < 0.5  # of six rows the one of its class is missed with chance (5/6)^6 = 0.33
    found = estimate("roc_auc", seen, 2000)
    assert (found.low, found.high) == tuple(np.nanpercentile(drawn, [2.5, 97.5]))
    pair = Numbers(np.array([1.0, 2.0]), np.array([1.0, 3.0]))  # half of the resamples draw one row twice
    assert estimate("pearson", pair.take([0, 0, 0, 0, 1])).interval == "bootstrap"
    assert intervals.percentiles(np.array([math.nan] * 51 + [1.0] * 49)) is None
    assert intervals.percentiles(np.array([math.nan] * 50 + [1.0] * 50)) == (1.0, 1.0)


def test_an_infinite_bound_is_no_interval_that_json_can_hold():
    seen = Likelihoods(np.array([2000.0, 1.0]), np.array([1, 1]), np.array([1, 1]))
    found = estimate("perplexity", seen)
    assert found.value == math.inf
    assert found.as_dict()["value"] is None
    assert found.as_dict()["high"] is None


def test_a_precision_of_a_class_that_is_never_predicted_has_no_interval():
    found = estimate("precision", Classes(np.array([0, 1, 1]), np.zeros(3, dtype=int), ("a", "b"), positive=1))
    assert found == Estimate(0.0, None, None, 0, None, "class 'b'")


def test_memory_stays_bounded_whatever_the_number_of_rows():
    seen = scored(12, 300_000)
    tracemalloc.start()
    try:
        resampled_values("average_precision", seen, 4)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100e6  # all four at a time, and what comes between, would be several times as much
    assert [some.shape for some in weights(np.ones(300_000, dtype=int), 2, 0)] == [(1, 300_000)] * 2


def test_a_figure_of_classes_resamples_cells_not_rows(monkeypatch):
    widths = []
    whole = intervals.weights

    def watched(counts, resamples, seed):
        widths.append(len(counts))
        return whole(counts, resamples, seed)

    monkeypatch.setattr(intervals, "weights", watched)
    estimate("f1", labelled(13, 5000), 100)
    assert widths == [4]


def test_figures_per_class_have_wilson_and_bootstrap_intervals():
    seen = labelled(14, 120, positive=None)
    wide = Classes(seen.truth, seen.predicted, ("no", "yes", "never seen"))
    found = per_class(wide, 500)
    assert list(found) == ["no", "yes", "never seen"]
    for index, name in enumerate(("no", "yes")):
        alone = Classes(seen.truth, seen.predicted, seen.names, positive=index)
        for key in ("precision", "recall", "f1"):
            wanted = estimate(key, alone, 500)
            assert found[name][key] == pytest.approx(wanted.value)
            assert found[name]["intervals"][key] == pytest.approx([wanted.low, wanted.high])
        assert found[name]["support"] == int((seen.truth == index).sum())
    assert found["never seen"] == {
        "precision": 0,
        "recall": 0,
        "f1": 0,
        "support": 0,
        "intervals": {"precision": None, "recall": None, "f1": None},
    }
    assert per_class(wide, 0)["no"]["intervals"]["f1"] is None
    assert per_class(wide.take([0]))["no"]["intervals"] == {"precision": None, "recall": None, "f1": None}


def test_figures_per_label_have_the_intervals_that_the_label_alone_has():
    dice = np.random.default_rng(15)
    truth = dice.random((80, 3)) < [0.5, 0.2, 0]
    guesses = truth ^ (dice.random((80, 3)) < [0.2, 0.1, 0])
    found = per_label(LabelSets(truth, guesses, ("a", "b", "never")), 300)
    for index, name in enumerate("ab"):
        alone = LabelSets(truth[:, [index]], guesses[:, [index]], (name,))
        for key in ("precision", "recall", "f1"):
            wanted = estimate(f"{key}_micro", alone, 300)
            assert found[name][key] == pytest.approx(wanted.value)
            assert found[name]["intervals"][key] == pytest.approx([wanted.low, wanted.high])
        assert found[name]["support"] == truth[:, index].sum()
    assert found["never"]["intervals"] == {"precision": None, "recall": None, "f1": None}
    assert found["never"]["support"] == 0


def test_figures_per_type_of_span_without_resamples_have_no_interval():
    seen = Spans((("B-x", "O"), ("B-x", "B-y")), (("B-x", "B-y"), ("O", "B-y")), ("x", "y"))
    none = {"precision": None, "recall": None, "f1": None}
    assert per_label(seen, 0) == {
        "x": {"precision": 1, "recall": 0.5, "f1": pytest.approx(2 / 3), "support": 2, "intervals": none},
        "y": {"precision": 0.5, "recall": 1, "f1": pytest.approx(2 / 3), "support": 1, "intervals": none},
    }
    assert per_label(seen.take([0]))["x"]["intervals"] == none


class Doubled:
    """A metric as the Hub's are: two numbers, found by its own code."""

    def value(self, seen):
        if len(np.unique(seen.truth)) == 1:
            return {"mean": float(seen.predicted.mean()), "picky": math.nan}
        return {"mean": float(seen.predicted.mean()), "picky": 1.0}

    def weighted_values(self, seen, weights):
        rows = [self.value(seen.take(np.repeat(np.arange(len(seen)), row.astype(int)))) for row in weights]
        return {key: np.array([row[key] for row in rows]) for key in rows[0]}


def test_a_metric_of_the_hub_has_bootstrap_intervals_for_each_of_its_numbers():
    seen = measured(15, 40)
    found = intervals.hub_estimates(Doubled(), seen, resamples=300)
    own = np.concatenate([some @ seen.predicted / 40 for some in weights(np.ones(40, dtype=int), 300, 42)])
    assert (found["mean"].low, found["mean"].high) == pytest.approx(tuple(np.percentile(own, [2.5, 97.5])))
    assert (found["mean"].interval, found["mean"].n) == ("bootstrap", 40)
    assert intervals.hub_estimates(Doubled(), seen, resamples=0)["mean"].interval is None
    assert intervals.hub_estimates(Doubled(), seen.take([0, 0]), resamples=9)["picky"].interval is None
