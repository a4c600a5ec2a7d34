from __future__ import annotations

import importlib
import math
import socket
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from resolving import metric, weighted

from llmkit import metrics
from llmkit.errors import HubError, OptionError
from llmkit.metrics import METRICS
from llmkit.metrics.classification import calibration_bins, confusion, confusion_cells, per_class
from llmkit.metrics.hub_metric import open_hub_metric
from llmkit.metrics.observations import (
    AnswerTexts,
    ChoiceIds,
    Classes,
    LabelSets,
    Likelihoods,
    Numbers,
    Preferences,
    Samples,
    Spans,
    Texts,
    are_single,
    span_types,
    spans_of,
)


def classes(predicted, truth, positive=None, names=None, probabilities=None):
    width = 1 + max(*predicted, *truth)
    names = names or tuple("abcdefgh"[:width])
    chances = None if probabilities is None else np.array(probabilities, dtype=np.float64)
    return Classes(np.array(truth), np.array(predicted), names, chances, positive)


def numbers(predicted, truth):
    return Numbers(np.array(truth, dtype=np.float64), np.array(predicted, dtype=np.float64))


def likelihoods(nll, tokens, covered, hits=None):
    return Likelihoods(np.array(nll), np.array(tokens), np.array(covered), None if hits is None else np.array(hits))


