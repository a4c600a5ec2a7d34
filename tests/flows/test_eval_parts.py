"""Each part of `llmkit eval` against figures that are known beforehand."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import evaluating
import numpy as np
import pytest
import tiny
import torch
from conftest import write_csv, write_jsonl
from evaluating import ROWS, WRONG, Files, lasting, mislabelled, other, read_jsonl, undecided, valid, values
from safetensors.torch import load_file, save_file
from scipy import stats
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

RIGHT = 1 - len(WRONG) / ROWS
LONG = "the king was good and the day was bright and the fox was kind and the house was warm and the song was sweet"


@pytest.fixture(scope="session")
def good(models_root) -> Path:
    """A classifier that reads every review right."""
    return evaluating.separable(models_root)


@pytest.fixture(scope="session")
def decoder(models_root, llama) -> Path:
    """A random Llama with a classifier's head."""
    folder = models_root / "llama-classifier"
    config = AutoConfig.from_pretrained(llama)
    config.id2label, config.label2id = {0: "negative", 1: "positive"}, {"negative": 0, "positive": 1}
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(llama).save_pretrained(folder)
    return folder


@pytest.fixture
def data(tmp_path) -> Path:
    return write_csv(tmp_path / "mine.csv", mislabelled())


@pytest.fixture
def measured(llmkit) -> Callable[..., dict[str, Any]]:
    """Run eval with --json and return its result, checked against the schema."""

    def measure(*arguments: object, code: int = 0) -> dict[str, Any]:
        ran = llmkit("eval", *arguments, "--json")
        assert ran.code == code, ran.err
        return valid(ran.json)

    return measure


def copied(model: Path, to: Path) -> Path:
    return Path(shutil.copytree(model, to, ignore=shutil.ignore_patterns("checkpoints")))


def relabelled(model: Path, to: Path, names: list[str], order: list[int]) -> Path:
    """Copy a classifier with other names for its outputs, which come in another order."""
    copied(model, to)
    config = json.loads((to / "config.json").read_text())
    config["id2label"] = {str(place): name for place, name in enumerate(names)}
    config["label2id"] = {name: place for place, name in enumerate(names)}
    (to / "config.json").write_text(json.dumps(config))
    weights = load_file(to / "model.safetensors")
    for name in ("classifier.weight", "classifier.bias"):
        weights[name] = weights[name][order].clone()
    save_file(weights, to / "model.safetensors", metadata={"format": "pt"})
    return to


# metrics by name


def test_metrics_are_named_in_any_spelling_and_shown_in_the_order_given(measured, good, data):
    flags = ("--metric", "mcc", "--metric", "AUC", "--metric", "F1-Macro", "--metric", "accuracy")
    found = measured(data, "-m", good, *flags, "--fail-under", "mcc=0.5", "--fail-above", "brier=0.5")
    assert list(found["metrics"]) == ["matthews_correlation", "roc_auc", "f1_macro", "accuracy", "brier"]
    assert [gate["metric"] for gate in found["gates"]] == ["matthews_correlation", "brier"]


def test_f1_is_of_the_positive_class_that_is_named(measured, good, data):
    first, second = (measured(data, "-m", good, "--positive", name) for name in ("positive", "negative"))
    for name, result in (("positive", first), ("negative", second)):
        assert result["metrics"]["f1"]["of"] == f"class {name!r}"
        assert values(result)["f1"] == result["per_class"][name]["f1"]
        assert result["metrics"]["recall"]["n"] == result["per_class"][name]["support"]


def test_no_resamples_no_bootstrap_interval(measured, good, data):
    found = measured(data, "-m", good, "--resamples", "0")["metrics"]
    assert (found["f1"]["low"], found["f1"]["interval"]) == (None, None)
    assert found["accuracy"]["interval"] == "wilson"


