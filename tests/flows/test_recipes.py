"""How a run is trained beyond the usual, judged by the curves it leaves and by PyTorch, scikit-learn, transformers."""

from __future__ import annotations

import json
import math
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch
import transformers
from conftest import write_csv, write_jsonl
from datasets import Dataset
from safetensors.torch import load_file
from signalling import Signalling
from sklearn.utils.class_weight import compute_class_weight
from torch.nn.functional import cross_entropy
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    get_cosine_schedule_with_warmup,
)
from transformers.trainer_pt_utils import LabelSmoother

from llmkit.errors import Stopped
from llmkit.options import ModelOptions, RunOptions, TrainingOptions, TunedRecipeOptions
from llmkit.runs import RunFolder
from llmkit.tasks import TASKS, TaskSettings
from llmkit.training.finetuning import finetune
from llmkit.training.loop.arguments import arguments
from llmkit.training.loop.callbacks import out_of_patience
from llmkit.training.loop.losses import Loss
from llmkit.training.loop.recipe import Recipe, balanced_weights
from llmkit.training.loop.trainer import TaskTrainer

CPU = torch.device("cpu")


def lopsided(rows: int) -> list[dict[str, str]]:
    """Reviews of which one in four is positive."""
    return [row for number, row in enumerate(tiny.reviews(2 * rows)) if number % 4 in (0, 2) or number % 8 == 1][:rows]


@pytest.fixture
def texts(tmp_path) -> Path:
    return write_jsonl(tmp_path / "texts.jsonl", [{"text": line} for line in tiny.corpus(160).split("\n\n")])


@pytest.fixture
def trained(llmkit, monkeypatch):
    """Run llmkit up to the saved model, which is not measured: the test looks at the curve."""
    monkeypatch.setattr("llmkit.training.jobs.conclude", lambda *given: None)

    def run(*arguments: object):
        ran = llmkit("finetune", *arguments)
        assert ran.code == 0, ran.err
        return ran

    return run


def curve(run: Path, name: str = "loss") -> list[float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line[name] for line in lines if name in line]


def run_record(run: Path) -> dict:
    return json.loads((run / "run.json").read_text())


@pytest.mark.parametrize("task", ["classes", "numbers", "tokens"])
def test_eight_rows_twice_learn_as_sixteen_do_whatever_the_loss_is_a_mean_of(trained, request, tmp_path, task):
    scores = [{"text": row["text"], "label": str(0.5 + len(row["text"]) / 20)} for row in tiny.reviews(60)]
    data, model, more = {
        "classes": (write_csv(tmp_path / "a.csv", lopsided(60)), "classifier", ("--class-weight", "balanced")),
        "numbers": (write_csv(tmp_path / "b.csv", scores), "classifier", ()),
        "tokens": (
            write_jsonl(tmp_path / "d.jsonl", tiny.translations(60)),
            "translator",
            ("--label-smoothing", "0.1"),
        ),
    }[task]
    flags = (data, "-m", request.getfixturevalue(model), "--epochs", "1", *more)
    for name, size in (("whole", ("--batch-size", "16")), ("parts", ("--batch-size", "8", "--accumulate", "2"))):
        trained(*flags, *size, "-o", tmp_path / name)
    assert len(curve(tmp_path / "whole")) == 4  # 54 rows: the last step has 6
    assert curve(tmp_path / "parts") == pytest.approx(curve(tmp_path / "whole"), rel=2e-4)
    whole, parts = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    for name in whole:
        torch.testing.assert_close(whole[name], parts[name], rtol=0, atol=2e-4, msg=name)


