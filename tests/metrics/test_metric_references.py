"""Every metric against the library that defines it, on 200 random cases: the value, and weights as repeated rows."""

from __future__ import annotations

import math
import re
import string
import sys
import unicodedata
import warnings
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import rouge_score.rouge_scorer
import rouge_score.tokenize
import sacrebleu
import scipy.stats
import seqeval.metrics
import sklearn.metrics as sk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from resolving import weighted

from llmkit import metrics
from llmkit.metrics.intervals import per_label
from llmkit.metrics.observations import (
    AnswerTexts,
    ChoiceIds,
    Classes,
    LabelSets,
    Likelihoods,
    Numbers,
    Preferences,
    Spans,
    Texts,
    softmax,
)
from llmkit.metrics.texts.rouge import Tokenizer

CASES = settings(max_examples=200, derandomize=True, deadline=None, database=None)


def holds(observations, times, references):
    """The values are the library's; with weights of one too; with weights `times`, the library's on repeated rows."""
    wanted = references(observations)
    repeated = references(observations.take(np.repeat(np.arange(len(observations)), times)))
    some = np.array([np.ones(len(observations)), times], dtype=np.float64)
    for name, value in wanted.items():
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what a library says of an odd case is not for the user
            own, found = metrics.value(name, observations), weighted(name, observations, some)
        assert own == pytest.approx(value, rel=1e-9, abs=1e-9, nan_ok=True), name
        assert found == pytest.approx([value, repeated[name]], rel=1e-7, abs=1e-7, nan_ok=True), name


def each(references):
    return lambda seen: {name: reference(seen) for name, reference in references.items()}