def test_a_metric_of_others_runs_only_when_its_code_is_trusted(llmkit, measured, good, data, tmp_path):
    script = tmp_path / "hits.py"
    script.write_text(
        "import datasets\nimport evaluate\n"
        "class Hits(evaluate.Metric):\n"
        "    def _info(self):\n"
        "        columns = {'predictions': datasets.Value('int64'), 'references': datasets.Value('int64')}\n"
        "        return evaluate.MetricInfo(description='', citation='', features=datasets.Features(columns))\n"
        "    def _compute(self, predictions, references):\n"
        "        return {'hits': sum(a == b for a, b in zip(predictions, references))}\n"
    )
    line = (data, "-m", good, "--metric", script, "--metric", "accuracy", "--resamples", "100")
    refused = llmkit("eval", *line)
    assert refused.code == 2
    assert "--trust-remote-code" in refused.error
    found = measured(*line, "--trust-remote-code", "--fail-under", "hits=37", code=1)
    assert values(found) == {"accuracy": RIGHT, "hits": ROWS - len(WRONG)}
    assert found["metrics"]["hits"]["low"] < 36 < found["metrics"]["hits"]["high"]
    unknown = llmkit("eval", *line, "--trust-remote-code", "--fail-under", "hit=3")
    assert unknown.code == 2
    assert "there are accuracy, hits" in unknown.error


# slices


def test_slices_have_their_own_figures_and_the_gap_is_between_the_ends(measured, good, data):
    # rows 0 to 9 are news, of which one has a wrong label; of the 30 of the blog three
    found = measured(data, "-m", good, "--slice", "genre", "--metric", "accuracy")["slices"]["genre"]
    got = {name: (part["n"], part["metrics"]["accuracy"]["value"]) for name, part in found["values"].items()}
    assert got == {"news": (10, 0.9), "blog": (30, 0.9)}
    rows = mislabelled(wrong=(0, 1, 2, 30))
    write_csv(data, rows)
    found = measured(data, "-m", good, "--slice", "genre", "--metric", "accuracy")["slices"]["genre"]
    gap = found["gaps"]["accuracy"]
    assert gap["gap"] == pytest.approx(29 / 30 - 0.7)
    assert (gap["best"], gap["worst"]) == ("blog", "news")
    assert gap["low"] < gap["gap"] < gap["high"]


@pytest.mark.parametrize(
    ("limit", "strict", "code"), [(0.3, False, 0), (0.2, False, 1), (0.3, True, 1), (0.9, True, 0)]
)
def test_a_gap_gate_looks_at_the_value_or_strictly_at_the_bound(llmkit, good, tmp_path, limit, strict, code):
    data = write_csv(tmp_path / "gap.csv", mislabelled(wrong=(0, 1, 2, 30)))
    flags = ("--slice", "genre", "--max-gap", f"accuracy={limit}", *(["--strict"] if strict else []))
    files = Files(tmp_path / "out")
    ran = llmkit("eval", data, "-m", good, *flags, *files.flags)
    assert ran.code == code, ran.err
    (gate,) = files.result["gates"]
    assert (gate["kind"], gate["metric"], gate["strict"], gate["met"]) == ("max-gap", "accuracy", strict, code == 0)
    assert gate["bound"] == files.result["slices"]["genre"]["gaps"]["accuracy"]["high"]
    assert bool(files.failures) == (code == 1)


def test_a_language_model_has_slices_of_its_rows(llmkit, measured, llama, tmp_path):
    texts = tiny.corpus(40).split("\n\n")
    rows = [{"text": text, "kind": "even" if place % 2 == 0 else "odd"} for place, text in enumerate(texts)]
    data = write_jsonl(tmp_path / "texts.jsonl", rows)
    refused = llmkit("eval", data, "-m", llama, "--slice", "kind")
    assert refused.code == 2
    assert "--per-row" in refused.error
    found = measured(data, "-m", llama, "--per-row", "--slice", "kind", "--resamples", "200")
    alone = {}
    for kind in ("even", "odd"):
        part = write_jsonl(tmp_path / f"{kind}.jsonl", [row for row in rows if row["kind"] == kind])
        alone[kind] = values(measured(part, "-m", llama, "--per-row"))["perplexity"]
    parts = found["slices"]["kind"]["values"]
    assert {kind: part["metrics"]["perplexity"]["value"] for kind, part in parts.items()} == pytest.approx(alone)
    gap = found["slices"]["kind"]["gaps"]["perplexity"]
    assert gap["best"] == min(alone, key=alone.__getitem__), "lower is better"


