"""--attn-implementation, --compile, --use-liger-kernel: taken where they can be, refused or said where not."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForSequenceClassification, BertConfig, BertForSequenceClassification

from llmkit.errors import ModelError, OptionError
from llmkit.options import ModelOptions, RunOptions
from llmkit.output.report import Report
from llmkit.training.loop import acceleration

GPU = torch.device("cuda")


def bert():
    shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    return BertForSequenceClassification(BertConfig(vocab_size=16, **shape))


@pytest.mark.parametrize(
    "flag", ["--attn-implementation=flash_attention_2", "--attn-implementation=flex_attention", "--use-liger-kernel"]
)
@pytest.mark.parametrize("verb", ["finetune", "pretrain"])
def test_what_needs_a_gpu_is_refused_without_one(llmkit, reviews, tmp_path, verb, flag):
    ran = llmkit(verb, reviews, flag, "--device", "cpu", "-o", tmp_path / "run")
    assert ran.code == 2
    assert flag.partition("=")[0] in ran.err
    assert "NVIDIA GPU" in ran.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("run", "dtype", "words"),
    [
        (RunOptions(attn_implementation="flash_attention_2"), "bfloat16", "pip install flash-attn"),
        (RunOptions(attn_implementation="flash_attention_3"), "auto", "flash_attn_interface"),
        (RunOptions(attn_implementation="flash_attention_2"), "float32", "half precision"),
        (RunOptions(use_liger_kernel=True), "auto", "llmkit[liger]"),
    ],
)
def test_a_missing_package_is_named_on_a_gpu(run, dtype, words, monkeypatch):
    monkeypatch.setattr(acceleration, "is_installed", lambda module: False)
    if run.use_liger_kernel:
        monkeypatch.setitem(sys.modules, "liger_kernel", None)
        monkeypatch.setattr("llmkit.errors.extras.is_installed", lambda module: False)
    with pytest.raises(OptionError, match=words.replace("[", r"\[")):
        acceleration.require_possible(run, ModelOptions(dtype=dtype), GPU)


def test_attention_is_computed_as_asked_and_the_model_does_not_remember_it(tmp_path):
    model = bert()
    acceleration.prepare(model, RunOptions(attn_implementation="eager"))
    assert model.bert.config._attn_implementation == "eager"
    model.save_pretrained(tmp_path)
    assert AutoModelForSequenceClassification.from_pretrained(tmp_path).config._attn_implementation == "sdpa"


def test_an_attention_that_a_model_has_not_is_refused(monkeypatch):
    monkeypatch.setattr(BertForSequenceClassification, "_supports_flex_attn", False, raising=False)
    with pytest.raises(ModelError, match="--attn-implementation flex_attention: "):
        acceleration.prepare(bert(), RunOptions(attn_implementation="flex_attention"))


def test_liger_is_refused_for_an_architecture_that_it_does_not_know(monkeypatch):
    patches = SimpleNamespace(MODEL_TYPE_TO_APPLY_LIGER_FN={"llama": None})
    monkeypatch.setitem(sys.modules, "liger_kernel.transformers.monkey_patch", patches)
    with pytest.raises(ModelError, match="no kernels for bert"):
        acceleration.prepare(bert(), RunOptions(use_liger_kernel=True))


def test_liger_makes_logits_where_the_loss_needs_them():
    run, quiet = RunOptions(use_liger_kernel=True), Report()
    assert acceleration.fields(run, quiet, needs_logits=False) == {"use_liger_kernel": True}
    config = acceleration.fields(run, quiet, needs_logits=True)["liger_kernel_config"]
    assert config == {"fused_linear_cross_entropy": False}


def test_without_a_compiler_the_training_goes_on_and_says_so(llmkit, reviews, classifier, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    ran = llmkit("finetune", reviews, "-m", classifier, "--compile", "--max-steps", 1, "-o", tmp_path / "run")
    assert ran.code == 0
    assert "--compile needs a C++ compiler, and there is no no-such-compiler" in ran.err


def test_compile_asks_the_library_for_it(monkeypatch):
    monkeypatch.setattr(acceleration.shutil, "which", lambda name: name)
    monkeypatch.setattr(torch._dynamo.config, "suppress_errors", False)
    assert acceleration.fields(RunOptions(compile=True), Report(), needs_logits=False) == {"torch_compile": True}
