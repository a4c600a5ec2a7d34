"""Nothing to score, one row, one label, a figure that is not defined: what is so is said, and no flag is blamed."""

from __future__ import annotations

import json

import pytest
import tiny
from conftest import write_jsonl
from evaluating import values
from sklearn.metrics import f1_score, matthews_corrcoef


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A decoder whose tokenizer puts nothing before a text."""
    folder = tiny.llama_folder(tmp_path_factory.mktemp("bare"))
    parts = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    (folder / "tokenizer.json").write_text(json.dumps(parts | {"post_processor": None}), "utf-8")
    return folder


def labelled(folder, labels, predictions, scores=None):
    """A dataset and a file of predictions for its rows."""
    rows = [{"id": number, "text": f"text {number}", "label": label} for number, label in enumerate(labels)]
    guessed = [{"id": number, "prediction": prediction} for number, prediction in enumerate(predictions)]
    if scores is not None:
        guessed = [{**row, "scores": scores} for row in guessed]
    return write_jsonl(folder / "data.jsonl", rows), "--predictions", write_jsonl(folder / "guessed.jsonl", guessed)


@pytest.mark.parametrize("more", [(), ("--metric", "perplexity"), ("--metric", "loss", "--json"), ("--per-row",)])
@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        (["a"], "the only text has one token, and nothing predicts it"),
        (["a", " "], "one token"),
        ([" ", ""], "no usable row of 2"),
    ],
)
def test_texts_without_a_token_to_predict_are_empty(llmkit, bare, tmp_path, texts, sentence, more):
    data = write_jsonl(tmp_path / "data.jsonl", [{"text": text} for text in texts])
    ran = llmkit("eval", data, "-m", bare, "--task", "causal-lm", "--no-cache", *more)
    if len(texts) == 2 and texts[0] == "a" and "--per-row" not in more:
        assert ran.code == 0, ran.err  # joined, the blank row and what stands between are tokens too
        return
    assert ran.code == 5
    assert sentence in ran.err
    assert "--metric" not in ran.err


def test_single_tokens_row_by_row_are_counted(llmkit, bare, tmp_path):
    data = write_jsonl(tmp_path / "data.jsonl", [{"text": "a"}, {"text": "b"}])
    ran = llmkit("eval", data, "-m", bare, "--task", "causal-lm", "--no-cache", "--per-row")
    assert ran.code == 5
    assert "the 2 texts have one token each, and nothing predicts it" in ran.err


@pytest.mark.parametrize(
    ("tokens", "tags", "sentence"),
    [
        ([["", ""]], [["O", "O"]], "no word has a token"),
        ([[" "]], [["B-PER"]], "no word has a token"),
        ([[], []], [[], []], "no row of"),
    ],
)
def test_rows_without_words_are_empty(llmkit, tagger, tmp_path, tokens, tags, sentence):
    rows = [{"tokens": words, "ner_tags": row} for words, row in zip(tokens, tags, strict=True)]
    ran = llmkit("eval", write_jsonl(tmp_path / "data.jsonl", rows), "-m", tagger, "--no-cache")
    assert ran.code == 5, ran.err
    assert sentence in ran.err


def test_a_file_without_labels_is_empty_and_no_split_is_asked_for(llmkit, classifier, tmp_path):
    data = write_jsonl(tmp_path / "data.jsonl", [{"text": "x", "label": None}, {"text": "y", "label": None}])
    ran = llmkit("eval", data, "-m", classifier, "--column", "label=label", "--column", "text=text")
    assert ran.code == 5
    assert "--split" not in ran.err


@pytest.mark.parametrize(
    ("labels", "predictions", "accuracy", "said"),
    [
        (["neg"] * 4, ["neg"] * 4, 1.0, ""),
        (["neg"] * 4, ["neg", "pos", "neg", "neg"], 0.75, "the predictions name 'pos' besides"),
        ([0] * 4, [0, 1, 0, 0], 0.75, "the predictions name '1' besides"),
        ([0] * 4, ["LABEL_0", "LABEL_1", "LABEL_0", "LABEL_0"], 0.75, "'1' besides"),
        (["差"] * 3, ["差"] * 3, 1.0, ""),
        (["neg"], ["neg"], 1.0, ""),
    ],
)
def test_rows_of_one_label_are_scored_as_a_model_is(llmkit, tmp_path, labels, predictions, accuracy, said):
    ran = llmkit("eval", *labelled(tmp_path, labels, predictions), "--metric", "accuracy", "--json")
    assert ran.code == 0, ran.err
    assert values(ran.json)["accuracy"] == accuracy
    assert said in ran.err
    assert "training" not in ran.err


@pytest.mark.parametrize("prediction", ["", {"neg": 1}, None])
def test_what_is_no_label_is_none_where_rows_have_one_label(llmkit, tmp_path, prediction):
    assert llmkit("eval", *labelled(tmp_path, ["neg"] * 2, ["neg", prediction])).code == 2


def test_the_usual_figures_of_one_label_are_those_of_scikit_learn(llmkit, tmp_path):
    ran = llmkit("eval", *labelled(tmp_path, ["neg"] * 4, ["neg"] * 4), "--json")
    assert values(ran.json)["f1"] == f1_score(["neg"] * 4, ["neg"] * 4, average="macro")
    assert values(ran.json)["matthews_correlation"] == matthews_corrcoef(["neg"] * 4, ["neg"] * 4)


def test_scores_of_one_label_bring_the_other_and_what_is_undefined_is_explained(llmkit, tmp_path):
    arguments = labelled(tmp_path, ["neg"] * 4, ["neg"] * 4, {"neg": 0.9, "pos": 0.1})
    ran = llmkit("eval", *arguments, "--metric", "roc_auc", "--metric", "brier", "--json")
    assert ran.code == 0, ran.err
    assert values(ran.json)["brier"] == pytest.approx(0.01)
    assert values(ran.json)["roc_auc"] is None
    assert ran.json["warnings"] == [
        "roc_auc: not defined of these rows, for all of them are 'neg', and two classes are wanted"
    ]
    gated = llmkit("eval", *arguments, "--fail-under", "roc_auc=0.5")
    assert gated.code == 1
    assert "roc_auc is not a number" in gated.err


def test_a_gate_on_what_predictions_do_not_give_names_the_gate(llmkit, tmp_path):
    ran = llmkit("eval", *labelled(tmp_path, ["neg", "pos"], ["neg", "pos"]), "--fail-under", "roc_auc=0.5")
    assert ran.code == 2
    assert "--fail-under roc_auc: these rows give nothing to compute it from" in ran.err
    assert "--metric" not in ran.err


@pytest.mark.parametrize(
    ("labels", "predictions", "reason"),
    [
        ([1.5] * 3, [1.0, 1.5, 2.0], "the labels are all the same number"),
        ([1.5, 2.5, 3.5], [1.0] * 3, "the predictions are all the same number"),
        ([1.5], [1.0], "one row has no correlation"),
    ],
)
def test_a_correlation_that_is_not_defined_is_explained_and_fails_its_gate(
    llmkit, tmp_path, labels, predictions, reason
):
    arguments = labelled(tmp_path, labels, predictions)
    ran = llmkit("eval", *arguments, "--regression", "--json")
    assert ran.code == 0, ran.err
    assert values(ran.json)["pearson"] is None
    assert f"pearson, spearman: not defined of these rows, for {reason}" in ran.json["warnings"]
    assert llmkit("eval", *arguments, "--regression", "--fail-under", "pearson=0.1").code == 1


@pytest.mark.parametrize("drops", [("f1=0.01",), ("f1=0.01", "accuracy=0.1")])
def test_one_row_has_no_interval_to_judge_a_drop_by(llmkit, classifier, tmp_path, drops):
    data = write_jsonl(tmp_path / "one.jsonl", [{"text": "good", "label": "positive"}])
    base = tmp_path / "base.json"
    assert llmkit("eval", data, "-m", classifier, "-o", base).code == 0
    flags = [part for drop in drops for part in ("--max-drop", drop)]
    ran = llmkit("eval", data, "-m", classifier, "--baseline", base, *flags)
    assert ran.code == 2
    assert "one row has none" in ran.err
    assert "--resamples" not in ran.err
    off = llmkit("eval", data, "-m", classifier, "--baseline", base, *flags, "--resamples", 0)
    assert "--resamples 0 turns them off" in off.err


@pytest.mark.parametrize("labels", ["blue,blue", "blue, blue ,red", "e\u0301,\u00e9"])
def test_labels_named_twice_are_refused(llmkit, llama, labels):
    ran = llmkit("classify", "sky", "-m", llama, "--labels", labels)
    assert ran.code == 2
    assert "twice" in ran.err


@pytest.mark.parametrize("second", ["blue", " blue "])
def test_choices_given_twice_are_refused_on_the_command_line_and_in_a_file(llmkit, llama, tmp_path, second):
    ran = llmkit("classify", "sky", "-m", llama, "--choice", "blue", "--choice", second)
    assert ran.code == 2
    assert "--choice 'blue' is given twice" in ran.err
    rows = write_jsonl(tmp_path / "rows.jsonl", [{"question": "sky", "choices": ["blue", second]}])
    ran = llmkit("classify", "--input", rows, "-m", llama, "--task", "multiple-choice")
    assert ran.code == 2
    assert "row 1: two of its choices are 'blue'" in ran.err


LABELS = {
    "ru": ("спорт,политика", "Это {}."),
    "ar": ("رياضة،سياسة", "هذا {}."),
    "hi": ("खेल,राजनीति", "यह {} है।"),
    "th": ("กีฬา,การเมือง", "นี่คือ{}"),
    "ja": ("スポーツ、政治", "これは{}です。"),
    "ko": ("스포츠,정치", "이것은 {}이다."),
    "zh": ("体育\uff0c政治", "这是{}。"),
    "de": ("Sport,Politik", "Das ist {}."),
}


@pytest.mark.parametrize("language", LABELS)
def test_labels_of_any_script_are_told_apart_and_their_scores_add_up(llmkit, llama, language):
    labels, template = LABELS[language]
    ran = llmkit("classify", "Köln 서울 Москва", "-m", llama, "--labels", labels, "--template", template, "--json")
    assert ran.code == 0, ran.err
    (row,) = ran.rows
    assert len(row["scores"]) == 2
    assert sum(row["scores"].values()) == pytest.approx(1)
    assert row["label"] == max(row["scores"], key=row["scores"].get)