PROBABLE = classes([0, 1, 1], [0, 1, 0], probabilities=[[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]])
EXAMPLES = {
    "classification": PROBABLE,
    "probabilities": PROBABLE,
    "regression": numbers([0.5, 1.0, 1.5], [0, 1, 1]),
    "language_modeling": likelihoods([1.0], [1], [1]),
    "language with guesses": likelihoods([1.0], [1], [1], [1]),
    "texts": Texts(("the cat", "a dog"), (("the cat",), ("the dog", "dogs"))),
    "squad": AnswerTexts(("The cat", "a dog"), (("cat!",), ("two dogs", "big dog"))),
    "multiple_choice": ChoiceIds(np.array([0, 1, 1]), np.array([0, 1, 3]), np.array([0, 1, 3])),
    "labels": LabelSets(
        np.array([[True, False], [True, True]]),
        np.array([[True, False], [False, True]]),
        ("0", "1"),
        np.array([[0.9, 0.2], [0.4, 0.8]]),
    ),
    "preferences": Preferences(np.array([0.5, -1.0, 2.0]), np.array([1.0, -2.0, 2.0])),
    "spans": Spans((("B-x", "I-x", "O"), ("B-y",)), (("B-x", "O", "O"), ("B-y",)), ("x", "y")),
}


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*arguments: object) -> None:
        raise AssertionError("a metric asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


PAIRS = [(name, kind) for kind, seen in EXAMPLES.items() for name in metrics.names_for(seen)]


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_every_metric_computes_without_a_network_in_each_form(no_network, name, kind):
    seen = EXAMPLES[kind]
    value = metrics.value(name, seen)
    assert isinstance(value, float)
    assert weighted(name, seen, np.ones((3, len(seen)))) == pytest.approx([value] * 3)


def test_every_entry_of_the_table_is_what_its_name_means_of_some_observations():
    found = {(name, type(metric(name, EXAMPLES[kind])).__name__) for name, kind in PAIRS}
    assert found == {(name, entry[1]) for name, entries in METRICS.items() for entry in entries}
    for name, entries in METRICS.items():
        assert len({kind for other, kind in PAIRS if other == name}) >= len(entries), name


COLUMNS = {
    "classification": {"predictions": [0, 1, 1], "references": [0, 1, 0]},
    "probabilities": {"predictions": [[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]], "references": [0, 1, 0]},
    "regression": {"predictions": [0.5, 1.0, 1.5], "references": [0.0, 1.0, 1.0]},
    "language_modeling": {"nll": [1.0], "tokens": [1], "bytes": [1]},
    "language with guesses": {"nll": [1.0], "tokens": [1], "bytes": [1], "hits": [1]},
    "texts": {"predictions": ["the cat", "a dog"], "references": [["the cat"], ["the dog", "dogs"]]},
    "squad": {"predictions": ["The cat", "a dog"], "references": [["cat!"], ["two dogs", "big dog"]]},
    "multiple_choice": {"predictions": [0, 1, 3], "references": [0, 1, 1]},
    "labels": {"predictions": [[1, 0], [0, 1]], "references": [[1, 0], [1, 1]]},
    "preferences": {"margins": [0.5, -1.0, 2.0], "before": [1.0, -2.0, 2.0]},
    "spans": {"predictions": [["B-x", "O", "O"], ["B-y"]], "references": [["B-x", "I-x", "O"], ["B-y"]]},
}


@pytest.mark.parametrize(
    ("name", "entry"), [(name, entry) for name, entries in METRICS.items() for entry in entries], ids=str
)
def test_every_metric_is_a_module_of_evaluate_that_computes_the_same(no_network, name, entry):
    module, kind, configuration = entry
    metric = getattr(importlib.import_module(f"llmkit.metrics.{module}"), kind)(configuration, keep_in_memory=True)
    usual = {"SetExactMatch": "labels", "TokenAccuracy": "language with guesses"}
    texts = {"texts.squad": "squad", "texts.base": "texts", "texts.corpus": "texts", "texts.rouge": "texts"}
    example = usual.get(kind, "spans" if module == "counts" else texts.get(module, module))
    assert metric.compute(**COLUMNS[example]) == {name: pytest.approx(metrics.value(name, EXAMPLES[example]))}


def test_evaluate_modules_take_the_positive_class():
    from llmkit.metrics.classification import F1

    given = {"predictions": [1, 1, 1, 0], "references": [1, 0, 0, 0]}
    assert F1(keep_in_memory=True).compute(**given, positive=1) == {"f1": pytest.approx(0.5)}


def test_precision_recall_and_f1_are_of_the_positive_class_else_macro():
    guess, truth = [1, 1, 1, 0], [1, 0, 0, 0]  # class 1: precision 1/3, recall 1; class 0: precision 1, recall 1/3
    of_one, of_other, of_both = (classes(guess, truth, positive) for positive in (1, 0, None))
    assert metrics.value("precision", of_one) == pytest.approx(1 / 3)
    assert metrics.value("recall", of_one) == pytest.approx(1)
    assert metrics.value("recall", of_other) == pytest.approx(1 / 3)
    assert metrics.value("precision", of_both) == pytest.approx(2 / 3)
    assert [metric("f1", seen).averaging(seen) for seen in (of_one, of_other, of_both)] == [
        "class 'b'",
        "class 'a'",
        "macro",
    ]
    assert metrics.value("recall_macro", of_one) == pytest.approx(2 / 3)
    assert metric("recall_macro", of_one).averaging(of_one) is None


def test_sizes_and_proportions_are_of_the_rows_that_a_share_is_of():
    seen = classes([1, 1, 1, 0, 0], [1, 0, 0, 0, 1], 1)
    found = {
        name: (metric(name, seen).size(seen), metric(name, seen).proportion(seen)) for name in metrics.names_for(seen)
    }
    assert found["accuracy"] == (5, (2, 5))
    assert found["precision"] == (3, (1, 3))
    assert found["recall"] == (2, (1, 2))
    assert found["f1_micro"] == found["recall_micro"] == found["precision_micro"] == (5, (2, 5))
    for name in ("f1", "precision_macro", "recall_weighted", "balanced_accuracy", "matthews_correlation"):
        assert found[name] == (5, None)
    assert metric("precision", classes([0, 0], [0, 1], 1)).proportion(classes([0, 0], [0, 1], 1)) == (0, 0)


def test_sizes_and_proportions_of_texts_and_samples():
    seen = likelihoods([2.0, 3.0], [4, 5], [9, 9], [1, 2])
    assert [metric(name, seen).size(seen) for name in metrics.names_for(seen)] == [9] * 4
    assert metric("accuracy", seen).proportion(seen) is None  # the tokens of a text are not independent
    assert metric("exact_match", EXAMPLES["texts"]).proportion(EXAMPLES["texts"]) == (1, 2)
    sampled = Samples({"acc": np.array([0.0, 1.0, 1.0]), "bleu": np.array([0.5, 1.0, 0.0])})
    assert [metric(name, sampled).proportion(sampled) for name in ("acc", "bleu")] == [(2, 3), None]
    assert [metrics.value(name, sampled) for name in ("acc", "bleu")] == [pytest.approx(2 / 3), 0.5]
    assert weighted("bleu", sampled, np.array([[2.0, 0, 0], [0, 1, 1]])) == pytest.approx([0.5, 0.5])
    assert metrics.names_for(sampled) == ("acc", "bleu")


def test_a_class_that_is_never_predicted_scores_zero_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert metrics.value("f1", classes([0, 0], [1, 1], 1)) == 0
        assert metrics.value("precision", classes([0, 0, 0], [0, 1, 2])) == pytest.approx(1 / 9)
        assert per_class(classes([0, 0], [0, 1]))["b"] == {"precision": 0, "recall": 0, "f1": 0, "support": 1}


def test_rows_are_counted_into_cells_so_that_a_million_cost_what_a_few_do():
    seen = classes([1, 0, 1, 1, 2, 1], [1, 0, 0, 1, 2, 0], 1)
    pairs, counts = confusion_cells(seen)
    found = list(zip(pairs.truth.tolist(), pairs.predicted.tolist(), counts.tolist()))
    assert found == [(0, 0, 1), (0, 1, 2), (1, 1, 2), (2, 2, 1)]
    assert (pairs.names, pairs.positive) == (seen.names, 1)
    assert confusion(seen) == {"labels": ["a", "b", "c"], "counts": [[1, 2, 0], [0, 2, 0], [0, 0, 1]]}


@pytest.mark.parametrize("name", ["roc_auc", "average_precision"])
def test_a_ranking_needs_rows_of_the_class_and_of_another(name):
    chances = [[0.9, 0.1], [0.2, 0.8]]
    for truth in ([0, 0], [1, 1]):
        seen = classes([0, 1], truth, probabilities=chances)
        assert math.isnan(metrics.value(name, seen))
        assert np.isnan(weighted(name, seen, np.ones((1, 2)))).all()
    both = classes([0, 1], [0, 1], probabilities=chances)
    assert metrics.value(name, both) == 1
    found = weighted(name, both, np.array([[1.0, 1], [2, 0], [0, 2]]))
    assert found == pytest.approx([1, math.nan, math.nan], nan_ok=True)


def test_equal_probabilities_rank_by_half():
    seen = classes([0, 0, 0, 0], [0, 1, 1, 0], probabilities=[[0.5, 0.5]] * 4)
    assert metrics.value("roc_auc", seen) == 0.5
    assert metrics.value("average_precision", seen) == 0.5


def test_rankings_of_more_than_two_classes_leave_out_those_that_do_not_occur():
    chances = [[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.5, 0.4, 0.1]]
    seen = classes([0, 1, 0], [0, 1, 1], names=("a", "b", "c"), probabilities=chances)
    assert metrics.value("roc_auc", seen) == 1
    assert metric("roc_auc", seen).averaging(seen) == "one-vs-rest macro"
    assert metric("roc_auc", PROBABLE).averaging(PROBABLE) == "class 'b'"


def test_the_brier_score_of_two_classes_is_half_of_what_it_is_of_more():
    two = classes([0, 1], [0, 0], names=("a", "b"), probabilities=[[0.8, 0.2], [0.4, 0.6]])
    more = classes([0, 1], [0, 0], names=("a", "b", "c"), probabilities=[[0.8, 0.2, 0], [0.4, 0.6, 0]])
    assert metrics.value("brier", two) == pytest.approx((0.04 + 0.36) / 2)
    assert metrics.value("brier", more) == pytest.approx(0.04 + 0.36)


def test_a_calibration_bin_holds_its_upper_edge_and_the_empty_ones_hold_nothing():
    chances = [[0.9, 0.1], [0.1, 0.9], [0.05, 0.95], [0.5, 0.5]]
    seen = classes([0, 1, 1, 0], [0, 0, 1, 0], probabilities=chances)
    bins = calibration_bins(seen)
    assert [(one["low"], one["high"]) for one in bins] == [(i / 10, (i + 1) / 10) for i in range(10)]
    assert [one["count"] for one in bins] == [0, 0, 0, 0, 1, 0, 0, 0, 2, 1]
    assert bins[8] == {"low": 0.8, "high": 0.9, "count": 2, "confidence": pytest.approx(0.9), "accuracy": 0.5}
    assert bins[0] == {"low": 0.0, "high": 0.1, "count": 0, "confidence": None, "accuracy": None}
    wanted = sum(one["count"] * abs(one["accuracy"] - one["confidence"]) for one in bins if one["count"]) / 4
    assert metrics.value("ece", seen) == pytest.approx(wanted) == pytest.approx((0.5 + 2 * 0.4 + 0.05) / 4)


def test_probabilities_that_are_no_numbers_give_no_figure():
    seen = classes([0, 1], [0, 1], probabilities=[[math.nan, 0.1], [0.2, 0.8]])
    for name in ("roc_auc", "average_precision", "brier", "ece"):
        assert math.isnan(metrics.value(name, seen))
        assert np.isnan(weighted(name, seen, np.ones((2, 2)))).all()


@pytest.mark.parametrize("name", ["pearson", "spearman"])
@pytest.mark.parametrize(
    ("guess", "truth"), [([0.1, 0.1, 0.1], [1, 2, 3]), ([1, 2], [0.1, 0.1]), ([1], [2]), ([1, math.nan, 2], [1, 2, 3])]
)
def test_a_correlation_with_a_constant_or_no_number_is_not_a_number(name, guess, truth):
    seen = numbers(guess, truth)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert math.isnan(metrics.value(name, seen))
        assert np.isnan(weighted(name, seen, np.ones((2, len(guess))))).all()


@pytest.mark.parametrize("name", ["pearson", "spearman"])
def test_a_resample_in_which_a_side_is_constant_has_no_correlation(name):
    seen = numbers([0.1, 0.1, 0.3, 0.7], [0.3, 0.6, 0.1, 0.9])
    found = weighted(name, seen, np.array([[3.0, 2, 0, 0], [0, 7, 0, 0], [1, 0, 0, 2], [0, 0, 0, 0]]))
    assert found == pytest.approx([math.nan, math.nan, 1, math.nan], nan_ok=True)


def test_a_correlation_keeps_its_digits_far_from_zero_and_next_to_constant():
    dice = np.random.default_rng(3)
    truth = 1e8 + dice.normal(size=40)
    guess = np.concatenate([[1e6], dice.normal(size=39)])  # without the first row, a millionth of the spread
    seen, rest = numbers(guess, truth), numbers(guess[1:], truth[1:])
    without = weighted("pearson", seen, np.array([[0.0] + [1.0] * 39]))[0]
    assert without == pytest.approx(metrics.value("pearson", rest), rel=1e-6)


def test_the_mean_squared_error_of_no_number_is_none():
    seen = numbers([1, math.inf], [1, 2])
    assert math.isnan(metrics.value("mse", seen))
    assert np.isnan(weighted("mse", seen, np.ones((1, 2)))).all()


def test_perplexity_and_bits_per_byte_follow_from_the_probabilities():
    # two pieces, "né" (3 bytes) in 2 tokens and "a" (1 byte) in 1; each token had probability 1/8
    seen = likelihoods([2 * math.log(8), math.log(8)], [2, 1], [3, 1])
    assert metrics.value("loss", seen) == pytest.approx(math.log(8))
    assert metrics.value("perplexity", seen) == pytest.approx(8)
    assert metrics.value("bits_per_byte", seen) == pytest.approx(3 * 3 / 4)  # 3 tokens of log2(8) bits over 4 bytes


def test_likelihood_metrics_weigh_tokens_not_pieces():
    seen = likelihoods([1.0, 9.0], [1, 3], [2, 6], [1, 0])
    assert metrics.value("loss", seen) == pytest.approx(2.5)  # the mean over pieces would be 2
    assert metrics.value("perplexity", seen) == pytest.approx(math.exp(2.5))
    assert metrics.value("bits_per_byte", seen) == pytest.approx(10 / math.log(2) / 8)
    assert metrics.value("accuracy", seen) == pytest.approx(1 / 4)  # the mean over pieces would be 1/2


def test_likelihood_metrics_at_their_ends():
    nothing = likelihoods([0.0], [0], [0], [0])
    assert metrics.names_for(nothing) == ("accuracy", "loss", "perplexity")  # no bytes: no bits per byte
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert all(math.isnan(metrics.value(name, nothing)) for name in metrics.names_for(nothing))
        assert metrics.value("perplexity", likelihoods([800.0], [1], [1])) == math.inf
        assert metrics.value("perplexity", likelihoods([0.0], [1], [1])) == 1


@pytest.mark.parametrize(
    "seen",
    [
        Classes(np.zeros(0, int), np.zeros(0, int), ("a", "b"), np.zeros((0, 2))),
        Numbers(np.zeros(0), np.zeros(0)),
        Likelihoods(np.zeros(0), np.zeros(0, int), np.zeros(0, int), np.zeros(0, int)),
        Texts((), ()),
        AnswerTexts((), ()),
        LabelSets(np.zeros((0, 2), bool), np.zeros((0, 2), bool), ("a", "b"), np.zeros((0, 2))),
        Spans((), (), ()),
        ChoiceIds(np.zeros(0, int), np.zeros(0, int)),
        Samples({"acc": np.zeros(0)}),
    ],
    ids=lambda seen: type(seen).__name__,
)
def test_a_figure_of_nothing_is_not_a_number(seen):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert all(math.isnan(metrics.value(name, seen)) for name in metrics.names_for(seen))


def test_texts_that_are_empty_have_figures():
    empty = Texts(("", "a b"), (("",), ("",)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = {name: metrics.value(name, empty) for name in metrics.names_for(empty)}
    assert found == {"exact_match": 0.5, "bleu": 0, "chrf": 0, "ter": 100, "rouge1": 0, "rouge2": 0, "rougeL": 0}


def test_an_exact_match_leaves_out_white_space_at_the_ends_and_nothing_else():
    seen = Texts((" yes\n", "Yes", "yes.", "no"), (("yes",), ("yes",), ("yes",), ("yes", " no ")))
    assert metrics.value("exact_match", seen) == 0.5
    assert metric("exact_match", seen).correctness(seen).tolist() == [1, 0, 0, 1]


def test_rouge_counts_the_characters_of_chinese_as_words():
    seen = Texts(("學而時習", "abc"), (("學而不習",), ("xyz",)))
    assert metrics.value("rouge1", seen) == pytest.approx(3 / 4 / 2)  # 3 of 4 characters, and nothing
    assert metrics.value("rouge2", seen) == pytest.approx(1 / 3 / 2)  # 1 of 3 pairs
    assert metrics.value("rougeL", Texts(("Café 3x",), (("caf\u00c9 3X",),))) == 1  # rouge_score's own would drop the é
    assert metrics.value("rougeL", Texts(("Café",), (("caf",),))) == 0


def test_bleu_is_of_characters_where_the_references_are_chinese_and_its_signature_says_so():
    chinese = Texts(("不亦說乎", "不亦樂乎"), (("不亦說乎",), ("不亦君子",)))
    english = Texts(("the cat sat on", "mat"), (("the cat sat on",), ("mat",)))
    assert "tok:zh" in metric("bleu", chinese).signature(chinese)
    assert "tok:13a" in metric("bleu", english).signature(english)
    assert "asian:yes" in metric("ter", chinese).signature(chinese)
    assert metrics.value("ter", chinese) == pytest.approx(100 * 2 / 8)  # two characters of eight
    assert metrics.value("bleu", chinese) > 50  # as words of white space the second row would have nothing in common
    assert metric("rouge1", english).signature(english) == "nrefs:1|case:lc|tok:unicode|stem:no|version:0.1.2"
    assert metric("accuracy", PROBABLE).signature(PROBABLE) is None


# spans


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("", []),
        ("O O", []),
        ("B-PER I-PER O B-LOC", [("PER", 0, 2), ("LOC", 3, 4)]),
        ("B-PER B-PER", [("PER", 0, 1), ("PER", 1, 2)]),
        ("O I-PER I-PER", [("PER", 1, 3)]),
        ("B-PER I-LOC I-LOC", [("PER", 0, 1), ("LOC", 1, 3)]),
        ("I-PER O I-PER", [("PER", 0, 1), ("PER", 2, 3)]),
        ("PER PER O LOC PER", [("PER", 0, 2), ("LOC", 3, 4), ("PER", 4, 5)]),
        ("B-org-company I-org-company", [("org-company", 0, 2)]),
    ],
)
def test_tags_mark_spans(tags, spans):
    assert spans_of(tags.split()) == spans


def test_parts_of_speech_are_a_span_for_each_word():
    assert spans_of(["NOUN", "NOUN", "VERB"], single=True) == [("NOUN", 0, 1), ("NOUN", 1, 2), ("VERB", 2, 3)]
    assert are_single(["NOUN", "VERB", "I"])
    assert not are_single(["PER", "O"])
    assert not are_single(["I-PER", "I-LOC"])
    assert span_types(["O", "B-PER", "I-PER", "LOC"]) == ("PER", "LOC")
    assert span_types(["NOUN", "VERB"]) == ("NOUN", "VERB")


def test_rows_without_a_word_outside_of_spans_are_read_as_the_whole_is():
    whole = Spans((("PER", "PER"), ("O",)), (("PER", "PER"), ("O",)), ("PER",))
    part = whole.take([0, 0])
    assert (whole.single, part.single, len(part)) == (False, False, 2)
    assert metric("f1", part).weighted_values(part)(np.ones((1, 2))) == 1
    assert part.take([0]).truth == (("PER", "PER"),)


def test_the_accuracy_of_words_is_a_ratio_of_sums_and_no_proportion_of_independent_rows():
    seen = EXAMPLES["spans"]
    assert metrics.value("accuracy", seen) == pytest.approx(3 / 4)
    assert (metric("accuracy", seen).size(seen), metric("accuracy", seen).proportion(seen)) == (4, None)
    assert metric("accuracy", seen).correctness(seen) is None
    assert weighted("accuracy", seen, np.array([[1.0, 3]])) == pytest.approx([5 / 6])
    assert (metric("f1", seen).averaging(seen), metric("f1_macro", seen).averaging(seen)) == ("micro", None)


# sets of labels, choices, answers


def test_the_names_of_metrics_depend_on_what_was_observed():
    assert metrics.names_for(EXAMPLES["spans"]) == (
        "accuracy",
        "precision",
        "recall",
        "f1",
        "precision_macro",
        "precision_micro",
        "precision_weighted",
        "recall_macro",
        "recall_micro",
        "recall_weighted",
        "f1_macro",
        "f1_micro",
        "f1_weighted",
    )
    assert metrics.names_for(EXAMPLES["labels"]) == (
        "precision_macro",
        "precision_micro",
        "precision_weighted",
        "recall_macro",
        "recall_micro",
        "recall_weighted",
        "f1_macro",
        "f1_micro",
        "f1_weighted",
        "roc_auc",
        "average_precision",
        "exact_match",
    )
    assert metrics.names_for(EXAMPLES["multiple_choice"]) == ("accuracy", "accuracy_norm")
    assert metrics.names_for(ChoiceIds(np.zeros(1, int), np.zeros(1, int))) == ("accuracy",)
    answers = metrics.names_for(EXAMPLES["squad"])
    assert answers[:2] == ("f1", "exact_match")
    assert set(answers) - {"f1"} == set(metrics.names_for(EXAMPLES["texts"]))


def test_a_name_that_fits_nothing_says_what_it_needs():
    with pytest.raises(OptionError, match=r"'accuracy_norm' needs likelihoods of the choices, and their lengths"):
        metrics.value("accuracy_norm", ChoiceIds(np.zeros(1, int), np.zeros(1, int)))
    with pytest.raises(OptionError, match=r"'f1' needs a predicted class for each row; there are .*f1_micro"):
        metrics.value("f1", EXAMPLES["labels"])


def test_an_exact_match_of_answers_is_not_that_of_texts():
    answers, texts = (kind(("The cat.",), (("cat",),)) for kind in (AnswerTexts, Texts))
    assert [metrics.value("exact_match", seen) for seen in (answers, texts)] == [1, 0]
    assert metric("exact_match", answers).proportion(answers) == (1, 1)
    assert metric("exact_match", answers).correctness(answers).tolist() == [1]


def test_no_answer_is_right_only_where_there_is_none():
    seen = AnswerTexts(("", "", "x", "the"), (("",), ("x",), ("",), ("", "the")))
    assert [metric(name, seen).row_scores(seen).tolist() for name in ("exact_match", "f1")] == [[1, 0, 0, 1]] * 2
    both = AnswerTexts(("",), (("", "x"),))  # SQuAD's script drops what is empty beside a real answer
    assert metrics.value("f1", both) == 0


def test_answers_in_chinese_share_characters():
    seen = AnswerTexts(("《北京》市",), (("北京大学",),))
    assert metrics.value("f1", seen) == pytest.approx(2 * 2 / (3 + 4))
    assert metrics.value("exact_match", AnswerTexts(("在1990年。",), (("在 1990 年",),))) == 1
    assert metrics.value("exact_match", AnswerTexts(("“x”",), (("x",),))) == 0  # as SQuAD's own script


def test_a_label_that_never_occurs_counts_in_the_macro_mean_and_a_type_of_span_does_not():
    held = np.array([[True, False], [True, False]])
    assert metrics.value("f1_macro", LabelSets(held, held, ("a", "b"))) == 0.5
    assert metrics.value("f1_macro", Spans((("B-a",),), (("B-a",),), ("a", "b"))) == 1


def test_choices_are_right_by_their_likelihood_or_by_the_normalised_one():
    seen = ChoiceIds(np.array([0, 1, 2]), np.array([0, 1, 0]), np.array([1, 1, 0]))
    assert [metric(name, seen).proportion(seen) for name in ("accuracy", "accuracy_norm")] == [(2, 3), (1, 3)]
    assert metric("accuracy_norm", seen).correctness(seen).tolist() == [0, 1, 0]


@pytest.mark.parametrize("kind", ["squad", "multiple_choice", "labels", "spans"])
def test_units_are_taken_in_the_given_order_and_as_often(kind):
    seen = EXAMPLES[kind]
    taken = seen.take([1, 0, 1])
    assert type(taken) is type(seen)
    assert len(taken) == 3
    again = taken.take(np.array([1, 0]))
    for field, value in vars(seen).items():
        if isinstance(value, np.ndarray):
            assert np.array_equal(getattr(again, field), value[:2]), field
        else:
            assert getattr(again, field) == value, field


@pytest.mark.parametrize(("name", "library"), [("bleu", "sacrebleu"), ("rougeL", "rouge_score")])
def test_a_library_that_is_not_installed_is_named_with_its_extra(monkeypatch, name, library):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda wanted: None if wanted == library else find(wanted))
    with pytest.raises(OptionError, match=rf"'{name}' needs {library}: pip install 'llmkit\[eval\]'"):
        metrics.value(name, Texts(("a",), (("a",),)))