def test_class_weights_and_smoothing_give_the_loss_of_pytorch_with_the_weights_of_scikit_learn(
    trained, classifier, tmp_path
):
    rows = lopsided(40)
    write_csv(tmp_path / "data" / "train.csv", rows)
    write_csv(tmp_path / "data" / "validation.csv", tiny.reviews(8, seed=1))
    flags = ("--max-steps", "1", "--batch-size", "40", "--class-weight", "balanced", "--label-smoothing", "0.1")
    ran = trained(tmp_path / "data", "-m", classifier, "-o", tmp_path / "run", *flags)
    labels = [int(row["label"] == "positive") for row in rows]
    weights = compute_class_weight("balanced", classes=np.array([0, 1]), y=labels)
    assert balanced_weights(np.bincount(labels).tolist()) == pytest.approx(weights.tolist())
    assert f"class weights: negative {weights[0]:.3g}, positive {weights[1]:.3g} (balanced)" in ran.err
    assert "label smoothing 0.1, balanced class weights" in ran.err
    model = AutoModelForSequenceClassification.from_pretrained(classifier)
    tokenizer = AutoTokenizer.from_pretrained(classifier)
    logits = model(**tokenizer([row["text"] for row in rows], padding=True, return_tensors="pt")).logits
    criterion = torch.nn.CrossEntropyLoss(weight=torch.tensor(weights).float(), label_smoothing=0.1)
    assert curve(tmp_path / "run") == [pytest.approx(criterion(logits, torch.tensor(labels)).item(), abs=1e-5)]
    kept = run_record(tmp_path / "run")
    assert kept["recipe"]["class_weights"] == pytest.approx(weights.tolist())
    assert (kept["options"]["class_weight"], kept["options"]["label_smoothing"]) == ("balanced", 0.1)


def test_a_class_without_rows_does_not_change_the_weights_of_the_others():
    assert balanced_weights([30, 0, 10]) == pytest.approx(
        (*compute_class_weight("balanced", classes=np.array([0, 2]), y=[0] * 30 + [2] * 10)[:1], 1.0, 2.0)
    )


def test_smoothing_of_a_language_model_is_that_of_transformers(llama):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(llama), AutoTokenizer.from_pretrained(llama)
    batch = dict(tokenizer([*tiny.SENTENCES[:3], "the fox"], padding=True, return_tensors="pt"))
    batch["labels"] = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    (smoothed,) = Loss(0.2).terms(TASKS["causal-lm"], model, batch)
    expected = LabelSmoother(0.2)(model(**batch), batch["labels"], shift_labels=True)
    assert smoothed.item() == pytest.approx(expected.item(), abs=1e-5)
    logits, goals = model(**batch).logits[:, :-1], batch["labels"][:, 1:]
    assert smoothed.item() != pytest.approx(cross_entropy(logits.flatten(0, 1), goals.flatten()).item(), abs=1e-2)


def test_activations_that_are_computed_twice_change_no_loss(trained, texts, llama, tmp_path, monkeypatch):
    flags = (texts, "-m", llama, "--max-steps", "3", "--batch-size", "4")
    called = []
    original = torch.utils.checkpoint.checkpoint

    def counted(*arguments, **more):
        called.append(more["use_reentrant"])
        return original(*arguments, **more)

    monkeypatch.setattr("torch.utils.checkpoint.checkpoint", counted)
    monkeypatch.setattr("transformers.modeling_utils.checkpoint", counted)
    trained(*flags, "-o", tmp_path / "kept")
    assert not called
    trained(*flags, "-o", tmp_path / "twice", "--checkpoint-activations")
    assert called == [False] * 6  # two layers in three steps
    assert curve(tmp_path / "twice") == pytest.approx(curve(tmp_path / "kept"), abs=1e-6)


