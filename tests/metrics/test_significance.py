from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from resolving import weighted
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar

from llmkit import metrics
from llmkit.metrics import significance
from llmkit.metrics.intervals import weights
from llmkit.metrics.observations import (
    AnswerTexts,
    ChoiceIds,
    Classes,
    LabelSets,
    Likelihoods,
    Numbers,
    Samples,
    Spans,
    Texts,
    softmax,
)
from llmkit.metrics.significance import Difference, bootstrap_p, compare, differences, mcnemar

CASES = settings(max_examples=200, derandomize=True, deadline=None, database=None)


def pair(seed, count, old=0.7, new=0.8, width=2, positive=1):
    """Return two systems' predictions of the same rows: `old` and `new` are how often each is right."""
    dice = np.random.default_rng(seed)
    truth = dice.integers(0, width, count)

    def system(share):
        predicted = np.where(dice.random(count) < share, truth, dice.integers(0, width, count))
        chances = softmax(np.eye(width)[predicted] + dice.normal(size=(count, width)))
        return Classes(truth, predicted, tuple("abcdef"[:width]), chances, positive)

    return system(old), system(new)


@CASES
@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_equals_statsmodels(broken, fixed):
    few = broken + fixed < 25
    theirs = statsmodels_mcnemar([[50, broken], [fixed, 60]], exact=few, correction=True)
    p, test = mcnemar(broken, fixed)
    assert p == pytest.approx(theirs.pvalue, rel=1e-9)
    assert test == ("exact McNemar" if few else "McNemar")


@CASES
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_accuracies_are_compared_by_the_rows_that_only_one_has_right(rows):
    old, new = (np.array(side) for side in zip(*rows))
    truth = np.ones(len(rows), dtype=np.int64)
    before, after = (Classes(truth, side.astype(np.int64), ("a", "b")) for side in (old, new))
    found = compare("accuracy", before, after, resamples=20)
    table = [[(old & new).sum(), (old & ~new).sum()], [(~old & new).sum(), (~old & ~new).sum()]]
    few = table[0][1] + table[1][0] < 25
    assert found.p == pytest.approx(statsmodels_mcnemar(table, exact=few, correction=True).pvalue)
    assert found.difference == pytest.approx(new.mean() - old.mean())


def test_the_interval_of_a_paired_difference_is_that_of_scipy_up_to_chance():
    dice = np.random.default_rng(0)
    truth = dice.normal(size=80)
    before, after = (Numbers(truth, truth + dice.normal(scale=scale, size=80)) for scale in (1.0, 0.8))
    theirs = scipy.stats.bootstrap(
        (truth, before.predicted, after.predicted),
        lambda t, a, b, axis=-1: ((t - b) ** 2).mean(axis) - ((t - a) ** 2).mean(axis),
        paired=True,
        n_resamples=4000,
        method="percentile",
        rng=1,
    ).confidence_interval
    found = compare("mse", before, after, resamples=4000)
    assert (found.low, found.high) == pytest.approx(tuple(theirs), abs=0.07 * (theirs.high - theirs.low))
    assert found.test == "paired bootstrap"
    assert found.difference == pytest.approx(metrics.value("mse", after) - metrics.value("mse", before))


def test_both_sides_stand_under_the_same_resamples():
    """Two systems that differ in one row differ little; as independent samples they would differ by their spread."""
    before, _ = pair(1, 200)
    guesses = before.predicted.copy()
    guesses[0] = 1 - guesses[0]
    after = Classes(before.truth, guesses, before.names, positive=1)
    found = compare("f1", before, after)
    assert found.high - found.low < 0.03
    drawn = np.concatenate(list(weights(np.ones(200, dtype=int), 2000, 3)))
    paired = weighted("f1", after, drawn) - weighted("f1", before, drawn)
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(paired, [2.5, 97.5])), abs=0.003)


def test_cells_of_truth_before_and_after_give_what_rows_do():
    before, after = pair(2, 400, 0.4, 0.5, width=3, positive=None)
    old, new, counts = significance._paired_cells(before, after)
    assert counts.sum() == 400
    whole = counts[None].astype(np.float64)
    for name in ("f1", "matthews_correlation", "accuracy", "balanced_accuracy"):
        assert weighted(name, old, whole) == pytest.approx(metrics.value(name, before))
        assert weighted(name, new, whole) == pytest.approx(metrics.value(name, after))
    agreed = ((before.predicted == 1) & (after.predicted == 2) & (before.truth == 0)).sum()
    assert counts[(old.truth == 0) & (old.predicted == 1) & (new.predicted == 2)].sum() == agreed > 0


def test_the_p_of_a_bootstrap_counts_the_resamples_on_the_other_side():
    assert bootstrap_p(np.array([1.0] * 97 + [-1.0] * 2)) == pytest.approx(2 * 3 / 100)
    assert bootstrap_p(np.array([-1.0] * 97 + [1.0] * 2)) == pytest.approx(2 * 3 / 100)
    assert bootstrap_p(np.ones(99)) == pytest.approx(2 / 100)  # never 0
    assert bootstrap_p(np.zeros(99)) == 1
    assert bootstrap_p(np.array([1.0] * 99 + [math.nan] * 50)) == pytest.approx(2 / 100)


def test_systems_of_equal_worth_are_found_different_about_one_time_in_twenty():
    found = [compare("f1", *pair(seed, 150, 0.7, 0.7), resamples=300, seed=seed) for seed in range(300)]
    called = np.mean([one.p < 0.05 for one in found])
    assert 0.02 <= called <= 0.09
    assert all((one.p < 0.04) <= (one.low > 0 or one.high < 0) for one in found)  # the two answers agree