def test_what_can_be_computed_depends_on_what_was_observed():
    without = classes([0, 1], [0, 1])
    assert {"roc_auc", "average_precision", "brier", "ece"}.isdisjoint(metrics.names_for(without))
    assert set(metrics.names_for(PROBABLE)) - set(metrics.names_for(without)) == {
        "roc_auc",
        "average_precision",
        "brier",
        "ece",
    }
    assert metrics.names_for(numbers([1], [1])) == ("pearson", "spearman", "mse")
    assert metrics.names_for(likelihoods([1.0], [1], [1])) == ("loss", "perplexity", "bits_per_byte")
    alone = Classes(np.zeros(2, int), np.zeros(2, int), ("only",), np.ones((2, 1)))
    assert "roc_auc" not in metrics.names_for(alone)
    assert metrics.value("f1", alone) == 1


def test_a_metric_of_other_observations_is_refused_with_what_it_needs():
    with pytest.raises(OptionError, match=r"'roc_auc' needs a probability for each class; there are accuracy, "):
        metrics.value("roc_auc", classes([0, 1], [0, 1]))
    with pytest.raises(OptionError, match=r"'accuracy' needs .* there are loss, perplexity"):
        weighted("accuracy", likelihoods([1.0], [1], [1]), np.ones((1, 1)))
    with pytest.raises(OptionError, match=r"no metric 'pearsn' \(did you mean 'pearson'\?\)"):
        metrics.value("pearsn", numbers([1], [1]))
    with pytest.raises(OptionError, match=r"no metric 'accc' \(did you mean 'acc'\?\); it has acc"):
        metrics.value("accc", Samples({"acc": np.ones(2)}))


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("mcc", "matthews_correlation"),
        ("MCC", "matthews_correlation"),
        ("rouge_l", "rougeL"),
        ("ROUGE-L", "rougeL"),
        ("rouge-1", "rouge1"),
        ("BLEU", "bleu"),
        ("chrF", "chrf"),
        ("roc-auc", "roc_auc"),
        ("f1", "f1"),
        ("acc_norm", "acc_norm"),
        ("./my_metric.py", "./my_metric.py"),
    ],
)
def test_other_spellings_are_known_and_other_names_left_alone(given, name):
    assert metrics.canonical(given) == name


