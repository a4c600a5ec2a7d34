"""In which precision and at which rate a model is trained unless a flag says."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoConfig, BertConfig, GPT2Config, LlamaConfig, PretrainedConfig, T5Config

from llmkit.errors import OptionError
from llmkit.models.precision import Product, decide, known_times, product_of
from llmkit.options import ModelOptions, TalkOptions
from llmkit.output.report import Report
from llmkit.runs import RunFolder
from llmkit.training.loop.arguments import precision
from llmkit.training.loop.job import Session
from llmkit.training.loop.recipe import learning_rate_for
from llmkit.training.precision import settled

CPU = torch.device("cpu")


WIDE = Product(rows=2000, width=384, outputs=1536)


@pytest.mark.parametrize(("bfloat16", "taken"), [(1.0, False), (0.6, False), (0.5, True), (2.0, False)])
def test_bfloat16_is_taken_where_its_products_are_clearly_faster(bfloat16, taken):
    choice = decide(WIDE, lambda product: (1.0, bfloat16))
    assert choice.dtype == ("bfloat16" if taken else "float32")
    assert f"{1 / bfloat16:.1f} times as fast" in choice.sentence
    assert f"--dtype {'float32' if taken else 'bfloat16'} for the other" in choice.sentence


def test_a_small_model_or_one_of_unknown_shapes_is_not_timed_and_nothing_is_said():
    def timed(product):
        raise AssertionError(product)

    small = product_of(LlamaConfig(hidden_size=128, intermediate_size=352), 2048)
    for product in (small, product_of(PretrainedConfig(), 2048)):
        choice = decide(product, timed)
        assert (choice.dtype, choice.sentence) == ("float32", None)


@pytest.mark.parametrize(
    ("config", "product"),
    [
        (BertConfig(hidden_size=384, intermediate_size=1536), (384, 1536)),
        (GPT2Config(n_embd=256), (256, 1024)),
        (T5Config(d_model=512, d_ff=1024), (512, 1024)),
    ],
)
def test_the_product_is_of_the_models_own_shapes(config, product):
    found = product_of(config, 1000)
    assert (found.width, found.outputs) == product
    assert found.timed.rows == 512  # batches of like size are timed once


def test_times_are_kept_and_a_cache_that_is_broken_or_closed_is_no_error(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMKIT_CACHE", str(tmp_path))
    product, file = Product(16, 32, 32), tmp_path / "precision.json"
    times = known_times(product)
    assert min(times) > 0
    assert known_times(product) == times == tuple(next(iter(json.loads(file.read_text()).values())))
    for damage in ("no JSON", "[1]", file.read_text().replace(str(times[0]), '"x"')):
        file.write_text(damage)
        assert min(known_times(product)) > 0
    monkeypatch.setenv("LLMKIT_CACHE", str(file))  # a file, where no folder can be made
    assert min(known_times(product)) > 0


def test_a_run_that_is_gone_on_with_keeps_its_dtype_and_nothing_is_timed(tmp_path, monkeypatch):
    (tmp_path / "run.json").write_text('{"dtype": "bfloat16"}')
    folder = RunFolder(tmp_path, resume_from=tmp_path)
    job = SimpleNamespace(folder=folder, resolved=SimpleNamespace(config=BertConfig()), encoded_train={"length": [9]})
    recipe, report = SimpleNamespace(batch_size=8), Report(TalkOptions(quiet=True))
    assert settled(Session(report, ModelOptions()), job, recipe).options.dtype == "bfloat16"
    assert settled(Session(report, ModelOptions(dtype="float32")), job, recipe).options.dtype == "float32"
    job.folder = RunFolder(tmp_path)
    assert settled(Session(report, ModelOptions()), job, recipe).options.dtype == "float32"  # as all tests


def test_a_flag_is_not_weighed():
    assert precision(ModelOptions(dtype="bfloat16"), CPU) == {"bf16": True}
    assert precision(ModelOptions(dtype="float32"), CPU) == {"bf16": False}


def test_float16_is_refused_on_a_cpu():
    with pytest.raises(OptionError, match="--dtype float16 trains on a GPU only"):
        precision(ModelOptions(dtype="float16"), CPU)


@pytest.mark.parametrize(
    ("family", "parameters", "lr_multiplier", "rate"),
    [
        ("bert", 22_000_000, 1, 1e-4),
        ("distilbert", 66_400_000, 1, 5.8e-5),
        ("bert", 110_000_000, 1, 4.5e-5),
        ("t5", 60_500_000, 1, 3e-4),
        ("bert", 100_000, 1, 5e-4),
        ("bert", 22_000_000, 10, 1e-3),
        ("bert", 100_000, 100, 1e-2),
    ],
)
def test_a_rate_is_that_of_the_literature_at_its_models_sizes(family, parameters, lr_multiplier, rate):
    assert learning_rate_for(parameters, AutoConfig.for_model(family), lr_multiplier) == rate
