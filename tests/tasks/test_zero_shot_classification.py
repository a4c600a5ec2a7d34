from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch
from conftest import write_jsonl
from evaluating import Files, read_jsonl, values
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

TASK = ("--task", "zero-shot-classification")
LABELS = ["good", "bad", "warm soup"]


@pytest.fixture(scope="module")
def nli(tmp_path_factory):
    """A random BERT for natural language inference."""
    return tiny.bert_folder(tmp_path_factory.mktemp("nli"), ["contradiction", "neutral", "entailment"])


def compared(folder, text: str, labels: list[str]) -> np.ndarray:
    """log P(label | text) - log P(label | no text), by transformers alone, one at a time."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()

    def likelihood(before: str, label: str) -> float:
        begin = len(tokenizer(before.rstrip())["input_ids"])
        ids = tokenizer(before + label, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            logs = torch.log_softmax(model(ids).logits[0].double(), -1)
        return float(sum(logs[place - 1, ids[0, place]] for place in range(begin, ids.shape[1])))

    return np.array([likelihood(f"{text}\nTopic: ", one) - likelihood("\nTopic: ", one) for one in labels])


def test_an_nli_model_equals_transformers_own_pipeline(llmkit, nli):
    texts = ["the fox was happy and warm", "the king was cruel"]
    ran = llmkit("classify", *texts, "-m", nli, "--labels", ",".join(LABELS), "--json")
    assert ran.code == 0, ran.err
    own = pipeline("zero-shot-classification", model=str(nli), tokenizer=str(nli))
    for row, plain in zip(ran.rows, own(texts, LABELS)):
        assert row["method"] == "nli"
        assert list(row["scores"]) == plain["labels"]
        np.testing.assert_allclose(list(row["scores"].values()), plain["scores"], atol=1e-5)


def test_a_decoder_compares_likelihoods_with_and_without_the_text(llmkit, llama):
    text = "the fox was happy and warm"
    row = llmkit("classify", text, "-m", llama, "--labels", ",".join(LABELS), "--json").rows[0]
    plain = compared(llama, text, LABELS)
    chances = np.exp(plain - plain.max()) / np.exp(plain - plain.max()).sum()
    assert row["method"] == "likelihood"
    np.testing.assert_allclose([row["scores"][name] for name in LABELS], chances, atol=1e-4)
    top = llmkit("classify", text, "-m", llama, "--labels", ",".join(LABELS), "--top", 1, "--json").rows[0]
    assert top["scores"] == {row["label"]: row["score"]}


@pytest.mark.parametrize("model", ["nli", "llama"])
def test_a_dataset_is_measured_with_its_own_labels_or_better_names(llmkit, request, model, tmp_path):
    folder, files = request.getfixturevalue(model), Files(tmp_path)
    data = write_jsonl(tmp_path / "rows.jsonl", tiny.reviews(24))
    ran = llmkit("eval", data, "-m", folder, *TASK, *files.flags, "--json", "--fail-under", "accuracy=0")
    assert ran.code == 0, ran.err
    assert ran.json["headline"] == "accuracy"
    assert set(ran.json["per_class"]) == {"negative", "positive"}
    texts = [row["text"] for row in tiny.reviews(24)]
    said = llmkit("classify", *texts, "-m", folder, "--labels", "negative,positive", "--json").rows
    assert [row["prediction"] for row in files.rows] == [row["label"] for row in said]
    renamed = llmkit("eval", data, "-m", folder, "--labels", "bad and sad,good", "--json", "--no-cache")
    assert renamed.code == 0, renamed.err
    assert set(renamed.json["per_class"]) == {"negative", "positive"}
    again = llmkit("classify", *texts, "-m", folder, "--labels", "bad and sad,good", "--json").rows
    right = [row["label"] for row in tiny.reviews(24)]
    guessed = [{"bad and sad": "negative", "good": "positive"}[row["label"]] for row in again]
    assert values(renamed.json)["accuracy"] == pytest.approx(np.mean([a == b for a, b in zip(right, guessed)]))
    by_file = llmkit("eval", data, "--predictions", files.predictions, "--json")
    assert values(by_file.json)["accuracy"] == values(ran.json)["accuracy"]


def test_files_blank_texts_and_chinese_labels(llmkit, on_terminal, nli, tmp_path):
    source = write_jsonl(tmp_path / "t.jsonl", [{"n": 1, "text": "狐狸"}, {"n": 2, "text": " "}])
    flags = ("-m", nli, "--labels", "动物,房子", "--template", "这是{}。")
    assert llmkit("classify", "-i", source, "-o", tmp_path / "o.jsonl", *flags).code == 0
    first, blank = read_jsonl(tmp_path / "o.jsonl")
    assert set(first["scores"]) == {"动物", "房子"}
    assert blank["label"] is None
    assert "房子" in on_terminal("classify", "狐狸", *flags).out


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--labels", "one"), "two or more names"),
        (TASK, "--labels"),
        (("--labels", "a,b", "--template", "no place"), "--template must hold {} once"),
    ],
)
def test_what_cannot_be_asked_is_a_sentence(llmkit, nli, flags, sentence):
    ran = llmkit("classify", "the fox", "-m", nli, *flags)
    assert ran.code == 2
    assert sentence in ran.error


def test_models_and_labels_that_do_not_fit_are_sentences(llmkit, nli, classifier, masked, tmp_path):
    for model in (classifier, masked):
        ran = llmkit("classify", "the fox", "-m", model, "--labels", "a,b")
        assert ran.code == 2
        assert "zero-shot-classification" in ran.error
    data = write_jsonl(tmp_path / "rows.jsonl", tiny.reviews(8))
    ran = llmkit("eval", data, "-m", nli, "--labels", "a,b,c")
    assert ran.code == 2
    assert "--labels names 3 labels, and the dataset has 2: negative, positive" in ran.error
    ran = llmkit("finetune", data, "-m", nli, "-o", tmp_path / "run", "--labels", "a,b")
    assert ran.code == 2
    assert "--labels" in ran.error