def test_an_alias_is_computed():
    assert metrics.value("mcc", PROBABLE) == metrics.value("matthews_correlation", PROBABLE)


def test_lower_is_better_names_metrics_that_exist():
    assert set(METRICS) > metrics.LOWER_IS_BETTER


def test_an_unknown_metric_is_refused_with_the_nearest_name():
    with pytest.raises(OptionError, match=r"--metric: .* 'acuracy' \(did you mean 'accuracy'\?\); it has f1, accuracy"):
        metrics.require_known("acuracy", ("f1", "accuracy"), "--metric")
    metrics.require_known("f1", ("f1", "mse"), "--metric")


def script(folder, name, body, features="Features({'predictions': Value('float64'), 'references': Value('float64')})"):
    """Write a metric as `evaluate` loads it and return its path."""
    path = folder / f"{name}.py"
    path.write_text(
        "import evaluate\nfrom datasets import Features, Sequence, Value\n\n\n"
        f"class {name.title()}(evaluate.Metric):\n"
        "    def _info(self):\n"
        f"        return evaluate.MetricInfo(description='', citation='', features={features})\n\n"
        "    def _compute(self, predictions, references):\n"
        f"        {body}\n"
    )
    return str(path)


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Keep what `evaluate` copies, and imports from its copy, out of the user's cache and of other tests."""
    import evaluate.config

    monkeypatch.setattr(evaluate.config, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in [name for name in sys.modules if name.split(".")[0] == "evaluate_modules"]:
        monkeypatch.delitem(sys.modules, name)
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] == "evaluate_modules"]:
        del sys.modules[name]