@pytest.mark.parametrize("family", ["bert", "llama", "gpt2", "t5"])
def test_weight_decay_spares_norms_and_biases_and_nothing_else(classifier, tmp_path, family):
    sizes = {"num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 8}
    config = AutoConfig.for_model(family, vocab_size=9, **sizes)
    network = {"bert": "AutoModelForSequenceClassification", "t5": "AutoModelForSeq2SeqLM"}
    model = getattr(transformers, network.get(family, "AutoModelForCausalLM")).from_config(config)
    recipe = Recipe(1.0, 1, 1, 1e-3, 0, 1, weight_decay=0.25)
    row = Dataset.from_dict({"length": [1]})
    job = SimpleNamespace(
        task=TASKS["text-classification"],
        loop_settings=(TaskSettings({}, 8), TaskSettings({}, 8)),
        tokenizer=AutoTokenizer.from_pretrained(classifier),
        encoded_train=row,
        encoded_validation=row,
        run=RunOptions(),
    )
    args = arguments(recipe, 1, RunFolder(tmp_path), {}, CPU, "f1")
    trainer = TaskTrainer(job, Loss(), recipe.batch_size, model=model, args=args)
    decays = {
        group["weight_decay"]: {id(weights) for weights in group["params"]}
        for group in trainer.create_optimizer().param_groups
    }
    matrices = {  # embeddings among them; T5 adds those of relative positions as a bias
        id(weights) for name, weights in model.named_parameters() if weights.dim() > 1 and "attention_bias" not in name
    }
    assert decays == {0.25: matrices, 0.0: {id(weights) for weights in model.parameters()} - matrices}


def test_the_schedule_is_followed_said_and_recorded(trained, reviews, classifier, tmp_path):
    run = tmp_path / "run"
    flags = ("--schedule", "cosine", "--warmup", "2", "--weight-decay", "0.2", "--accumulate", "2", "--patience", "3")
    steps = ("--max-steps", "6", "--batch-size", "4", "--learning-rate", "0.01")
    ran = trained(reviews, "-m", classifier, "-o", run, *steps, *flags)
    assert (
        "training: 6 steps = 6 steps of 8 (2 x 4) rows, learning rate 0.01 (cosine), float32, seed 42, "
        "warmup 2 steps, weight decay 0.2, stopping after 3 measurements without a better f1\n"
    ) in ran.err
    assert "warning: --patience 3 stops nothing: it is measured 3 times" in ran.err
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.01)
    schedule = get_cosine_schedule_with_warmup(optimizer, 2, 6)
    rates = []
    for _ in range(6):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert curve(run, "learning_rate") == pytest.approx(rates)
    recipe = run_record(run)["recipe"]
    assert {name: recipe[name] for name in ("schedule", "warmup", "weight_decay", "accumulation", "patience")} == {
        "schedule": "cosine",
        "warmup": 2.0,
        "weight_decay": 0.2,
        "accumulation": 2,
        "patience": 3,
    }


@pytest.mark.parametrize(
    ("values", "patience", "stops"),
    [
        ([0.5, 0.6, 0.55, 0.58], 2, True),
        ([0.5, 0.6, 0.55, 0.61], 2, False),
        ([0.5, 0.6, 0.6], 1, True),  # as good is no better
        ([0.5], 1, False),
        ([math.nan, 0.2], 1, False),
        ([0.2, math.nan], 1, True),
        ([0.5, 0.4, 0.3, 0.2], None, False),
    ],
)
@pytest.mark.parametrize("rising", [True, False])
def test_patience_ends_with_so_many_measurements_without_a_better_one(tmp_path, values, patience, stops, rising):
    args = arguments(Recipe(1.0, 1, 1, 1e-3, 0, 1), 1, RunFolder(tmp_path), {}, CPU, "f1" if rising else "loss")
    name = "eval_f1" if rising else "eval_loss"
    history = [line for value in values for line in ({"loss": 1.0}, {name: value if rising else -value})]
    assert out_of_patience(history, args, patience) is stops


def test_a_run_out_of_patience_keeps_its_best_and_one_that_was_stopped_ends_at_the_same_step(
    texts, llama, tmp_path, monkeypatch
):
    monkeypatch.setattr("llmkit.training.jobs.conclude", lambda job, fit, *others: fit)
    hyper = TrainingOptions(
        learning_rate=0.6, max_steps=12, batch_size=4, set=["eval_steps=1", "save_steps=1", "logging_steps=1"]
    )
    recipe = TunedRecipeOptions(patience=3, schedule="constant")

    def train(run: Path, report=None):
        return finetune(
            str(texts),
            ModelOptions(model=str(llama)),
            training_options=hyper,
            run=RunOptions(output=run),
            report=report,
            recipe=recipe,
        )

    straight = train(tmp_path / "straight")
    values = curve(tmp_path / "straight", "eval_perplexity")
    best = values.index(min(values)) + 1
    assert (straight.steps, straight.best_step) == (best + 3, best)
    assert best + 3 < 12, "the run must stop early, or this test shows nothing"
    saved = (tmp_path / "straight" / "model.safetensors").read_bytes()
    kept = tmp_path / "straight" / "checkpoints" / f"checkpoint-{best}" / "model.safetensors"
    assert saved == kept.read_bytes()
    with pytest.raises(Stopped):
        train(tmp_path / "stopped", Signalling(best + 3, signal.SIGINT))
    resumed = train(tmp_path / "stopped")
    assert resumed.steps == best + 3
    assert curve(tmp_path / "stopped", "eval_perplexity") == values
    assert (tmp_path / "stopped" / "model.safetensors").read_bytes() == saved