# swaps


def test_a_swap_of_the_words_that_the_model_goes_by_flips_each_of_its_rows(llmkit, measured, good, tmp_path):
    data = write_csv(tmp_path / "rows.csv", tiny.reviews(24, seed=5))
    turning, idle = tmp_path / "turning.csv", tmp_path / "idle.csv"
    turning.write_text("".join(f"{a},{b}\n" for a, b in zip(tiny.GOOD, tiny.BAD)))
    idle.write_text("film,book\nsoup,song\n")
    found = measured(data, "-m", good, "--swap", turning)["swap"]
    assert (found["n"], found["flipped"], found["value"]) == (24, 24, 1.0)
    assert all(row["before"] != row["after"] and row["text"] != row["swapped"] for row in found["rows"])
    texts = [row["text"] for row in tiny.reviews(24, seed=5)]
    holds = [[a in text.split() or b in text.split() for text in texts] for a, b in zip(tiny.GOOD, tiny.BAD)]
    assert [pair["n"] for pair in found["pairs"]] == [sum(some) for some in holds if any(some)]

    found = measured(data, "-m", good, "--swap", idle)["swap"]
    count = sum(any(word in text.split() for word in ("film", "book", "soup", "song")) for text in texts)
    assert (found["n"], found["flipped"], found["rows"]) == (count, 0, [])
    assert found["low"] == 0 < found["high"]
    gate = ("--fail-above", "swap_flips=0.1")
    assert llmkit("eval", data, "-m", good, "--swap", turning, *gate).code == 1
    assert llmkit("eval", data, "-m", good, "--swap", idle, *gate).code == 0
    assert llmkit("eval", data, "-m", good, "--swap", idle, *gate, "--strict").code == 1, "few rows: in doubt"


def test_a_swap_that_nothing_comes_of_is_refused(llmkit, good, llama, data, corpus, tmp_path):
    terms = tmp_path / "terms.csv"
    terms.write_text("he,she\n")
    ran = llmkit("eval", data, "-m", good, "--swap", terms)
    assert ran.code == 2
    assert "no row holds one of its terms" in ran.error
    ran = llmkit("eval", corpus, "-m", llama, "--limit", "4", "--swap", terms)
    assert ran.code == 2
    assert "causal-lm" in ran.error


# labels


def test_a_model_with_its_labels_in_another_order_or_case_has_the_same_figures(measured, good, data, tmp_path):
    straight = measured(data, "-m", good, "--metric", "f1", "--metric", "brier", "--positive", "positive")
    for number, (names, flags) in enumerate(
        [
            (["Positive", "NEGATIVE"], ()),
            (["good", "bad"], ("--label-map", "good=positive", "--label-map", "bad=negative")),
        ]
    ):
        model = relabelled(good, tmp_path / str(number), names, [1, 0])
        found = measured(data, "-m", model, *flags, "--metric", "f1", "--metric", "brier", "--positive", "positive")
        assert values(found) == pytest.approx(values(straight), abs=1e-6)
        assert found["per_class"].keys() == straight["per_class"].keys()


def test_labels_that_nothing_settles_are_refused_with_both_lists(llmkit, good, data, tmp_path):
    model = relabelled(good, tmp_path / "model", ["LABEL_0", "LABEL_1"], [0, 1])
    ran = llmkit("eval", data, "-m", model)
    assert ran.code == 2
    for word in ("'LABEL_0', 'LABEL_1'", "'negative', 'positive'", "--label-map"):
        assert word in ran.error