def test_a_metric_script_runs_only_when_it_may(modules):
    path = script(modules, "apart", "return {'apart': max(abs(a - b) for a, b in zip(predictions, references))}")
    with pytest.raises(OptionError, match=r"is not one of llmkit's own metrics; .* --trust-remote-code allows it"):
        open_hub_metric(path, trust_remote_code=False)
    assert open_hub_metric(path, trust_remote_code=True).value(numbers([1, 5], [2, 2.5])) == {"apart": 2.5}


def test_a_name_that_is_nearly_ours_is_suggested():
    with pytest.raises(OptionError, match="did you mean 'f1_macro'"):
        open_hub_metric("f1_macr", trust_remote_code=False)


def test_a_metric_script_is_weighed_by_repeating_rows(modules):
    body = "return {'mean': float(sum(predictions)) / len(predictions), 'n': len(references), 'rows': [1]}"
    metric = open_hub_metric(script(modules, "several", body), trust_remote_code=True)
    seen = numbers([1, 2, 6], [0, 0, 0])
    assert metric.value(seen) == {"mean": 3, "n": 3}  # a list is no figure
    found = metric.weighted_values(seen, np.array([[1.0, 1, 1], [0, 2, 1]]))
    assert found["mean"] == pytest.approx([3, 10 / 3])


