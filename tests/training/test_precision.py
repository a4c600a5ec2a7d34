"""In which precision and at which rate a model is trained unless a flag says."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig

from llmkit.errors import OptionError
from llmkit.options import ModelOptions
from llmkit.training.loop.arguments import precision
from llmkit.training.loop.recipe import learning_rate_for

CPU = torch.device("cpu")


@pytest.mark.parametrize("amx", [True, False])
def test_a_cpu_trains_under_bf16_autocast_where_it_has_amx_unless_told_otherwise(monkeypatch, amx):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert precision(ModelOptions(), CPU) == {"bf16": amx}
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
