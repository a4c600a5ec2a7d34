"""llmkit merge: the merged folder, its comparison with the adapter, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import tiny
import torch
from conftest import write_csv, write_jsonl
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from llmkit import models
from llmkit.options import AdapterOptions, RunOptions, TrainingOptions
from llmkit.training.finetuning import finetune

STEPS = ("--max-steps", "3", "--batch-size", "8", "--json")


@pytest.fixture(scope="session")
def made(models_root, classifier) -> Path:
    """An adapter of the random classifier."""
    data = write_csv(models_root / "for-adapter.csv", tiny.reviews(48))
    finetune(
        str(data),
        str(classifier),
        training_options=TrainingOptions(max_steps=6, learning_rate=0.02),
        run=RunOptions(output=models_root / "adapter"),
        adapter=AdapterOptions(lora=True),
    )
    return models_root / "adapter"


@pytest.fixture
def adapter(made, tmp_path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(made, tmp_path / "adapter", ignore=shutil.ignore_patterns("checkpoints")))


def test_the_merged_folder_is_the_plain_model_that_peft_would_make(llmkit, adapter, classifier, tmp_path):
    out = tmp_path / "merged"
    ran = llmkit("merge", adapter, "-o", out)
    assert ran.code == 0, ran.err
    assert ran.out.splitlines()[0] == "agreement: 1.0000 (16 of 16 answers as before)"
    assert not list(out.glob("adapter_*"))
    assert "llmkit_base" not in (out / "config.json").read_text()
    model, found = AutoModelForSequenceClassification.from_pretrained(out, output_loading_info=True)
    assert not any(found.values())
    base = AutoModelForSequenceClassification.from_pretrained(classifier)
    expected = PeftModel.from_pretrained(base, str(adapter)).merge_and_unload().state_dict()
    saved = model.state_dict()
    assert expected.keys() == saved.keys()
    assert all(torch.allclose(expected[name], saved[name], atol=1e-7) for name in saved)


def test_merged_answers_and_figures_are_those_of_the_adapter(llmkit, adapter, reviews, tmp_path):
    out = tmp_path / "merged"
    assert llmkit("merge", adapter, "-o", out).code == 0
    before, after = (llmkit("classify", "-i", reviews / "validation.csv", "-m", model).rows for model in (adapter, out))
    assert [row["label"] for row in before] == [row["label"] for row in after]
    for one, other in zip(before, after, strict=True):
        assert one["score"] == pytest.approx(other["score"], abs=1e-5)
    before, after = (llmkit("eval", reviews, "-m", model, "--json").json["metrics"] for model in (adapter, out))
    assert {name: figure["value"] for name, figure in before.items()} == {
        name: pytest.approx(figure["value"], abs=1e-5) for name, figure in after.items()
    }


def test_the_comparison_is_json_and_written_down(llmkit, adapter, classifier, tmp_path):
    out = tmp_path / "merged"
    ran = llmkit("merge", adapter, "-o", out, "--json")
    (told,) = ran.rows
    assert told["agreement"] == 1.0
    assert (told["prompts"], told["equal"], told["differing"]) == (16, 16, [])
    assert told["largest_difference"] < 1e-4
    assert (told["adapter"], told["base"], told["model"]) == (str(adapter), str(classifier), str(out))
    record = json.loads((out / "run.json").read_text())
    assert (record["command"], record["task"]) == ("merge", "text-classification")
    assert record["merged"] == told


def test_prompts_come_from_a_file(llmkit, adapter, tmp_path):
    lines = tmp_path / "prompts.txt"
    lines.write_text("the film was good\nthe soup was cold\nthe king was kind\n")
    ran = llmkit("merge", adapter, "-o", tmp_path / "a", "--prompts", lines, "--limit", "2", "--json")
    assert (ran.code, ran.json["prompts"]) == (0, 2)
    rows = write_csv(tmp_path / "rows.csv", [{"id": 1, "body": "good film"}, {"id": 2, "body": "bad film"}])
    ran = llmkit("merge", adapter, "-o", tmp_path / "b", "--prompts", rows, "--column", "text=body", "--json")
    assert (ran.code, ran.json["prompts"]) == (0, 2)
    ran = llmkit("merge", adapter, "-o", tmp_path / "c", "--prompts", rows, "--column", "txt=body")
    assert ran.code == 2
    assert "did you mean 'text'" in ran.error


@pytest.mark.parametrize(("least", "code"), [("1", 1), ("0.5", 1), ("0", 0)])
def test_answers_that_differ_fail_below_the_least_agreement(llmkit, adapter, tmp_path, monkeypatch, least, code):
    original, out = models.save, tmp_path / "merged"

    def spoiled(model, tokenizer, folder):
        original(model, tokenizer, folder)
        weights = load_file(folder / "model.safetensors")
        weights["classifier.bias"] = weights["classifier.bias"] + torch.tensor([30.0, -30.0])
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    monkeypatch.setattr(models, "save", spoiled)
    ran = llmkit("merge", adapter, "-o", out, "--min-agreement", least, "--json")
    assert ran.code == code
    assert ran.json["agreement"] == 0.0
    assert ran.json["differing"][0].keys() == {"prompt", "before", "after"}
    assert ("--min-agreement" in ran.err) == (code == 1)
    assert (out / "model.safetensors").is_file()


def test_a_dry_run_checks_everything_and_writes_nothing(llmkit, adapter, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    ran = llmkit("merge", adapter, "-o", tmp_path / "merged", "--dry-run", "--json")
    assert (ran.code, ran.out) == (0, "")
    assert "dry run" in ran.err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_is_not_empty_is_kept_unless_it_is_to_be_replaced(llmkit, adapter, classifier, tmp_path):
    out = tmp_path / "merged"
    assert llmkit("merge", adapter, "-o", out).code == 0
    refused = llmkit("merge", adapter, "-o", out)
    assert refused.code == 2
    assert "--overwrite" in refused.error
    assert llmkit("merge", adapter, "-o", out, "--overwrite").code == 0
    for taken in (adapter, classifier):
        refused = llmkit("merge", adapter, "-o", taken, "--overwrite")
        assert refused.code == 2
        assert "--output" in refused.error
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    refused = llmkit("merge", adapter, "-o", tmp_path / "mine", "--overwrite")
    assert (refused.code, (tmp_path / "mine" / "notes.txt").read_text()) == (2, "mine")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--min-agreement", "1.5"), ("--min-agreement", "between 0 and 1")),
        (("--prompts", "absent.txt"), ("--prompts", "absent.txt")),
        (("--limit", "3"), ("--limit", "--prompts")),
        (("--batch-size", "0"), ("--batch-size", "at least 1")),
    ],
)
def test_a_wrong_flag_is_one_sentence(llmkit, adapter, tmp_path, flags, words):
    ran = llmkit("merge", adapter, "-o", tmp_path / "merged", *flags)
    assert ran.code == 2
    assert all(word in ran.error for word in words)
    assert not (tmp_path / "merged").exists()


def test_a_plain_model_and_another_base_are_refused(llmkit, adapter, classifier, encoder, tmp_path):
    plain = llmkit("merge", classifier, "-o", tmp_path / "merged")
    assert plain.code == 2
    assert "plain model" in plain.error
    assert "adapter_config.json" in plain.error
    other = llmkit("merge", adapter, "-m", encoder, "-o", tmp_path / "merged")
    assert other.code == 2
    assert "made on other weights" in other.error
    assert not (tmp_path / "merged").exists()


def test_a_language_model_is_compared_on_its_greedy_continuations(llmkit, llama, tmp_path):
    texts = write_jsonl(tmp_path / "texts.jsonl", [{"text": line} for line in tiny.corpus(80).split("\n\n")])
    run, out = tmp_path / "run", tmp_path / "merged"
    trained = llmkit("finetune", texts, "-m", llama, "-o", run, "--lora", "--learning-rate", "0.05", *STEPS)
    assert trained.code == 0, trained.err
    assert llmkit("merge", run, "-o", out, "--json").json["agreement"] == 1.0
    told = [llmkit("generate", "the fox was", "-m", model, "--max-new-tokens", "12").out for model in (run, out)]
    assert told[0] == told[1]


def test_of_words_no_difference_in_numbers_is_told(llmkit, llama, tmp_path):
    texts = write_jsonl(tmp_path / "texts.jsonl", [{"text": line} for line in tiny.corpus(40).split("\n\n")])
    assert llmkit("finetune", texts, "-m", llama, "-o", tmp_path / "run", "--lora", *STEPS).code == 0
    ran = llmkit("merge", tmp_path / "run", "-o", tmp_path / "merged")
    assert (ran.code, ran.out) == (0, "agreement: 1.0000 (16 of 16 answers as before)\n")
    assert json.loads((tmp_path / "merged" / "run.json").read_text())["merged"]["largest_difference"] is None