def test_a_metric_script_that_fails_is_a_wrong_flag_and_in_a_resample_no_value(modules):
    path = script(modules, "picky", "return {'picky': 1 / (len(set(predictions)) - 1)}")
    metric = open_hub_metric(path, trust_remote_code=True)
    with pytest.raises(OptionError, match="its code failed: ZeroDivisionError"):
        metric.value(numbers([1, 1], [1, 1]))
    found = metric.weighted_values(numbers([1, 2], [1, 1]), np.array([[2.0, 0], [1, 1]]))
    assert found["picky"] == pytest.approx([math.nan, 1], nan_ok=True)


def test_a_metric_script_of_texts_gets_one_reference_or_several(modules):
    kinds = "(Value('string'), Sequence(Value('string')))"
    strings = f"[Features({{'predictions': Value('string'), 'references': kind}}) for kind in {kinds}]"
    metric = open_hub_metric(
        script(modules, "lengths", "return {'lengths': sum(map(len, references))}", strings), trust_remote_code=True
    )
    assert metric.value(Texts(("a",), (("four",),))) == {"lengths": 4}
    assert metric.value(Texts(("a", "b"), (("four", "x"), ("y",)))) == {"lengths": 3}


@pytest.mark.parametrize(
    ("kind", "feature", "rows"),
    [
        ("multiple_choice", "Value('int64')", [0, 1, 3]),
        ("labels", "Sequence(Value('int64'))", [[1, 0], [0, 1]]),
        ("spans", "Sequence(Value('string'))", [["B-x", "O", "O"], ["B-y"]]),
    ],
)
def test_a_metric_script_gets_what_was_predicted_as_plain_lists(modules, kind, feature, rows):
    body = f"return {{'same': float(predictions == {rows!r})}}"
    features = f"Features({{'predictions': {feature}, 'references': {feature}}})"
    metric = open_hub_metric(script(modules, f"lists{kind}", body, features), trust_remote_code=True)
    assert metric.value(EXAMPLES[kind]) == {"same": 1}


