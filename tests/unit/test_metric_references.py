"""Every metric against the library that defines it, on 200 random cases: the value, and weights as repeated rows."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import rouge_score.rouge_scorer
import sacrebleu
import scipy.stats
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st

from llmkit import metrics
from llmkit.observations import Classes, Likelihoods, Numbers, Texts, softmax

CASES = settings(max_examples=200, derandomize=True, deadline=None, database=None)


def holds(observations, times, references):
    """The values are the library's; with weights of one too; with weights `times`, the library's on repeated rows."""
    wanted = references(observations)
    repeated = references(observations.take(np.repeat(np.arange(len(observations)), times)))
    some = np.array([np.ones(len(observations)), times], dtype=np.float64)
    for name, value in wanted.items():
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what a library says of an odd case is not for the user
            own, found = metrics.value(name, observations), metrics.weighted(name, observations, some)
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
    text = st.lists(st.sampled_from(words), max_size=6).map(" ".join if words is LATIN else "".join)
    pair = st.tuples(text, st.lists(text, min_size=1, max_size=3).map(tuple))
    rows = draw(st.lists(pair, min_size=1, max_size=5))
    predicted, references = (tuple(column) for column in zip(*rows))
    return Texts(predicted, references), draw(repeats(len(rows)))


def corpus(latin, chinese):
    """Return sacrebleu's own corpus score: one stream for each reference of a row, None where a row has fewer."""

    def reference(seen):
        han = any(
            "\u4e00" <= letter <= "\u9fff" or letter == "𠀀" for row in seen.references for letter in "".join(row)
        )
        most = max(map(len, seen.references))
        streams = [[row[at] if at < len(row) else None for row in seen.references] for at in range(most)]
        return (chinese if han else latin)().corpus_score(list(seen.predicted), streams).score

    return reference


TEXTS = {
    "bleu": corpus(lambda: sacrebleu.BLEU(tokenize="13a"), lambda: sacrebleu.BLEU(tokenize="zh")),
    "chrf": corpus(sacrebleu.CHRF, sacrebleu.CHRF),
    "ter": corpus(sacrebleu.TER, lambda: sacrebleu.TER(normalized=True, asian_support=True)),
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


def stays_chinese(seen, times):
    """Tell whether the rows that are left still make sacrebleu's tokenizer the Chinese one, as the whole did."""
    kept = [row for row, count in zip(seen.references, times) if count]
    return any("\u4e00" <= letter <= "\u9fff" for row in kept for letter in "".join(row))


@CASES
@given(texts(CHINESE).filter(lambda case: stays_chinese(*case)))
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
@given(texts(LATIN))
def test_rouge_equals_rouge_score(case):
    holds(*case, rouge(str))


@CASES
@given(texts(CHINESE))
def test_rouge_of_chinese_equals_rouge_score_with_each_character_spelled_as_a_word(case):
    words = {letter: f" z{ord(letter)}z " for letter in "".join(CHINESE) if ord(letter) > 127 and letter != "。"}
    holds(*case, rouge(lambda text: "".join(words.get(letter, letter) for letter in text)))


@CASES
@given(st.text())
def test_the_rouge_tokens_of_a_text_without_such_characters_are_those_of_rouge_score(text):
    from rouge_score import tokenize

    from llmkit.metrics.texts import TOKEN, Tokenizer

    plain = "".join(letter for letter in text if not (TOKEN.match(letter) and ord(letter) > 127))
    assert Tokenizer().tokenize(plain) == tokenize.tokenize(plain, None)


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
