"""The figures of `llmkit eval` are those of the libraries that define them, computed beside it from what it saved.

Perplexity is held against transformers' documented recipe in tests/tasks/test_causal_lm.py, every statistic against
random cases in tests/metrics/test_metric_references.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sacrebleu
import tiny
from conftest import write_jsonl
from evaluating import mislabelled, other, read_jsonl, undecided, valid, values
from rouge_score.rouge_scorer import RougeScorer
from scipy import stats
from sklearn import metrics as sklearn
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

NAMES = {2: ["negative", "positive"], 3: ["bad", "fine", "good"]}
AVERAGES = ("macro", "micro", "weighted")
TEXTS = ("bleu", "chrf", "ter", "rouge1", "rouge2", "rougeL", "exact_match")


@pytest.fixture
def measured(llmkit) -> Callable[..., dict[str, Any]]:
    """Run eval with --json and return its result, checked against the schema."""

    def measure(*arguments: object) -> dict[str, Any]:
        ran = llmkit("eval", *arguments, "--json")
        assert ran.code == 0, ran.err
        return valid(ran.json)

    return measure


@pytest.fixture(params=NAMES)
def classes(request, measured, models_root, tmp_path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The result of a random classifier of so many classes, with all metrics, and the rows that it saved."""
    names = NAMES[request.param]
    dice = np.random.default_rng(request.param)
    rows = [{"text": row["text"], "label": names[dice.integers(len(names))]} for row in mislabelled(80)]
    data = write_jsonl(tmp_path / "rows.jsonl", rows)
    if not (models_root / f"random-{request.param}").exists():
        tiny.bert_folder(models_root / f"random-{request.param}", labels=names, seed=2)
    model = undecided(models_root / f"random-{request.param}", tmp_path / "model", [row["text"] for row in rows])
    wanted = [
        "accuracy",
        "balanced_accuracy",
        "mcc",
        "roc_auc",
        "average_precision",
        "brier",
        "ece",
        "f1",
        "precision",
        "recall",
        *(f"{name}_{average}" for name in ("f1", "precision", "recall") for average in AVERAGES),
    ]
    flags = [word for name in wanted for word in ("--metric", name)]
    result = measured(data, "-m", model, *flags, "--save-predictions", tmp_path / "p.jsonl", "--resamples", "200")
    saved = read_jsonl(tmp_path / "p.jsonl")
    assert {row["prediction"] for row in saved} == set(names), "each class is predicted"
    return result, saved


