"""In which precision a model is trained: what --dtype says, else what the device multiplies faster."""

from __future__ import annotations

import pytest
import torch

from llmkit import training
from llmkit.errors import OptionError
from llmkit.options import ModelOptions

CPU = torch.device("cpu")


@pytest.mark.parametrize("amx", [True, False])
def test_a_cpu_trains_under_bf16_autocast_where_it_has_amx_unless_told_otherwise(monkeypatch, amx):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert training.precision(ModelOptions(), CPU) == {"bf16": amx}
    assert training.precision(ModelOptions(dtype="bfloat16"), CPU) == {"bf16": True}
    assert training.precision(ModelOptions(dtype="float32"), CPU) == {"bf16": False}


def test_float16_is_refused_on_a_cpu():
    with pytest.raises(OptionError, match="--dtype float16 trains on a GPU only"):
        training.precision(ModelOptions(dtype="float16"), CPU)
