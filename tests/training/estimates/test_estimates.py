"""What a training takes is known before it begins."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import jsonschema
import pytest
import tiny
from conftest import write_jsonl
from readme import ROOT

from llmkit.options import (
    AdapterOptions,
    DataOptions,
    FinetuneRequest,
    ModelOptions,
    PretrainRequest,
    TrainingOptions,
    TunedRecipeOptions,
)
from llmkit.options.planning import PlanOptions
from llmkit.output.report import Report
from llmkit.training.estimates import formula
from llmkit.training.estimates.batch_size import fitted
from llmkit.training.estimates.estimate import estimate, quick_estimate
from llmkit.training.estimates.memory import Memory
from llmkit.training.estimates.strategies import bytes_per_gpu, choose_strategy
from llmkit.training.estimates.tracked import track
from llmkit.training.forecast import forecast
from llmkit.training.planning import plan

KINDS = [
    (tiny.reviews(20), "encoder", {}),
    (tiny.reviews(20), "encoder", {"adapter": AdapterOptions(lora=True, lora_rank=2)}),
    (tiny.reviews(20), "encoder", {"adapter": AdapterOptions(freeze="all")}),
    (tiny.conversations(20), "assistant", {"recipe": TunedRecipeOptions(checkpoint_activations=True)}),
    (tiny.preferences(20), "llama", {}),
    (tiny.translations(20), "translator", {}),
    (tiny.entities(20), "tagger", {}),
    (tiny.choices(20), "chooser", {}),
    (tiny.conversations(20), "assistant", {"data": DataOptions(packing=True)}),
]


@pytest.fixture
def subject_of(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def make(rows, model, **groups):
        file = write_jsonl(tmp_path / "rows.jsonl", rows)
        request = FinetuneRequest(dataset=[str(file)], model=ModelOptions(model=str(model)), **groups)
        return plan(request, request.identity, {}, Report()).subject

    return make


@pytest.mark.parametrize(("rows", "model", "groups"), KINDS)
def test_the_tracker_knows_the_bytes_of_weights_and_of_the_optimizer(request, subject_of, rows, model, groups):
    subject = subject_of(rows, request.getfixturevalue(model), **groups)
    tracked = track(subject)
    assert tracked.share == subject.spec.share
    assert tracked.step.parts["optimizer"] == pytest.approx(2 * 4 * tracked.share.trained, rel=0.02)
    assert tracked.step.parts["parameters"] >= 4 * tracked.share.total
    assert tracked.step.flops > 0
    assert estimate(subject).source == "one step of the model run without data"


def test_the_formula_gives_what_a_hand_calculates():
    of_model = formula.model_states(1000, 10)
    assert of_model == Memory(parameters=4000, gradients=40, optimizer=80)
    assert formula.flops(1000, 1000, 5, checkpointed=False) == 6 * 1000 * 5
    assert formula.flops(1000, 1000, 5, checkpointed=True) == 8 * 1000 * 5
    assert formula.flops(1000, 0, 5, checkpointed=False) == 4 * 1000 * 5


def test_what_cannot_run_without_data_is_estimated_by_formula(subject_of, encoder, monkeypatch):
    def refuse(subject):
        raise NotImplementedError("of this family")

    monkeypatch.setattr("llmkit.training.estimates.estimate.track", refuse)
    subject = subject_of(tiny.reviews(20), encoder)
    found = estimate(subject)
    assert "by formula" in found.source
    assert "of this family" in found.source
    assert found.memory.optimizer == 8 * found.trained


@pytest.mark.parametrize("strategy", ["fsdp", "deepspeed-zero2", "deepspeed-zero3"])
def test_more_gpus_hold_less_each(subject_of, encoder, strategy):
    known = quick_estimate(subject_of(tiny.reviews(20), encoder))
    held = [bytes_per_gpu(known, strategy, gpus) for gpus in (1, 2, 8, 1000)]
    assert held == sorted(held, reverse=True)
    share = known.memory.optimizer + known.memory.gradients
    assert held[0] - held[3] >= 0.9 * share


def test_the_strategy_is_the_first_that_fits(subject_of, encoder):
    known = quick_estimate(subject_of(tiny.reviews(20), encoder))
    known = replace(known, memory=Memory(process=0), parameters=10**9, trained=10**9, layers=100)
    assert choose_strategy(known, 8, 80 * 10**9)[0] == "ddp"
    assert choose_strategy(known, 8, 8 * 10**9)[0] == "fsdp"
    name, reason = choose_strategy(known, 8, 10**9)
    assert name == "fsdp-offload"
    assert "fits" not in reason


def test_an_automatic_batch_keeps_the_rows_of_a_step(subject_of, encoder):
    subject = subject_of(tiny.reviews(40), encoder, training=TrainingOptions(batch_size="auto"))
    assert (subject.recipe.batch_size, subject.recipe.accumulation) == (16, 1)
    least, most = (estimate(subject.with_batch_size(size)).memory.total for size in (2, 16))
    assert least < most
    recipe, sentence = fitted(subject, round((least + most) / 2 / 0.9))
    assert recipe.batch_size * recipe.accumulation == 16
    assert 1 <= recipe.batch_size < 16
    assert sentence.startswith("--batch-size auto: ")


def test_a_process_holds_its_share_of_a_batch(subject_of, encoder):
    subject = subject_of(tiny.reviews(40), encoder, training=TrainingOptions(batch_size=15))
    shared = track(replace(subject, processes=4))
    lengths = subject.job.encoded_train["length"]
    assert shared.tokens == 4 * max(lengths)  # 15 rows by four are 4, 4, 4 and 3
    assert shared.step.parts["activations"] < track(subject).step.parts["activations"]


def test_what_checkpointing_lets_go_stays_in_the_heap_of_a_cpu(subject_of, assistant):
    twice = TunedRecipeOptions(checkpoint_activations=True)
    known = estimate(subject_of(tiny.conversations(20), assistant, recipe=twice))
    assert known.sentence(10**9).startswith("memory: at most about ")
    assert not estimate(subject_of(tiny.conversations(20), assistant)).upper


def test_plan_prints_a_document(llmkit, tmp_path, encoder):
    file = write_jsonl(tmp_path / "rows.jsonl", tiny.reviews(20))
    ran = llmkit("plan", "--json", "--gpus", 8, "--gpu-memory", 0.001, "finetune", file, "-m", encoder)
    schema = json.loads((ROOT / "llmkit/output/schemas/plan.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(ran.json, schema)
    assert ran.json["fits"] is False
    assert [row["gpus"] for row in ran.json["gpus"]] == [8]
    assert "--checkpoint-activations" in ran.json["remedies"]
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("command", ["finetune", "pretrain"])
def test_the_time_is_that_of_a_few_steps(tmp_path, encoder, command):
    rows = write_jsonl(tmp_path / "rows.jsonl", tiny.reviews(40))
    text = tmp_path / "text.txt"
    text.write_text(tiny.corpus(2000), encoding="utf-8")
    training = TrainingOptions(epochs=2)
    of_command = {
        "finetune": FinetuneRequest(dataset=[str(rows)], model=ModelOptions(model=str(encoder)), training=training),
        "pretrain": PretrainRequest(corpus=[str(text)], training=training),
    }
    result = forecast(of_command[command], PlanOptions(measure_steps=2, price_per_hour=3), Report())
    median, source = re.match(r"(\S+) s a step on this machine, (.*)", result["seconds_source"]).groups()
    assert source.startswith("the median of 2, ")
    assert result["seconds"] == pytest.approx(float(median) * result["steps"], rel=0.01)
    assert result["cost"] == pytest.approx(result["seconds"] / 3600 * 3)
    assert not (tmp_path / "runs").exists()


def test_plan_refuses_what_it_does_not_know(llmkit, tmp_path):
    ran = llmkit("plan", "chat")
    assert ran.code == 2
    assert "finetune" in ran.error


def test_a_dry_run_says_the_memory(llmkit, tmp_path, encoder):
    file = write_jsonl(tmp_path / "rows.jsonl", tiny.reviews(20))
    ran = llmkit("finetune", file, "-m", encoder, "--dry-run", "--batch-size", "auto")
    assert "memory: about" in ran.err
    assert "--batch-size auto: 16 rows" in ran.err