def test_classes_are_scored_as_scikit_learn_scores_them(classes):
    result, rows = classes
    names = result["confusion"]["labels"]
    truth, guesses = ([row[key] for row in rows] for key in ("label", "prediction"))
    usual = {"average": "macro"} if len(names) == 3 else {"pos_label": names[1]}
    expected = {
        "accuracy": sklearn.accuracy_score(truth, guesses),
        "balanced_accuracy": sklearn.balanced_accuracy_score(truth, guesses),
        "matthews_correlation": sklearn.matthews_corrcoef(truth, guesses),
    }
    for name in ("f1", "precision", "recall"):
        score = getattr(sklearn, f"{name}_score")
        expected[name] = score(truth, guesses, **usual)
        expected |= {f"{name}_{average}": score(truth, guesses, average=average) for average in AVERAGES}
    figures = values(result)
    assert {name: figures[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    assert result["confusion"]["counts"] == sklearn.confusion_matrix(truth, guesses, labels=names).tolist()
    report = sklearn.classification_report(truth, guesses, output_dict=True)
    for name in names:
        found = result["per_class"][name]
        assert [found["precision"], found["recall"], found["f1"], found["support"]] == pytest.approx(
            [report[name][key] for key in ("precision", "recall", "f1-score", "support")]
        )


def test_probabilities_are_scored_as_scikit_learn_scores_them(classes):
    result, rows = classes
    names = result["confusion"]["labels"]
    truth = np.array([names.index(row["label"]) for row in rows])
    chances = np.array([[row["scores"][name] for name in names] for row in rows])
    figures = values(result)
    if len(names) == 2:
        expected = {
            "roc_auc": sklearn.roc_auc_score(truth, chances[:, 1]),
            "average_precision": sklearn.average_precision_score(truth, chances[:, 1]),
            "brier": sklearn.brier_score_loss(truth, chances[:, 1]),
        }
    else:
        expected = {
            "roc_auc": sklearn.roc_auc_score(truth, chances, multi_class="ovr"),
            "average_precision": sklearn.average_precision_score(np.eye(3)[truth], chances),
            "brier": ((chances - np.eye(3)[truth]) ** 2).sum(1).mean(),
        }
    assert {name: figures[name] for name in expected} == pytest.approx(expected, abs=1e-9)
    confidence, right = chances.max(1), chances.argmax(1) == truth
    bins = np.ceil(confidence * 10).astype(int)
    gaps = [abs(right[bins == one].mean() - confidence[bins == one].mean()) * (bins == one).mean() for one in set(bins)]
    assert figures["ece"] == pytest.approx(sum(gaps))
    assert [one["count"] for one in result["calibration"]["bins"]] == np.bincount(bins - 1, minlength=10).tolist()


def test_the_interval_of_a_proportion_is_wilsons(classes):
    result, rows = classes
    hits = sum(row["label"] == row["prediction"] for row in rows)
    shares = {"accuracy": (hits, len(rows)), "f1_micro": (hits, len(rows))}
    if len(result["confusion"]["labels"]) == 2:
        name = result["confusion"]["labels"][1]
        both = sum(row["label"] == row["prediction"] == name for row in rows)
        shares["recall"] = (both, sum(row["label"] == name for row in rows))
        shares["precision"] = (both, sum(row["prediction"] == name for row in rows))
    for metric, (some, of) in shares.items():
        figure = result["metrics"][metric]
        assert [figure["low"], figure["high"]] == pytest.approx(proportion_confint(some, of, method="wilson"))
        assert (figure["interval"], figure["n"]) == ("wilson", of)


def test_a_bootstrap_interval_is_that_of_a_plain_loop(classes):
    result, rows = classes
    figure = result["metrics"]["f1_macro"]
    truth, guesses = (np.array([row[key] for row in rows]) for key in ("label", "prediction"))
    dice = np.random.default_rng(0)
    drawn = []
    for _ in range(1000):
        some = dice.integers(0, len(rows), len(rows))
        drawn.append(sklearn.f1_score(truth[some], guesses[some], average="macro"))
    assert figure["interval"] == "bootstrap"
    assert [figure["low"], figure["high"]] == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=0.03)


def test_numbers_are_scored_as_scipy_scores_them(measured, models_root, tmp_path):
    model = tiny.bert_folder(models_root / "regression", labels=["score"], seed=3)
    dice = np.random.default_rng(1)
    rows = [{"text": row["text"], "label": float(dice.normal())} for row in mislabelled(60)]
    data = write_jsonl(tmp_path / "rows.jsonl", rows)
    found = measured(data, "-m", model, "--save-predictions", tmp_path / "p.jsonl")
    saved = read_jsonl(tmp_path / "p.jsonl")
    truth, guesses = (np.array([row[key] for row in saved]) for key in ("label", "prediction"))
    assert truth.tolist() == [row["label"] for row in rows]
    assert np.ptp(guesses) > 0
    assert values(found) == pytest.approx(
        {
            "pearson": stats.pearsonr(truth, guesses).statistic,
            "spearman": stats.spearmanr(truth, guesses).statistic,
            "mse": sklearn.mean_squared_error(truth, guesses),
        }
    )


@pytest.mark.parametrize(("fixed", "broken", "exact"), [(3, 9, True), (0, 0, True), (20, 41, False)])
def test_accuracy_is_compared_by_mcnemars_test(measured, tmp_path, fixed, broken, exact):
    rows = [{"text": row["text"], "label": row["label"]} for row in mislabelled(200, wrong=())]
    data = write_jsonl(tmp_path / "rows.jsonl", rows)

    def answers(name: str, wrong: range) -> Path:
        made = [
            {"text": row["text"], "prediction": other(row["label"]) if place in wrong else row["label"]}
            for place, row in enumerate(rows)
        ]
        return write_jsonl(tmp_path / name, made)

    # 30 that both have wrong, then those that only the earlier, then those that only the later has wrong
    before, after = range(30 + fixed), [*range(30), *range(30 + fixed, 30 + fixed + broken)]
    measured(data, "--predictions", answers("before.jsonl", before), "--output", tmp_path / "old.json")
    found = measured(data, "--predictions", answers("after.jsonl", after), "--baseline", tmp_path / "old.json")
    paired, flips = found["baseline"]["metrics"]["accuracy"], found["baseline"]["flips"]
    assert (flips["fixed"], flips["broken"]) == (fixed, broken)
    table = [[200 - 30 - fixed - broken, broken], [fixed, 30]]
    assert paired["p"] == pytest.approx(mcnemar(table, exact=exact, correction=True).pvalue)
    assert paired["test"] == ("exact McNemar" if exact else "McNemar")
    assert paired["difference"] == pytest.approx((fixed - broken) / 200)


@pytest.fixture(params=[1, 3], ids=["one reference", "several references"])
def texts(request, measured, tmp_path) -> tuple[dict[str, Any], list[str], list[list[str]]]:
    """The result of a system that wrote texts like the references, with all metrics; the texts; the references."""
    dice = np.random.default_rng(request.param)
    words = [*tiny.GOOD, *tiny.BAD, *tiny.THINGS, "the", "was", "and", "Running", "it's", "U.S."]
    references, written = [], []
    for number in range(30):
        several = [" ".join(dice.choice(words, dice.integers(4, 12))) + "." for _ in range(request.param)]
        told = several[-1].split()
        if number % 3:
            told[dice.integers(len(told))] = "other"
            told = told[: dice.integers(2, len(told) + 1)]
        references.append(several)
        written.append(" ".join(told))
    rows = [
        {"id": f"q{number}", "prompt": f"say {number}", "answer": several if request.param > 1 else several[0]}
        for number, several in enumerate(references)
    ]
    data = write_jsonl(tmp_path / "rows.jsonl", rows)
    preds = [{"id": row["id"], "prediction": text} for row, text in zip(rows, written)]
    path = write_jsonl(tmp_path / "p.jsonl", preds[::-1])
    flags = [word for name in TEXTS for word in ("--metric", name)]
    line = (data, "--predictions", path, "--column", "reference=answer", *flags, "--resamples", "100")
    result = measured(*line, "--output", tmp_path / "result.json")
    saved = json.loads((tmp_path / "result.json").read_text())["rows"]
    assert saved["prediction"] == written
    assert saved["label"] == references
    return result, written, references


def test_texts_are_scored_as_sacrebleu_scores_them(texts):
    result, written, references = texts
    streams = [list(stream) for stream in zip(*references)]
    figures = values(result)
    assert figures["bleu"] == pytest.approx(sacrebleu.corpus_bleu(written, streams).score)
    assert figures["chrf"] == pytest.approx(sacrebleu.corpus_chrf(written, streams).score)
    assert figures["ter"] == pytest.approx(sacrebleu.corpus_ter(written, streams).score)
    assert 0 < figures["bleu"] < 100


def test_texts_are_scored_as_rouge_score_scores_them(texts):
    result, written, references = texts
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"])
    scores = [scorer.score_multi(several, text) for text, several in zip(written, references)]
    for name in ("rouge1", "rouge2", "rougeL"):
        assert values(result)[name] == pytest.approx(np.mean([score[name].fmeasure for score in scores])), name


def test_an_exact_match_is_of_any_reference(texts):
    result, written, references = texts
    hits = [text in several for text, several in zip(written, references)]
    assert values(result)["exact_match"] == np.mean(hits)
    assert 0 < sum(hits) < len(hits)
    figure = result["metrics"]["exact_match"]
    assert [figure["low"], figure["high"]] == pytest.approx(proportion_confint(sum(hits), len(hits), method="wilson"))


def test_perplexity_and_bits_per_byte_are_ratios_of_the_saved_sums(measured, llama, corpus, tmp_path):
    found = measured(corpus, "-m", llama, "--limit", "20", "--save-predictions", tmp_path / "p.jsonl")
    rows = read_jsonl(tmp_path / "p.jsonl")
    nats, tokens, covered = (sum(row[key] for row in rows) for key in ("nll", "tokens", "bytes"))
    assert values(found) == pytest.approx(
        {"perplexity": np.exp(nats / tokens), "loss": nats / tokens, "bits_per_byte": nats / np.log(2) / covered}
    )
    assert found["counts"] == {"tokens": tokens, "bytes": covered}