def test_a_metric_script_needs_predictions_and_references(modules):
    metric = open_hub_metric(script(modules, "other", "return {'other': 1}"), trust_remote_code=True)
    with pytest.raises(OptionError, match="takes predictions and references"):
        metric.value(likelihoods([1.0], [1], [1]))


def test_a_metric_that_cannot_be_had_says_why(modules, monkeypatch):
    with pytest.raises(OptionError, match="no metric script at that path"):
        open_hub_metric(str(modules / "absent.py"), trust_remote_code=True)
    with pytest.raises(HubError, match="not on this machine and the Hub cannot be asked"):
        open_hub_metric("no_such_metric", trust_remote_code=True)
    broken = modules / "broken.py"
    broken.write_text("import evaluate\nimport no_such_library\n")
    with pytest.raises(OptionError, match="no_such_library"):
        open_hub_metric(str(broken), trust_remote_code=True)


def test_a_name_that_the_hub_lacks_and_a_hub_that_is_away_are_told_apart(monkeypatch):
    import evaluate
    from huggingface_hub import HfApi, constants, errors

    def answer(outcome):
        def space_info(self, name, **options):
            assert name == "evaluate-metric/lost"
            if outcome is not None:
                raise outcome

        monkeypatch.setattr(HfApi, "space_info", space_info)

    def load(name, **options):
        raise FileNotFoundError("Couldn't find a module script")  # whatever the cause

    monkeypatch.setattr(evaluate, "load", load)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    answer(errors.RepositoryNotFoundError("404", response=SimpleNamespace(headers={}, request=None)))
    with pytest.raises(OptionError, match=r"there is no metric 'lost' .*nor on the Hub"):
        open_hub_metric("lost", trust_remote_code=True)
    answer(OSError("no route to host"))
    with pytest.raises(HubError, match=r"could not be asked for it \(no route to host\)"):
        open_hub_metric("lost", trust_remote_code=True)
    answer(None)
    with pytest.raises(OptionError, match="its page on the Hub holds no metric script"):
        open_hub_metric("lost", trust_remote_code=True)


@pytest.mark.parametrize(
    ("raised", "kind", "sentence"),
    [
        (ConnectionError("reset"), HubError, "could not be reached"),
        (KeyError("config"), OptionError, "KeyError: 'config'"),
    ],
)
def test_a_metric_that_does_not_load_is_one_sentence(monkeypatch, raised, kind, sentence):
    import evaluate

    def load(name, **options):
        raise raised

    monkeypatch.setattr(evaluate, "load", load)
    with pytest.raises(kind, match=sentence):
        open_hub_metric("glue", trust_remote_code=True)


def test_a_metric_script_that_gives_no_number_is_refused(modules):
    metric = open_hub_metric(script(modules, "wordy", "return {'wordy': 'good'}"), trust_remote_code=True)
    with pytest.raises(OptionError, match="returned no number"):
        metric.value(numbers([1], [1]))