def test_three_labels_are_merged_to_two_by_adding_their_probabilities(measured, models_root, data, tmp_path):
    model = tiny.bert_folder(models_root / "three", labels=["negative", "neutral", "positive"], seed=4)
    preds = tmp_path / "p.jsonl"
    found = measured(data, "-m", model, "--label-map", "neutral=negative", "--save-predictions", preds)
    tokenizer, network = AutoTokenizer.from_pretrained(model), AutoModelForSequenceClassification.from_pretrained(model)
    rows = mislabelled()
    with torch.inference_mode():
        inputs = tokenizer([row["text"] for row in rows], padding=True, return_tensors="pt")
        chances = network(**inputs).logits.double().softmax(-1).numpy()
    merged = {"negative": chances[:, 0] + chances[:, 1], "positive": chances[:, 2]}
    saved = read_jsonl(preds)
    for name, expected in merged.items():
        assert [row["scores"][name] for row in saved] == pytest.approx(expected.tolist(), abs=1e-6)
    guesses = np.where(merged["positive"] > merged["negative"], "positive", "negative").tolist()
    assert [row["prediction"] for row in saved] == guesses
    assert values(found)["accuracy"] == np.mean([g == row["label"] for g, row in zip(guesses, rows)])


# files of predictions


@pytest.mark.parametrize("name", ["p.jsonl", "p.csv"])
def test_saved_predictions_in_any_order_give_the_same_figures(measured, classifier, data, tmp_path, name):
    shown = ("--metric", "accuracy", "--metric", "f1", "--metric", "roc_auc", "--metric", "brier")
    first = measured(data, "-m", classifier, *shown, "--save-predictions", tmp_path / name)
    lines = (tmp_path / name).read_text().splitlines(keepends=True)
    head, body = (lines[:1], lines[1:]) if name.endswith("csv") else ([], lines)
    random.Random(0).shuffle(body)
    (tmp_path / name).write_text("".join(head + body))
    again = measured(data, "--predictions", tmp_path / name, *shown)
    assert again["metrics"] == first["metrics"], "intervals too"
    assert again["confusion"] == first["confusion"]
    assert (again["model"], again["predictions"]) == (None, str(tmp_path / name))
    assert again["rows_sha256"] == first["rows_sha256"]
    assert (again["dtype"], again["fingerprints"], again["invariance"]) == (None, {}, None)


def test_predictions_of_another_system_are_joined_by_its_own_ids(llmkit, measured, tmp_path):
    rows = [{"idx": 100 + place, **row} for place, row in enumerate(mislabelled())]
    data = write_csv(tmp_path / "mine.csv", rows)
    answers = [
        {"idx": row["idx"], "answer": row["label"] if place < 30 else other(row["label"])}
        for place, row in enumerate(rows)
    ]
    path = write_jsonl(tmp_path / "theirs.jsonl", answers[::-1])
    assert values(measured(data, "--predictions", path))["accuracy"] == 0.75
    for changed, words in (
        (answers[:-1], "1 of the dataset's rows is missing"),
        ([*answers, {"idx": 7, "answer": "positive"}], "1 of its rows is not in the dataset"),
        ([*answers, {**answers[0], "answer": other(answers[0]["answer"])}], "'100'"),
        ([{**answers[0], "answer": "mixed"}, *answers[1:]], "'mixed' is none of the dataset's labels"),
    ):
        ran = llmkit("eval", data, "--predictions", write_jsonl(path, changed))
        assert ran.code == 2
        assert words in ran.error


def test_numbers_are_scored_from_a_file(measured, tmp_path):
    dice = np.random.default_rng(0)
    truth = dice.normal(size=30).round(3)
    guesses = (truth + dice.normal(size=30)).round(3)
    rows = [{"text": f"text {i}", "label": float(value)} for i, value in enumerate(truth)]
    data = write_jsonl(tmp_path / "numbers.jsonl", rows)
    preds = write_csv(tmp_path / "p.csv", [{"text": row["text"], "score": g} for row, g in zip(rows, guesses)][::-1])
    found = values(measured(data, "--predictions", preds))
    assert found["pearson"] == pytest.approx(stats.pearsonr(truth, guesses).statistic)
    assert found["spearman"] == pytest.approx(stats.spearmanr(truth, guesses).statistic)
    assert found["mse"] == pytest.approx(((truth - guesses) ** 2).mean())


def test_flags_that_need_a_model_do_not_stand_beside_predictions(llmkit, good, data, tmp_path):
    preds = write_jsonl(tmp_path / "p.jsonl", [{"prediction": "positive"}])
    for flags in (("-m", good), ("--check-invariance", "3"), ("--swap", preds), ("--baseline", good)):
        ran = llmkit("eval", data, "--predictions", preds, *flags)
        assert ran.code == 2
        assert flags[0] in ran.error or "--model" in ran.error


