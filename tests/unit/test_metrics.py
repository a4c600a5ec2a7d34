from __future__ import annotations

import math
import socket
import warnings

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from llmkit import metrics
from llmkit.errors import OptionError
from llmkit.metrics import METRICS, compute
from llmkit.metrics.classification import per_class

SEEDS = (0, 1, 2)


def drawn(seed: int, classes: int) -> tuple[list[int], list[int]]:
    dice = np.random.default_rng(seed)
    references = dice.integers(0, classes, 60)
    noise = dice.integers(0, classes, 60)
    return np.where(dice.random(60) < 0.6, references, noise).tolist(), references.tolist()


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("seed", SEEDS)
def test_class_metrics_equal_scikit_learn(seed, classes):
    guess, truth = drawn(seed, classes)
    assert compute("accuracy", predictions=guess, references=truth) == sklearn.metrics.accuracy_score(truth, guess)
    matthews = compute("matthews_correlation", predictions=guess, references=truth)
    assert matthews == pytest.approx(sklearn.metrics.matthews_corrcoef(truth, guess))
    for name in ("precision", "recall", "f1"):
        theirs = getattr(sklearn.metrics, f"{name}_score")
        for positive in range(classes):
            ours = compute(name, predictions=guess, references=truth, positive=positive)
            assert ours == pytest.approx(theirs(truth, guess, labels=[positive], average=None)[0])
        macro = compute(name, predictions=guess, references=truth, positive=None)
        assert macro == pytest.approx(theirs(truth, guess, average="macro"))


def test_f1_is_of_class_one_unless_told_otherwise():
    guess, truth = [1, 1, 1, 0], [1, 0, 0, 0]  # class 1: precision 1/3, recall 1; class 0: precision 1, recall 1/3
    assert compute("precision", predictions=guess, references=truth) == pytest.approx(1 / 3)
    assert compute("recall", predictions=guess, references=truth) == pytest.approx(1)
    assert compute("f1", predictions=guess, references=truth) == pytest.approx(0.5)
    assert compute("recall", predictions=guess, references=truth, positive=0) == pytest.approx(1 / 3)


def test_a_class_that_is_never_predicted_scores_zero_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert compute("f1", predictions=[0, 0], references=[1, 1]) == 0
        assert compute("precision", predictions=[0, 0, 0], references=[0, 1, 2], positive=None) == pytest.approx(1 / 9)
        assert per_class([0, 0], [0, 1], ("a", "b"))["b"] == {"precision": 0, "recall": 0, "f1": 0, "support": 1}


@pytest.mark.parametrize("seed", SEEDS)
def test_figures_per_class_equal_scikit_learn_in_the_order_of_the_names(seed):
    guess, truth = drawn(seed, 3)
    found = per_class(guess, truth, ("a", "b", "c", "never seen"))
    assert list(found) == ["a", "b", "c", "never seen"]
    theirs = sklearn.metrics.classification_report(truth, guess, labels=[0, 1, 2], output_dict=True)
    for number, name in enumerate("abc"):
        wanted = theirs[str(number)]
        assert [found[name][key] for key in ("precision", "recall", "f1", "support")] == pytest.approx(
            [wanted[key] for key in ("precision", "recall", "f1-score", "support")]
        )
    assert found["never seen"]["support"] == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_number_metrics_equal_scipy(seed):
    dice = np.random.default_rng(seed)
    truth = dice.normal(size=50).round(1)  # rounded: ties
    guess = truth + dice.normal(size=50)
    given = {"predictions": guess, "references": truth}
    assert compute("pearson", **given) == pytest.approx(scipy.stats.pearsonr(guess, truth)[0])
    assert compute("spearman", **given) == pytest.approx(scipy.stats.spearmanr(guess, truth)[0])
    assert compute("mse", **given) == pytest.approx(sklearn.metrics.mean_squared_error(truth, guess))


@pytest.mark.parametrize("name", ["pearson", "spearman"])
@pytest.mark.parametrize(("guess", "truth"), [([1.0, 1.0], [1.0, 2.0]), ([1.0, 2.0], [3.0, 3.0]), ([1.0], [2.0])])
def test_a_correlation_with_a_constant_is_not_a_number(name, guess, truth):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert math.isnan(compute(name, predictions=guess, references=truth))


def test_perplexity_and_bits_per_byte_follow_from_the_probabilities():
    # two pieces, "né" (3 bytes) in 2 tokens and "a" (1 byte) in 1; each token had probability 1/8
    text = {"nll": [2 * math.log(8), math.log(8)], "tokens": [2, 1], "bytes": [3, 1]}
    assert compute("loss", **text) == pytest.approx(math.log(8))
    assert compute("perplexity", **text) == pytest.approx(8)
    assert compute("bits_per_byte", **text) == pytest.approx(3 * 3 / 4)  # three tokens of log2(8) bits over four bytes


def test_likelihood_metrics_weigh_tokens_not_pieces():
    text = {"nll": [1.0, 9.0], "tokens": [1, 3], "bytes": [2, 6]}
    assert compute("loss", **text) == pytest.approx(2.5)  # the mean over pieces would be 2
    assert compute("perplexity", **text) == pytest.approx(math.exp(2.5))
    assert compute("bits_per_byte", **text) == pytest.approx(10 / math.log(2) / 8)


def test_likelihood_metrics_at_their_ends():
    nothing = {"nll": [0.0], "tokens": [0], "bytes": [0]}
    assert [name for name in ("loss", "perplexity", "bits_per_byte") if not math.isnan(compute(name, **nothing))] == []
    assert compute("perplexity", nll=[800.0], tokens=[1], bytes=[1]) == math.inf
    assert compute("perplexity", nll=[0.0], tokens=[1], bytes=[1]) == 1


INPUTS = {
    "classification": {"predictions": [0, 1, 1], "references": [0, 1, 0]},
    "regression": {"predictions": [0.5, 1.0, 1.5], "references": [0.0, 1.0, 1.0]},
    "language": {"nll": [1.0], "tokens": [1], "bytes": [1]},
}


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_loads_and_computes_without_a_network(monkeypatch, name):
    def refuse(*arguments: object) -> None:
        raise AssertionError("a metric asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert isinstance(compute(name, **INPUTS[METRICS[name][0]]), float)


def test_lower_is_better_names_metrics_that_exist():
    assert set(METRICS) >= metrics.LOWER_IS_BETTER


def test_an_unknown_metric_is_refused_with_the_nearest_name():
    with pytest.raises(OptionError, match=r"--metric: .* 'acuracy' \(did you mean 'accuracy'\?\); it has f1, accuracy"):
        metrics.require_known("acuracy", ("f1", "accuracy"), "--metric")
    metrics.require_known("f1", ("f1", "mse"), "--metric")
