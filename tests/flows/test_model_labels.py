"""What the config of a classifier says of its outputs, also where it says something else than the weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

NAMES = ("id2label", "label2id", "num_labels")


def relabelled(classifier: Path, folder: Path, **values: object) -> Path:
    """Copy a classifier with other labels in its config; without any, those of the library."""
    shutil.copytree(classifier, folder)
    config = json.loads((folder / "config.json").read_text())
    kept = {name: value for name, value in config.items() if name not in NAMES}
    (folder / "config.json").write_text(json.dumps(kept | values))
    return folder


@pytest.mark.parametrize(
    ("id2label", "sentence"),
    [
        ({"1": "bad", "2": "good"}, "names its outputs 1: 'bad', 2: 'good' in id2label; a name for each of 0 to 1"),
        ({"0": "bad", "2": "good"}, "0: 'bad', 2: 'good'"),
        ({"0": "bad", "1": None}, "0: 'bad', 1: None"),
        ({"0": "bad"}, "has other weights than its config.json says: classifier.bias is 2, not 1"),
        ({"0": "a", "1": "b", "2": "c"}, "classifier.weight is 2 x 32, not 3 x 32"),
        ({"bad": "0", "good": "1"}, '"1": "another"} is wanted: correct it there'),
        (["bad", "good"], "its id2label is \"['bad', 'good']\", and"),
        ({"0": "same", "1": "same"}, "outputs one name in id2label ('same' is the name of 0, 1)"),
        ({"0": 1, "1": "1 "}, "'1' is the name of 0, 1"),
        ({"0": "bad", "1": ""}, "0: 'bad', 1: ''"),
        ({"0": " ", "1": "good"}, "0: ' ', 1: 'good'"),
        ({"0": ["bad"], "1": {"a": 1}}, "0: ['bad'], 1: {'a': 1}"),
    ],
)
def test_labels_that_are_none_of_the_outputs_are_refused(llmkit, classifier, tmp_path, id2label, sentence):
    ran = llmkit("classify", "a good film", "-m", relabelled(classifier, tmp_path / "model", id2label=id2label))
    assert ran.code == 2
    assert sentence in ran.error
    assert not ran.out


def test_eval_refuses_labels_that_begin_at_one(llmkit, classifier, data, tmp_path):
    ran = llmkit("eval", data, "-m", relabelled(classifier, tmp_path / "model", id2label={"1": "bad", "2": "good"}))
    assert ran.code == 2
    assert "a name for each of 0 to 1 is wanted" in ran.error


@pytest.mark.parametrize("values", [{}, {"id2label": None}, {"id2label": {}}])
@pytest.mark.parametrize("outputs", [2, 3, 5])
def test_outputs_without_names_are_numbered_as_the_library_does(llmkit, classifier, tmp_path, values, outputs):
    model = relabelled(classifier, tmp_path / "model", **values)
    weights = load_file(model / "model.safetensors")
    for name in ("classifier.weight", "classifier.bias"):
        weights[name] = torch.cat([weights[name]] * 3)[:outputs]
    save_file(weights, model / "model.safetensors", {"format": "pt"})
    ran = llmkit("classify", "-m", model, "a good film", "--json")
    assert ran.code == 0, ran.err
    assert sorted(ran.json["scores"]) == [f"LABEL_{number}" for number in range(outputs)]
    assert sum(ran.json["scores"].values()) == pytest.approx(1)


def test_outputs_without_names_are_counted_in_a_pickle_too(llmkit, classifier, tmp_path):
    model = relabelled(classifier, tmp_path / "model")
    weights = load_file(model / "model.safetensors")
    for name in ("classifier.weight", "classifier.bias"):
        weights[name] = torch.cat([weights[name]] * 2)[:3]
    (model / "model.safetensors").unlink()
    torch.save(weights, model / "pytorch_model.bin")
    ran = llmkit("classify", "-m", model, "a good film", "--json")
    assert ran.code == 0, ran.err
    assert sorted(ran.json["scores"]) == ["LABEL_0", "LABEL_1", "LABEL_2"]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"label2id": {"bad": 1, "good": 0}}, "output 0 is 'bad' by id2label, and 'bad' is 1 by label2id"),
        ({"num_labels": 3}, "it names 2 outputs in id2label and has num_labels 3"),
        ({"problem_type": "regression"}, "has 2 outputs and the problem_type regression"),
    ],
)
@pytest.mark.parametrize("command", ["classify", "eval"])
def test_a_config_that_contradicts_itself_is_refused(llmkit, classifier, data, tmp_path, values, sentence, command):
    model = relabelled(classifier, tmp_path / "model", id2label={"0": "bad", "1": "good"}, **values)
    ran = llmkit(command, data if command == "eval" else "a good film", "-m", model)
    assert ran.code == 2
    assert sentence in ran.error
    assert not ran.out


@pytest.mark.parametrize(
    "values",
    [
        {"label2id": {"LABEL_0": 0, "LABEL_1": 1}},
        {"label2id": {"bad": "0", "good": "1"}},
        {"id2label": {"0": "Good", "1": "good"}},
        {"id2label": {"0": "1", "1": "0"}},
        {"id2label": {"0": 5, "1": 7}},
        {"id2label": {"0": "\u597d", "1": "\u574f"}},
    ],
)
def test_the_scores_are_those_of_the_pipeline_of_transformers(llmkit, classifier, tmp_path, values):
    from transformers import pipeline

    model = relabelled(classifier, tmp_path / "model", **{"id2label": {"0": "bad", "1": "good"}, **values})
    ran = llmkit("classify", "-m", model, "a good film", "--json", "--dtype", "float32")
    assert ran.code == 0, ran.err
    reference = pipeline("text-classification", str(model), top_k=None, device="cpu")(["a good film"])[0]
    assert ran.json["scores"] == pytest.approx({str(each["label"]): each["score"] for each in reference}, abs=1e-5)
    assert ran.json["label"] == str(reference[0]["label"])
    assert ran.json["score"] == max(ran.json["scores"].values())


@pytest.mark.parametrize("values", [{"id2label": {"1": "a", "2": "b"}}, {"id2label": {"0": "same", "1": "same"}}])
def test_a_training_gives_the_outputs_new_names(llmkit, classifier, data, tmp_path, values):
    model = relabelled(classifier, tmp_path / "model", **values)
    ran = llmkit("finetune", data, "-m", model, "-o", tmp_path / "run", "--max-steps", "1")
    assert ran.code == 0, ran.err
    made = json.loads((tmp_path / "run" / "config.json").read_text())
    assert sorted(made["id2label"]) == ["0", "1"]
    assert len(set(made["id2label"].values())) == 2