# baselines


def test_a_baseline_is_a_file_a_model_or_a_run_folder(measured, good, classifier, data, tmp_path):
    copied(good, tmp_path / "bare").joinpath("run.json").unlink()
    assert measured(data, "-m", good, "--output", tmp_path / "old.json")
    kinds = (tmp_path / "old.json", good, tmp_path / "bare")
    found = [measured(data, "-m", classifier, "--baseline", kind)["baseline"] for kind in kinds]
    assert {one["name"] for one in found} == set(map(str, kinds))
    assert found[0]["metrics"] == found[1]["metrics"] == found[2]["metrics"]
    assert found[0]["flips"] == found[1]["flips"] == found[2]["flips"]


def test_rows_are_paired_by_content_and_not_by_position(measured, good, classifier, data, tmp_path):
    straight = measured(data, "-m", classifier, "--baseline", good)
    mixed = mislabelled()
    random.Random(1).shuffle(mixed)
    measured(write_csv(tmp_path / "mixed.csv", mixed), "-m", good, "--output", tmp_path / "old.json")
    paired = measured(data, "-m", classifier, "--baseline", tmp_path / "old.json")
    assert paired["baseline"]["flips"] == straight["baseline"]["flips"]
    for name, there in straight["baseline"]["metrics"].items():  # other batches: the last digits of probabilities move
        here = paired["baseline"]["metrics"][name]
        assert here.pop("test") == there.pop("test")
        assert here == pytest.approx(there, abs=1e-6), name


@pytest.mark.parametrize("change", ["label", "text", "fewer", "more"])
def test_a_dataset_that_changed_is_no_baseline(llmkit, measured, good, data, tmp_path, change):
    measured(data, "-m", good, "--output", tmp_path / "old.json")
    rows = mislabelled()
    if change in {"label", "text"}:
        rows[7][change] = other(rows[7]["label"]) if change == "label" else "another text"
    rows = {"fewer": rows[1:], "more": [*rows, {**rows[0], "text": "one more"}]}.get(change, rows)
    ran = llmkit("eval", write_csv(data, rows), "-m", good, "--baseline", tmp_path / "old.json")
    assert ran.code == 2
    assert ("1 rows have another label" if change == "label" else "the rows are not those of the baseline") in ran.error
    if change == "label":
        measured(data, "-m", good, "--output", tmp_path / "new.json")
        assert llmkit("compare", tmp_path / "old.json", tmp_path / "new.json").code == 2


def predicted(tmp_path: Path, name: str, wrong: range) -> Path:
    """Write predictions for the rows of `mislabelled`, of which some are wrong."""
    rows = mislabelled(200, wrong=())
    answers = [
        {"text": row["text"], "prediction": other(row["label"]) if place in wrong else row["label"]}
        for place, row in enumerate(rows)
    ]
    return write_jsonl(tmp_path / name, answers)


@pytest.fixture
def worse(measured, tmp_path) -> dict[str, Any]:
    """Two systems on 200 rows: 20 wrong, and 30 wrong of which 15 are the same."""
    data = write_csv(tmp_path / "many.csv", mislabelled(200, wrong=()))
    before, after = predicted(tmp_path, "before.jsonl", range(20)), predicted(tmp_path, "after.jsonl", range(5, 35))
    for name, path in (("before", before), ("after", after)):
        measured(data, "--predictions", path, "--output", tmp_path / f"{name}.json")
    return {"data": data, "after": after, "old": tmp_path / "before.json", "new": tmp_path / "after.json"}


def test_flips_are_counted_and_broken_rows_come_first(measured, worse):
    found = measured(worse["data"], "--predictions", worse["after"], "--baseline", worse["old"])["baseline"]
    flips = found["flips"]
    assert (flips["fixed"], flips["broken"], flips["changed"]) == (5, 15, 20)
    assert [row["before"] == row["label"] for row in flips["rows"]] == [True] * 15 + [False] * 5
    accuracy = found["metrics"]["accuracy"]
    assert (accuracy["baseline"], accuracy["value"]) == (0.9, 0.85)
    assert accuracy["p"] == pytest.approx(stats.binomtest(5, 20).pvalue)
    assert accuracy["test"] == "exact McNemar"
    assert accuracy["low"] < -0.05 < accuracy["high"] <= 0