def quiet(function, *arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(function(*arguments, **options))


def repeats(count):
    return st.lists(st.integers(0, 3), min_size=count, max_size=count).filter(any)


@st.composite
def classes(draw):
    width = draw(st.integers(2, 5))
    count = draw(st.integers(1, 30))
    truth = draw(st.lists(st.integers(0, width - 1), min_size=count, max_size=count))
    logits = draw(st.lists(st.lists(st.integers(0, 3), min_size=width, max_size=width), min_size=count, max_size=count))
    chances = softmax(np.array(logits))  # of few values: ties
    positive = draw(st.none() | st.integers(0, width - 1))
    names = tuple("abcde"[:width])
    return Classes(np.array(truth), chances.argmax(1), names, chances, positive), draw(repeats(count))


def averages(seen):
    """Return scikit-learn's precision, recall and F1, of the positive class and by each kind of mean."""
    found = {}
    for suffix in ("", "_macro", "_micro", "_weighted"):
        average, labels = suffix[1:] or "macro", None if suffix or seen.positive is None else [seen.positive]
        options = {"average": average, "labels": labels, "zero_division": 0}
        columns = sk.precision_recall_fscore_support(seen.truth, seen.predicted, **options)
        found |= {f"{name}{suffix}": float(column) for name, column in zip(("precision", "recall", "f1"), columns)}
    return found


def one_versus_rest(score):
    """Return scikit-learn's own macro average where all classes occur, else the mean over those that do."""

    def reference(seen):
        width = len(seen.names)
        if seen.positive is not None or width == 2:
            targets = [1 if seen.positive is None else seen.positive]
        elif len(np.unique(seen.truth)) == width:
            options = {"multi_class": "ovr"} if score is sk.roc_auc_score else {}
            return quiet(score, seen.truth, seen.probabilities, average="macro", **options)
        else:
            targets = np.unique(seen.truth)
        found = [
            quiet(score, seen.truth == target, seen.probabilities[:, target])
            for target in targets
            if 0 < (seen.truth == target).sum() < len(seen)
        ]
        return float(np.mean(found)) if found else math.nan

    return reference


def brier(seen):
    if len(seen.names) == 2:
        target = 1 if seen.positive is None else seen.positive
        return quiet(sk.brier_score_loss, seen.truth == target, seen.probabilities[:, target], pos_label=True)
    return quiet(sk.brier_score_loss, seen.truth, seen.probabilities, labels=range(len(seen.names)))


def calibration_error(seen):
    """Guo et al. 2017, equations 2 to 5, bin by bin: the bin m holds confidences in ((m - 1) / 10, m / 10]."""
    confidence, right = seen.probabilities.max(1), seen.probabilities.argmax(1) == seen.truth
    total = 0.0
    for low, high in zip(np.linspace(0, 1, 11)[:-1], np.linspace(0, 1, 11)[1:]):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return total


LABELS = {
    "accuracy": lambda seen: quiet(sk.accuracy_score, seen.truth, seen.predicted),
    "balanced_accuracy": lambda seen: quiet(sk.balanced_accuracy_score, seen.truth, seen.predicted),
    "matthews_correlation": lambda seen: quiet(sk.matthews_corrcoef, seen.truth, seen.predicted),
}
PROBABILITIES = {
    "roc_auc": one_versus_rest(sk.roc_auc_score),
    "average_precision": one_versus_rest(sk.average_precision_score),
    "brier": brier,
    "ece": calibration_error,
}


@pytest.mark.slow
@CASES
@given(classes())
def test_metrics_of_classes_equal_scikit_learn(case):
    holds(*case, lambda seen: each(LABELS)(seen) | averages(seen))


@CASES
@given(classes())
def test_metrics_of_probabilities_equal_scikit_learn(case):
    holds(*case, each(PROBABILITIES))


@st.composite
def numbers(draw):
    count = draw(st.integers(1, 25))
    # eighths are exact and tie often; the scale and the offset make sums of squares lose digits
    side = st.lists(st.integers(-20, 20).map(lambda whole: whole / 8), min_size=count, max_size=count).map(np.array)
    scale, offset = draw(st.sampled_from([1e-3, 1.0, 1e3])), draw(st.sampled_from([0.0, 1e3]))
    return Numbers(draw(side) * scale + offset, draw(side)), draw(repeats(count))


def correlation(statistic):
    def reference(seen):
        if len(seen) < 2 or np.ptp(seen.truth) == 0 or np.ptp(seen.predicted) == 0:
            return math.nan
        return float(statistic(seen.predicted, seen.truth)[0])

    return reference


NUMBERS = {
    "pearson": correlation(scipy.stats.pearsonr),
    "spearman": correlation(scipy.stats.spearmanr),
    "mse": lambda seen: float(sk.mean_squared_error(seen.truth, seen.predicted)),
}


@CASES
@given(numbers())
def test_number_metrics_equal_scipy(case):
    holds(*case, each(NUMBERS))


@st.composite
def likelihoods(draw):
    pieces = draw(
        st.lists(st.tuples(st.integers(0, 400), st.integers(0, 9), st.integers(0, 40), st.integers(0, 9)), min_size=1)
    )
    nll, tokens, covered, hits = (np.array(column) for column in zip(*pieces))
    tokens[0], covered[0] = tokens[0] + 1, covered[0] + 1  # something was scored
    times = draw(repeats(len(pieces)))
    return Likelihoods(nll / 16, tokens, covered, np.minimum(hits, tokens)), times


def over_tokens(seen, values):
    return values.sum() / seen.tokens.sum() if seen.tokens.sum() else math.nan


LIKELIHOODS = {
    "accuracy": lambda seen: over_tokens(seen, seen.hits),
    "loss": lambda seen: over_tokens(seen, seen.nll),
    "perplexity": lambda seen: float(np.exp(over_tokens(seen, seen.nll))),
    "bits_per_byte": lambda seen: seen.nll.sum() / math.log(2) / seen.bytes.sum() if seen.bytes.sum() else math.nan,
}


@CASES
@given(likelihoods())
def test_likelihood_metrics_equal_ratios_of_sums(case):
    holds(*case, each(LIKELIHOODS))


LATIN = ["the cat", "sat", "on", "the", "mat.", "A dog", "don't", "3.5", " ", "\n", "ünïcode", "X"]
CHINESE = ["學而", "時習之", "不亦說乎", "。", "the", " ", "子曰", "A1", "のカ", "𠀀"]


@st.composite
def texts(draw, words):
    text = st.lists(st.sampled_from(words), max_size=6).map("".join if words is CHINESE else " ".join)
    pair = st.tuples(text, st.lists(text, min_size=1, max_size=3).map(tuple))
    rows = draw(st.lists(pair, min_size=1, max_size=5))
    predicted, references = (tuple(column) for column in zip(*rows))
    return Texts(predicted, references), draw(repeats(len(rows)))


def corpus(score):
    """Return sacrebleu's own corpus score: one stream for each reference of a row, None where a row has fewer."""

    def reference(seen):
        most = max(map(len, seen.references))
        streams = [[row[at] if at < len(row) else None for row in seen.references] for at in range(most)]
        return score(seen.tokenizer).corpus_score(list(seen.predicted), streams).score

    return reference


def edit_rate(tokenizer):
    return sacrebleu.TER(normalized=tokenizer == "zh", asian_support=tokenizer == "zh")


TEXTS = {
    "bleu": corpus(lambda tokenizer: sacrebleu.BLEU(tokenize=tokenizer)),
    "chrf": corpus(lambda tokenizer: sacrebleu.CHRF()),
    "ter": corpus(edit_rate),
    "exact_match": lambda seen: (
        sum(
            any(text.strip() == other.strip() for other in several)
            for text, several in zip(seen.predicted, seen.references)
        )
        / len(seen)
    ),
}


@CASES
@given(texts(LATIN))
def test_text_metrics_equal_sacrebleu(case):
    holds(*case, each(TEXTS))


@CASES
@given(texts(CHINESE).map(lambda case: (replace(case[0], tokenizer="zh"), case[1])))
def test_text_metrics_of_chinese_equal_sacrebleu_with_its_chinese_tokenizers(case):
    holds(*case, each(TEXTS))


def rouge(spelling):
    """Return rouge_score's own figures: for each row and kind the best over its references, then the mean."""
    kinds = ["rouge1", "rouge2", "rougeL"]
    scorer = rouge_score.rouge_scorer.RougeScorer(kinds, use_stemmer=False)

    def references(seen):
        pairs = zip(seen.references, seen.predicted)
        rows = [[scorer.score(spelling(one), spelling(text)) for one in several] for several, text in pairs]
        return {kind: float(np.mean([max(one[kind].fmeasure for one in row) for row in rows])) for kind in kinds}

    return references


@CASES
@given(texts([word for word in LATIN if word.isascii()]))
def test_rouge_equals_rouge_score(case):
    holds(*case, rouge(str))


@CASES
@given(texts(CHINESE))
def test_rouge_of_chinese_equals_rouge_score_with_each_character_spelled_as_a_word(case):
    words = {letter: f" z{ord(letter)}z " for letter in "".join(CHINESE) if ord(letter) > 127 and letter != "。"}
    holds(*case, rouge(lambda text: "".join(words.get(letter, letter) for letter in text)))


@CASES
@given(st.text(st.characters(max_codepoint=127)))
def test_the_rouge_tokens_of_ascii_are_those_of_rouge_score(text):
    assert Tokenizer().tokenize(text) == rouge_score.tokenize.tokenize(text, None)


@CASES
@given(classes())
def test_figures_per_class_equal_scikit_learn_in_the_order_of_the_names(case):
    from llmkit.metrics.classification import confusion, per_class

    seen, _ = case
    labels = list(range(len(seen.names)))
    theirs = sk.precision_recall_fscore_support(seen.truth, seen.predicted, labels=labels, zero_division=0)
    found = per_class(seen)
    assert list(found) == list(seen.names)
    ours = [[row[key] for row in found.values()] for key in ("precision", "recall", "f1", "support")]
    assert np.array(ours) == pytest.approx(np.array(theirs, dtype=np.float64))
    table = sk.confusion_matrix(seen.truth, seen.predicted, labels=labels)
    assert confusion(seen) == {"labels": list(seen.names), "counts": table.tolist()}


TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-org-unit", "I-org-unit"]
INSIDE = ["O", "I-PER", "I-LOC"]
WELL_FORMED = [("O",), ("B-PER", "I-PER"), ("B-PER",), ("B-LOC", "I-LOC", "I-LOC"), ("B-LOC",)]


@st.composite
def spans(draw):
    """Draw sentences in IOB2, in IOB2 with mistakes, or in IO; the two sides have the same number of words."""
    chunks = {"iob2": [*WELL_FORMED], "broken": [(tag,) for tag in TAGS], "io": [(tag,) for tag in INSIDE]}[
        draw(st.sampled_from(["iob2", "broken", "io"]))
    ]
    sentence = st.lists(st.sampled_from(chunks), max_size=6).map(lambda some: [tag for chunk in some for tag in chunk])
    pairs = draw(st.lists(st.tuples(sentence, sentence), min_size=1, max_size=5))
    width = [min(map(len, pair)) for pair in pairs]
    truth, guesses = (tuple(tuple(pair[at][:n]) for pair, n in zip(pairs, width)) for at in (0, 1))
    return Spans(truth, guesses, ("PER", "LOC", "org-unit")), draw(repeats(len(pairs)))


def entity_scores(seen):
    sides = [list(map(list, side)) for side in (seen.truth, seen.predicted)]
    scored = {"precision": "precision_score", "recall": "recall_score", "f1": "f1_score"}
    found = {}
    for suffix in ("", "_micro", "_macro", "_weighted"):
        for name, function in scored.items():
            some = any(tag != "O" for side in sides for row in side for tag in row)  # without, seqeval has no mean
            own = getattr(seqeval.metrics, function)
            average = suffix[1:] or "micro"
            found[name + suffix] = quiet(own, *sides, average=average, zero_division=0) if some else 0.0
    words = sum(map(len, seen.truth))
    return found | {"accuracy": quiet(seqeval.metrics.accuracy_score, *sides) if words else math.nan}


@CASES
@given(spans())
def test_metrics_of_spans_equal_seqeval(case):
    holds(*case, entity_scores)


@CASES
@given(spans())
def test_figures_per_type_of_span_equal_seqeval(case):
    seen, _ = case
    found = per_label(seen, resamples=0)
    sides = [list(map(list, side)) for side in (seen.truth, seen.predicted)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        some = any(tag != "O" for side in sides for row in side for tag in row)
        theirs = seqeval.metrics.classification_report(*sides, output_dict=True, zero_division=0) if some else {}
    assert list(found) == list(seen.names)
    for name, row in found.items():
        wanted = theirs.get(name, {"precision": 0, "recall": 0, "f1-score": 0, "support": 0})
        ours = [row["precision"], row["recall"], row["f1"], row["support"]]
        assert ours == pytest.approx([wanted[key] for key in ("precision", "recall", "f1-score", "support")]), name


@st.composite
def parts_of_speech(draw):
    word = st.sampled_from(["NOUN", "VERB", "I"])
    pairs = draw(st.lists(st.lists(st.tuples(word, word), min_size=1, max_size=6), min_size=1, max_size=4))
    truth, guesses = (tuple(tuple(pair[at] for pair in row) for row in pairs) for at in (0, 1))
    return Spans(truth, guesses, ("NOUN", "VERB", "I")), draw(repeats(len(pairs)))


def word_scores(seen):
    truth, guesses = ([tag for row in side for tag in row] for side in (seen.truth, seen.predicted))
    options = {"zero_division": 0, "average": "macro"}
    return {
        "accuracy": sk.accuracy_score(truth, guesses),
        "f1": sk.f1_score(truth, guesses, average="micro"),
        "f1_macro": sk.f1_score(truth, guesses, **options),
        "recall_macro": sk.recall_score(truth, guesses, **options),
    }


@CASES
@given(parts_of_speech())
def test_parts_of_speech_equal_scikit_learn_on_the_words(case):
    holds(*case, word_scores)


@st.composite
def label_sets(draw):
    width, count = draw(st.integers(2, 4)), draw(st.integers(1, 12))
    side = st.lists(st.lists(st.booleans(), min_size=width, max_size=width), min_size=count, max_size=count)
    tenths = st.lists(st.lists(st.integers(0, 4), min_size=width, max_size=width), min_size=count, max_size=count)
    truth, guesses = (np.array(draw(side), dtype=bool) for _ in range(2))
    return LabelSets(truth, guesses, tuple("abcd"[:width]), np.array(draw(tenths)) / 4), draw(repeats(count))


def label_scores(seen):
    found = {"exact_match": quiet(sk.accuracy_score, seen.truth, seen.predicted)}
    for average in ("micro", "macro", "weighted"):
        columns = sk.precision_recall_fscore_support(seen.truth, seen.predicted, average=average, zero_division=0)
        found |= {f"{name}_{average}": float(x) for name, x in zip(("precision", "recall", "f1"), columns)}
    both = [label for label in range(len(seen.names)) if 0 < seen.truth[:, label].sum() < len(seen)]
    for name, score in (("roc_auc", sk.roc_auc_score), ("average_precision", sk.average_precision_score)):
        truth, chances = seen.truth[:, both], seen.probabilities[:, both]
        found[name] = quiet(score, truth, chances, average="macro") if both else math.nan
    return found


@CASES
@given(label_sets())
def test_metrics_of_sets_of_labels_equal_scikit_learn(case):
    holds(*case, label_scores)


@CASES
@given(label_sets())
def test_figures_per_label_equal_scikit_learn(case):
    seen, _ = case
    theirs = np.array(sk.precision_recall_fscore_support(seen.truth, seen.predicted, zero_division=0), dtype=np.float64)
    found = per_label(seen, resamples=0)
    ours = [[row[key] for row in found.values()] for key in ("precision", "recall", "f1", "support")]
    assert np.array(ours) == pytest.approx(theirs)


@st.composite
def choices(draw):
    count = draw(st.integers(1, 20))
    side = st.lists(st.integers(0, 3), min_size=count, max_size=count).map(np.array)
    return ChoiceIds(draw(side), draw(side), draw(side)), draw(repeats(count))


CHOICES = {
    "accuracy": lambda seen: sk.accuracy_score(seen.truth, seen.predicted),
    "accuracy_norm": lambda seen: sk.accuracy_score(seen.truth, seen.normalised),
}


@CASES
@given(choices())
def test_metrics_of_choices_equal_scikit_learn(case):
    holds(*case, each(CHOICES))


@st.composite
def preferences(draw):
    count = draw(st.integers(1, 20))
    side = st.lists(st.integers(-8, 8), min_size=count, max_size=count).map(lambda some: np.array(some) / 2)
    return Preferences(draw(side), draw(side), draw(st.sampled_from((0.1, 1.0)))), draw(repeats(count))


def torch_mean(function):
    return lambda seen: float(function(torch.tensor(seen.margins), torch.tensor(seen.before), seen.beta).mean())


PREFERENCES = {  # as TRL's DPOTrainer writes them
    "accuracy": torch_mean(lambda now, before, beta: (now > 0).double()),
    "margin": torch_mean(lambda now, before, beta: now),
    "reward_accuracy": torch_mean(lambda now, before, beta: (beta * (now - before) > 0).double()),
    "reward_margin": torch_mean(lambda now, before, beta: beta * (now - before)),
    "dpo_loss": torch_mean(lambda now, before, beta: -torch.nn.functional.logsigmoid(beta * (now - before))),
}


@CASES
@given(preferences())
def test_metrics_of_preferences_equal_torch(case):
    holds(*case, each(PREFERENCES))


def squad_normalize(text):
    """The official evaluate-v2.0.py of SQuAD: normalize_answer."""
    text = "".join(letter for letter in text.lower() if letter not in set(string.punctuation))
    return " ".join(re.compile(r"\b(a|an|the)\b", re.UNICODE).sub(" ", text).split())


def squad_f1(gold, answer):
    """The official evaluate-v2.0.py of SQuAD: compute_f1."""
    gold_tokens, tokens = squad_normalize(gold).split(), squad_normalize(answer).split()
    same = sum((Counter(gold_tokens) & Counter(tokens)).values())
    if len(gold_tokens) == 0 or len(tokens) == 0:
        return int(gold_tokens == tokens)
    if same == 0:
        return 0
    precision, recall = 1.0 * same / len(tokens), 1.0 * same / len(gold_tokens)
    return (2 * precision * recall) / (precision + recall)


def squad(seen):
    """The official evaluate-v2.0.py of SQuAD: get_raw_scores, and their means."""
    exact, f1 = [], []
    for answer, several in zip(seen.predicted, seen.references):
        golds = [gold for gold in several if squad_normalize(gold)] or [""]
        exact.append(max(int(squad_normalize(gold) == squad_normalize(answer)) for gold in golds))
        f1.append(max(squad_f1(gold, answer) for gold in golds))
    return {"exact_match": sum(exact) / len(exact), "f1": sum(f1) / len(f1)}


ANSWERS = ["the", "The cat", "an", "cats", "U.S.", "don't", "“so”", "ünïcode", "3,5", "", "a-b", "$5", " ", "thé"]


@st.composite
def answers(draw, words, joined):
    text = st.lists(st.sampled_from(words), max_size=4).map(joined.join)
    pair = st.tuples(text, st.lists(text, min_size=1, max_size=3).map(tuple))
    predicted, references = (tuple(column) for column in zip(*draw(st.lists(pair, min_size=1, max_size=5))))
    return AnswerTexts(predicted, references), draw(repeats(len(predicted)))


@CASES
@given(answers(ANSWERS, " "))
def test_metrics_of_answers_equal_the_script_of_squad(case):
    holds(*case, squad)


MARKS = {chr(code) for code in range(sys.maxunicode) if unicodedata.category(chr(code)).startswith("P")}
MARKS |= set(string.punctuation)


def mlqa_tokens(text):
    """The official mlqa_evaluation_v1.py for Chinese: normalize_answer with mixed_segmentation, then the tokens."""
    found, rest = [], ""
    for letter in "".join(letter for letter in text.lower() if letter not in MARKS):
        if re.search(r"[\u4e00-\u9fa5]", letter):
            found, rest = [*found, *rest.split(), letter], ""
        else:
            rest += letter
    return [*found, *rest.split()]


def mlqa(seen):
    exact, f1 = [], []
    for answer, several in zip(seen.predicted, seen.references):
        tokens = mlqa_tokens(answer)
        exact.append(max(mlqa_tokens(gold) == tokens for gold in several))
        shared = [(sum((Counter(mlqa_tokens(gold)) & Counter(tokens)).values()), gold) for gold in several]
        f1.append(max(2 * same / (len(mlqa_tokens(gold)) + len(tokens)) for same, gold in shared))
    return {"exact_match": sum(exact) / len(exact), "f1": sum(f1) / len(f1)}


HAN_ANSWERS = ["北京", "大学", "《史记》", "\uff0c", "1990", "年", " ", "SQuAD", "。", "学", "-"]


@CASES
@given(answers(HAN_ANSWERS, "").map(lambda case: (in_chinese(case[0]), case[1])))
def test_metrics_of_chinese_answers_equal_the_script_of_mlqa(case):
    holds(*case, mlqa)


def in_chinese(seen):
    """Return the answers with a Chinese character in each, as those of a Chinese set have."""
    return AnswerTexts(
        tuple(f"中{text}" for text in seen.predicted),
        tuple(tuple(f"中{text}" for text in several) for several in seen.references),
    )
