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
        ({"bad": "0", "good": "1"}, "config.json that cannot be used"),
        (["bad", "good"], "config.json that cannot be used"),
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