@pytest.mark.parametrize(
    ("limit", "strict", "code", "words"),
    [
        (0.15, False, 0, "gate met"),
        (0.15, True, 0, "gate met"),
        (0.03, False, 0, "more rows would settle it"),  # in doubt
        (0.03, True, 1, "more rows would settle it"),
        (0.001, False, 1, "gate NOT met"),  # surely
        (0.001, True, 1, "gate NOT met"),
    ],
)
def test_a_drop_gate_fails_when_it_is_sure_and_strictly_when_in_doubt(
    llmkit, worse, tmp_path, limit, strict, code, words
):
    flags = ("--max-drop", f"accuracy={limit}", *(["--strict"] if strict else []))
    out = tmp_path / "out.json"
    ran = llmkit("eval", worse["data"], "--predictions", worse["after"], "--baseline", worse["old"], *flags, "-o", out)
    assert ran.code == code, ran.err
    assert words in ran.err
    (gate,) = valid(json.loads(out.read_text()))["gates"]
    assert (gate["kind"], gate["value"], gate["met"]) == ("max-drop", pytest.approx(0.05), code == 0)
    compared = llmkit("compare", worse["old"], worse["new"], *flags)
    assert compared.code == code
    assert gate["sentence"] in compared.err


def test_compare_says_what_eval_says_against_the_baseline(llmkit, measured, good, classifier, data, tmp_path):
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    measured(data, "-m", good, "--output", old)
    found = measured(data, "-m", classifier, "--baseline", old, "--output", new)["baseline"]
    ran = llmkit("compare", old, new, "--json")
    assert ran.code == 0
    assert ran.json["metrics"] == found["metrics"]
    assert {key: ran.json["flips"][key] for key in ("fixed", "broken", "changed")} == {
        key: found["flips"][key] for key in ("fixed", "broken", "changed")
    }
    assert (ran.json["before"]["model"], ran.json["after"]["model"]) == (str(good), str(classifier))
    table = llmkit("compare", old, new, "--metric", "accuracy", "--markdown", tmp_path / "c.md")
    assert [line.split("\t")[0] for line in table.out.splitlines()][:2] == ["metric", "accuracy"]
    assert "accuracy" in (tmp_path / "c.md").read_text()
    assert llmkit("compare", old, new, "--metric", "bleu").code == 2


def test_language_models_are_compared_window_by_window(llmkit, measured, llama, models_root, corpus, tmp_path):
    later = tiny.llama_folder(models_root / "llama-2", seed=7)
    line = (corpus, "--limit", "12", "--resamples", "200")
    straight = measured(*line, "-m", llama, "--output", tmp_path / "old.json")
    found = measured(*line, "-m", later, "--baseline", tmp_path / "old.json", "--max-drop", "perplexity=1e9")
    paired = found["baseline"]["metrics"]["perplexity"]
    assert paired["baseline"] == values(straight)["perplexity"]
    assert paired["difference"] == values(found)["perplexity"] - values(straight)["perplexity"]
    assert found["baseline"]["flips"] is None
    worse = later if paired["difference"] > 0 else llama
    better = llama if worse == later else later
    gate = ("--max-drop", "perplexity=0.001", "--strict")
    assert llmkit("eval", *line, "-m", worse, "--baseline", better, *gate).code == 1
    assert llmkit("eval", *line, "-m", worse, "--baseline", worse, *gate).code == 0


# batch invariance


@pytest.fixture
def uneven(tmp_path) -> Path:
    """Reviews of very unlike lengths."""
    rows = [{"text": row["text"], "label": row["label"]} for row in mislabelled()]
    rows[0] = {"text": LONG, "label": "positive"}
    return write_csv(tmp_path / "uneven.csv", rows)


