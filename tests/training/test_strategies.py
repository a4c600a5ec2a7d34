"""--strategy: what each asks of accelerate, where it is refused, and that one training comes to the same under each."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import divided_training
import pytest
import tiny
import torch
from accelerate import state
from conftest import write_jsonl
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, TrainingArguments

import llmkit
from llmkit.errors import OptionError
from llmkit.options import (
    AdapterOptions,
    FinetuneRequest,
    ModelOptions,
    RunOptions,
    TrainingOptions,
    TunedRecipeOptions,
)
from llmkit.output.report import Report
from llmkit.training.loop import checkpoints, strategies
from llmkit.training.loop.arguments import checked_overrides

CPU, GPU = torch.device("cpu"), torch.device("cuda")
SCRIPT = Path(divided_training.__file__)


@pytest.fixture
def fsdp_on_cpu(monkeypatch):
    monkeypatch.setattr(state.AcceleratorState, "__init__", divided_training.with_fsdp)
    monkeypatch.setattr(strategies, "require_possible", lambda *asked: None)


@pytest.mark.parametrize("name", ["fsdp", "fsdp-offload", "deepspeed-zero2", "deepspeed-zero3"])
def test_what_divides_a_model_is_refused_without_a_gpu(name, classifier, tmp_path):
    file = write_jsonl(tmp_path / "rows.jsonl", tiny.reviews(20))
    run = RunOptions(output=tmp_path / "run", strategy=name)
    with pytest.raises(OptionError, match=f"--strategy {name} divides .* a CPU.*; use --strategy ddp"):
        llmkit.finetune(str(file), ModelOptions(model=str(classifier), device="cpu"), run=run)
    with pytest.raises(OptionError, match=f"--strategy {name} divides"):
        llmkit.pretrain(str(file), ModelOptions(device="cpu"), run=run)
    assert not (tmp_path / "run").exists()


def test_deepspeed_has_to_be_installed(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(OptionError, match=r"--strategy deepspeed-zero2 needs deepspeed: pip install 'llmkit\[deeps"):
        strategies.require_possible("deepspeed-zero2", GPU)


@pytest.mark.parametrize(("name", "refused"), [("fsdp", True), ("fsdp-offload", True), ("ddp", False)])
def test_weights_of_4_bits_are_not_divided(name, refused):
    quantized = AdapterOptions(qlora=True)
    strategies.require_possible(name, GPU, AdapterOptions(lora=True))
    if refused:
        with pytest.raises(OptionError, match=f"--qlora and --strategy {name}: .* use --lora, or --strategy ddp"):
            strategies.require_possible(name, GPU, quantized)
    else:
        strategies.require_possible(name, GPU, quantized)


@pytest.mark.parametrize(
    ("asked", "suggestion", "device", "chosen", "said"),
    [
        ("ddp", ("fsdp", "it fits"), GPU, "ddp", ""),
        ("auto", ("fsdp", "24.0 GB a GPU"), GPU, "fsdp", "strategy: fsdp (24.0 GB a GPU); --strategy names another\n"),
        ("auto", None, GPU, "ddp", "strategy: ddp (there is no estimate of this model's memory); --st"),
        ("auto", ("fsdp", "it fits"), CPU, "ddp", "strategy: ddp (the others divide the memory of GPUs, and"),
        ("auto", ("deepspeed-zero3", "big"), GPU, "fsdp-offload", "strategy: fsdp-offload (big; DeepSpeed is not inst"),
        ("auto", ("deepspeed-zero2", "big"), GPU, "fsdp", "strategy: fsdp (big; DeepSpeed is not installed)"),
    ],
)
def test_auto_takes_what_the_estimate_suggests_and_says_why(
    capsys, monkeypatch, asked, suggestion, device, chosen, said
):
    monkeypatch.setattr(strategies, "is_installed", lambda name: False)
    assert strategies.choose(asked, suggestion, device, Report()) == chosen
    assert capsys.readouterr().err.startswith(said)


def test_the_strategy_is_no_part_of_what_a_training_is():
    request = FinetuneRequest(dataset=["rows.csv"], run=RunOptions(strategy="auto"))
    assert request.identity == replace(request, run=RunOptions()).identity


@pytest.mark.parametrize("name", ["deepspeed", "fsdp", "fsdp_config"])
def test_set_names_the_flag(name):
    with pytest.raises(OptionError, match="--strategy"):
        checked_overrides([f"{name}=true"])


def test_the_library_takes_the_fields(classifier, tmp_path):
    model = AutoModelForSequenceClassification.from_pretrained(classifier)
    assert strategies.fields("ddp", model) == {"ddp_find_unused_parameters": False}
    with strategies.environment("fsdp"):
        args = TrainingArguments(tmp_path, use_cpu=True, bf16=True, **strategies.fields("fsdp-offload", model))
        strategies.keep_precise(args)
    plugin = args.fsdp_plugin_args
    assert plugin["fsdp_version"] == 2
    assert plugin["cpu_offload"] is True
    assert plugin["transformer_cls_names_to_wrap"] == "BertLayer"
    assert plugin["state_dict_type"] == "FULL_STATE_DICT"
    policy = plugin["mixed_precision_policy"]
    assert (policy.param_dtype, policy.reduce_dtype) == (torch.bfloat16, torch.float32)
    for stage in (2, 3):
        deepspeed = strategies.fields(f"deepspeed-zero{stage}", model)["deepspeed"]
        assert deepspeed["zero_optimization"]["stage"] == stage
        assert deepspeed["zero_optimization"].get("stage3_gather_16bit_weights_on_model_save", False) == (stage == 3)
        assert deepspeed["bf16"] == {"enabled": "auto"}


def test_layers_are_found_where_a_model_does_not_name_them(classifier):
    model = AutoModelForSequenceClassification.from_pretrained(classifier)
    model._no_split_modules = ["NotThere"]
    assert strategies.layer_classes(model) == ["BertLayer"]
    assert strategies.layer_classes(torch.nn.Linear(2, 2)) == []


def test_the_environment_is_as_it_was_afterwards(fsdp_on_cpu, monkeypatch):
    monkeypatch.setenv("FSDP_VERSION", "1")
    before = dict(os.environ)
    with strategies.environment("fsdp"):
        assert torch.distributed.get_world_size() == 1
        os.environ.update(ACCELERATE_USE_FSDP="true", FSDP_VERSION="2")
    assert dict(os.environ) == before
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(
    ("file", "strategy", "refused"),
    [
        (None, "ddp", None),
        (None, "fsdp", None),
        ("latest", "deepspeed-zero2", None),
        ("latest", "fsdp", "was saved by DeepSpeed, in parts that --strategy fsdp does not read; give the --strategy"),
        (None, "deepspeed-zero3", "was saved without DeepSpeed, .*--strategy fsdp goes on"),
    ],
)
def test_a_checkpoint_in_parts_of_another_strategy_is_refused(tmp_path, file, strategy, refused):
    if file is not None:
        (tmp_path / file).touch()
    if refused is None:
        checkpoints.require_resumable(tmp_path, strategy)
    else:
        with pytest.raises(OptionError, match=refused):
            checkpoints.require_resumable(tmp_path, strategy)


KINDS = {
    "all": {},
    "lora": {"adapter": AdapterOptions(lora=True, lora_rank=2)},
    "layers": {"adapter": AdapterOptions(freeze="1")},
    "checkpointed": {"recipe": TunedRecipeOptions(checkpoint_activations=True)},
}


def trained(file, model, folder, strategy, **groups):
    options = ModelOptions(model=str(model), dtype=groups.pop("dtype", "float32"))
    run = RunOptions(output=folder, track=["none"], strategy=strategy, resume=groups.pop("resume", False))
    return llmkit.finetune(str(file), options, training_options=TrainingOptions(max_steps=6), run=run, **groups)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_one_process_under_fsdp_learns_what_it_learns_without(fsdp_on_cpu, tmp_path, classifier, kind):
    file = write_jsonl(tmp_path / "rows.jsonl", tiny.reviews(60))
    plain = trained(file, classifier, tmp_path / "plain", "ddp", **KINDS[kind])
    divided = trained(file, classifier, tmp_path / "divided", "fsdp", **KINDS[kind])
    assert divided.evaluation.metrics == pytest.approx(plain.evaluation.metrics, abs=1e-5)
    (one, other) = (load_file(next(path.glob("*.safetensors"))) for path in (tmp_path / "plain", tmp_path / "divided"))
    assert set(one) == set(other)
    for name, weights in one.items():
        torch.testing.assert_close(other[name], weights, rtol=0, atol=1e-5)
    names = {path.name for path in (tmp_path / "plain").iterdir()}
    assert {path.name for path in (tmp_path / "divided").iterdir()} == names
    config = json.loads((tmp_path / "divided" / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["BertForSequenceClassification"]


@pytest.mark.slow
@pytest.mark.parametrize(("first", "second"), [("fsdp", "ddp"), ("ddp", "fsdp"), ("fsdp", "fsdp")])
@pytest.mark.parametrize("kind", ["all", "lora"])
def test_a_run_goes_on_under_another_strategy(fsdp_on_cpu, tmp_path, classifier, first, second, kind):
    file = write_jsonl(tmp_path / "rows.jsonl", tiny.reviews(60))
    whole = trained(file, classifier, tmp_path / "whole", "ddp", **KINDS[kind])
    trained(file, classifier, tmp_path / "run", first, **KINDS[kind])
    record = tmp_path / "run" / "run.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"status": "stopped"}))
    steps = sorted((tmp_path / "run" / "checkpoints").iterdir(), key=lambda path: int(path.name.rpartition("-")[2]))
    shutil.rmtree(steps[-1])
    resumed = trained(file, classifier, tmp_path / "run", second, resume=True, **KINDS[kind])
    assert resumed.evaluation.metrics == pytest.approx(whole.evaluation.metrics, abs=1e-5)
    one, other = (load_file(next(path.glob("*.safetensors"))) for path in (tmp_path / "whole", tmp_path / "run"))
    for name, weights in one.items():
        torch.testing.assert_close(other[name], weights, rtol=0, atol=1e-5)


def test_bfloat16_under_fsdp_saves_float32_weights(fsdp_on_cpu, tmp_path, classifier):
    file = write_jsonl(tmp_path / "rows.jsonl", tiny.reviews(60))
    done = trained(file, classifier, tmp_path / "run", "fsdp", dtype="bfloat16")
    assert 0 <= done.evaluation.metrics["accuracy"] <= 1
    weights = load_file(tmp_path / "run" / "model.safetensors")
    assert {held.dtype for held in weights.values()} == {torch.float32}


def history(folder):
    lines = json.loads((folder / "history.json").read_text(encoding="utf-8"))
    return [value for line in lines for value in line]


@pytest.mark.slow
def test_two_processes_under_fsdp_train_as_one_and_each_goes_on_for_the_other(tmp_path, llama):
    divided = []
    for name, lora in (("all", False), ("lora", True)):
        one, two, back = (tmp_path / f"{name}-{kind}" for kind in ("one", "two", "back"))
        same = {"model": str(llama), "lora": lora}
        divided_training.train("ddp", folder=one, steps=8, **same)
        shutil.copytree(one / "checkpoints", back / "checkpoints")
        divided.append({"strategy": "fsdp", "folder": str(two), "steps": 4, **same})
        divided.append({"strategy": "fsdp", "folder": str(back), "steps": 8, "resume": True, **same})
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*launch, str(SCRIPT), json.dumps(divided)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    for name, lora in (("all", False), ("lora", True)):
        one, two, back = (tmp_path / f"{name}-{kind}" for kind in ("one", "two", "back"))
        assert history(two) == pytest.approx(history(one)[:8], rel=1e-5)
        divided_training.train("ddp", str(llama), two, 8, lora, resume=True)
        whole, *others = (load_file(next((folder / "model").glob("*.safetensors"))) for folder in (one, two, back))
        for folder, other in zip((two, back), others):
            assert history(folder) == pytest.approx(history(one), rel=1e-5)
            assert set(other) == set(whole)
            for weights, expected in whole.items():
                torch.testing.assert_close(other[weights], expected, rtol=0, atol=1e-4)