def test_a_clear_difference_is_found():
    found = differences(("accuracy", "f1", "roc_auc"), *pair(3, 400, 0.5, 0.9))
    assert [one.test for one in found.values()] == ["McNemar", "paired bootstrap", "paired bootstrap"]
    for one in found.values():
        assert one.p < 0.01
        assert 0 < one.low < one.difference < one.high
        assert one.difference == one.value - one.baseline
    worse = compare("f1", *reversed(pair(3, 400, 0.5, 0.9)))
    assert worse.high < 0
    assert worse.p < 0.01


@pytest.mark.parametrize("name", ["accuracy", "f1", "roc_auc", "brier"])
def test_a_system_does_not_differ_from_itself(name):
    same, _ = pair(4, 60)
    value = metrics.value(name, same)
    test = "exact McNemar" if name == "accuracy" else "paired bootstrap"
    assert compare(name, same, same, 100) == Difference(value, value, 0, 0, 0, 1, test)


def test_comparisons_together_are_those_alone():
    before, after = pair(5, 80)
    names = ("accuracy", "f1", "average_precision")
    assert differences(names, before, after, 100) == {name: compare(name, before, after, 100) for name in names}
    assert compare("f1", before, after, 100, seed=1) != compare("f1", before, after, 100, seed=2)


def test_rows_that_are_right_or_wrong_are_compared_by_mcnemar_whoever_measured_them():
    before, after = Samples({"acc": np.array([0.0, 0, 1, 1])}), Samples({"acc": np.array([1.0, 1, 1, 0])})
    found = compare("acc", before, after, 200)
    assert (found.test, found.p, found.difference) == ("exact McNemar", 1.0, 0.25)
    graded = Samples({"acc": np.array([0.5, 1, 1, 0])})
    assert compare("acc", before, graded, 200).test == "paired bootstrap"
    references = (("a",), ("b",), ("c",))
    texts = compare("exact_match", Texts(("a", "x", "x"), references), Texts(("a", "b", "c"), references), 200)
    assert (texts.test, texts.p) == ("exact McNemar", 0.5)
    tokens = Likelihoods(np.ones(3), np.ones(3, int), np.ones(3, int), np.array([1, 0, 1]))
    assert compare("accuracy", tokens, tokens, 200).test == "paired bootstrap"


def test_language_models_with_other_tokens_are_compared_over_the_same_texts():
    before = Likelihoods(np.array([9.0, 4, 6]), np.array([3, 2, 3]), np.array([9, 5, 8]))
    after = Likelihoods(np.array([8.0, 3, 5]), np.array([4, 3, 3]), np.array([9, 5, 8]))
    found = compare("bits_per_byte", before, after, 500)
    assert found.high < 0
    assert found.difference == pytest.approx(-3 / math.log(2) / 22)


def test_without_resamples_or_with_one_unit_there_is_no_interval():
    before, after = pair(6, 50)
    found = differences(("accuracy", "f1"), before, after, resamples=0)
    assert [one.low for one in found.values()] == [None, None]
    assert found["f1"].p is None
    assert found["accuracy"].p is not None
    assert compare("f1", before.take([0]), after.take([0])).low is None


def test_what_is_not_a_number_has_no_difference():
    before, after = Numbers(np.arange(5.0), np.ones(5)), Numbers(np.arange(5.0), np.arange(5.0))
    found = compare("pearson", before, after)
    assert found.as_dict() == {
        "baseline": None,
        "value": pytest.approx(1),
        "difference": None,
        "low": None,
        "high": None,
        "p": None,
        "test": "paired bootstrap",
    }


LABELS = LabelSets(np.eye(2, dtype=bool), np.eye(2, dtype=bool), ("a", "b"))
CLASSES = Classes(np.array([0, 1]), np.array([0, 1]), ("a", "b"))


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        (CLASSES, CLASSES.take([0]), "2 units with 1"),
        (CLASSES, Classes(np.array([1, 0]), np.array([0, 1]), ("a", "b")), "different truths"),
        (CLASSES, Classes(np.array([0, 1]), np.array([0, 1]), ("b", "a")), "different truths"),
        (CLASSES, Numbers(np.zeros(2), np.zeros(2)), "Classes with Numbers"),
        (Numbers(np.zeros(2), np.zeros(2)), Numbers(np.ones(2), np.zeros(2)), "different truths"),
        (Texts(("a",), (("a",),)), Texts(("a",), (("b",),)), "different truths"),
        (Texts(("a",), (("a",),)), AnswerTexts(("a",), (("a",),)), "Texts with AnswerTexts"),
        (AnswerTexts(("a",), (("a",),)), AnswerTexts(("a",), (("b",),)), "different truths"),
        (LABELS, LabelSets(~LABELS.truth, LABELS.predicted, LABELS.names), "different truths"),
        (LABELS, LabelSets(LABELS.truth, LABELS.predicted, ("b", "a")), "different truths"),
        (
            ChoiceIds(np.zeros(2, int), np.zeros(2, int)),
            ChoiceIds(np.ones(2, int), np.zeros(2, int)),
            "different truths",
        ),
        (Spans((("B-x",),), (("O",),), ("x",)), Spans((("O",),), (("O",),), ("x",)), "different truths"),
    ],
)
def test_units_that_are_not_the_same_are_refused(before, after, complaint):
    with pytest.raises(ValueError, match=complaint):
        compare(metrics.names_for(before)[0], before, after)