@pytest.mark.parametrize("kind", ["good", "classifier", "decoder", "llama", "masked"])
def test_a_row_is_answered_alike_alone_and_in_company(measured, request, uneven, corpus, kind):
    model = request.getfixturevalue(kind)
    line = (corpus, "--limit", "30") if kind in {"llama", "masked"} else (uneven,)
    found = measured(*line, "-m", model, "--check-invariance", "12")
    checked = found["invariance"]
    assert checked["rows"] >= 4
    assert (checked["changed"], checked["changed_rows"], found["warnings"]) == (0, [], [])
    assert checked["largest_difference"] < 1e-4


def test_padding_that_is_attended_to_is_found(measured, llmkit, classifier, uneven, tmp_path, monkeypatch):
    from llmkit.tasks import text_classification

    model = undecided(classifier, tmp_path / "undecided", [row["text"] for row in mislabelled()])
    original = text_classification.pad_batch

    def careless(rows, tokenizer, kind):
        batch = original(rows, tokenizer, kind)
        return {**batch, "attention_mask": torch.ones_like(batch["attention_mask"])}

    monkeypatch.setattr(text_classification, "pad_batch", careless)
    found = measured(uneven, "-m", model, "--check-invariance", str(ROWS), "--no-cache")
    checked = found["invariance"]
    assert checked["changed"] == len(checked["changed_rows"]) > 0
    assert checked["largest_difference"] > 0.01
    assert all(row["alone"] != row["together"] for row in checked["changed_rows"])
    (warning,) = found["warnings"]
    assert f"{checked['changed']} of {ROWS} rows are predicted otherwise alone" in warning
    ran = llmkit("eval", uneven, "-m", model, "--no-cache", "--check-invariance", "0")
    assert "predicted otherwise" not in ran.err


@pytest.mark.parametrize("kind", ["good", "decoder", "llama", "masked"])
def test_no_figure_moves_with_the_batch_size(measured, request, uneven, corpus, tmp_path, kind):
    model = request.getfixturevalue(kind)
    language = kind in {"llama", "masked"}
    line = (corpus, "--limit", "20") if language else (uneven,)
    found = []
    for size in (1, 3, 32):
        preds = tmp_path / f"{size}.jsonl"
        result = measured(*line, "-m", model, "--batch-size", size, "--save-predictions", preds, "--resamples", "100")
        found.append((values(result), read_jsonl(preds), result["batch_size"]))
    assert [size for _, _, size in found] == [1, 3, 32]
    for figures, rows, _ in found[1:]:
        assert figures == pytest.approx(found[0][0], abs=1e-6, rel=1e-6)
        assert [row["id"] for row in rows] == [row["id"] for row in found[0][1]]
        if language:
            assert [row["nll"] for row in rows] == pytest.approx([row["nll"] for row in found[0][1]], rel=1e-6)
        else:
            assert [row["prediction"] for row in rows] == [row["prediction"] for row in found[0][1]]


# pictures


def test_pictures_are_drawn_of_what_there_is(llmkit, good, llama, data, corpus, tmp_path):
    assert llmkit("eval", data, "-m", good, "--slice", "genre", "--plots", tmp_path / "drawn").code == 0
    names = {"calibration.png", "confusion.png", "metrics.png", "slices.png"}
    assert {path.name for path in (tmp_path / "drawn").iterdir()} == names
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in (tmp_path / "drawn").iterdir())
    assert llmkit("eval", corpus, "-m", llama, "--limit", "4", "--plots", tmp_path / "lm").code == 0
    assert [path.name for path in (tmp_path / "lm").iterdir()] == ["metrics.png"]


def test_finetunes_last_figure_is_what_eval_gives_of_the_run(llmkit, models_root, good):
    """The data of the run: its validation split, in the run's own settings."""
    record = json.loads((good / "run.json").read_text())["result"]
    ran = llmkit("eval", models_root / "data", "-m", good, "--json", "--check-invariance", "0")
    assert ran.code == 0
    same = ("metrics", "per_class", "confusion", "rows_sha256", "n", "seed")
    assert {key: ran.json[key] for key in same} == {key: record[key] for key in same}
    assert lasting(ran.json, "invariance").keys() == lasting(record, "invariance").keys()
