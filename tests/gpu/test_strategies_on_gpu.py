"""Every strategy on one GPU, in bfloat16: what it saves opens on the CPU, and its checkpoint goes on there."""

from __future__ import annotations

import json
import shutil

import pytest
import tiny
import torch
from conftest import write_jsonl
from transformers import AutoModelForSequenceClassification

import llmkit
from llmkit.errors import OptionError
from llmkit.errors.extras import is_installed
from llmkit.options import ModelOptions, RunOptions, TrainingOptions

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


def trained(file, model, folder, strategy, device, dtype, resume=False):
    run = RunOptions(output=folder, track=["none"], strategy=strategy, resume=resume)
    options = ModelOptions(model=str(model), device=device, dtype=dtype)
    return llmkit.finetune(str(file), options, training_options=TrainingOptions(max_steps=6), run=run)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp", "fsdp-offload", "deepspeed-zero2", "deepspeed-zero3"])
def test_a_strategy_trains_on_a_gpu_and_its_checkpoint_goes_on_on_the_cpu(tmp_path, classifier, strategy):
    if strategy.startswith("deepspeed") and not is_installed("deepspeed"):
        pytest.skip("needs DeepSpeed")
    file, folder = write_jsonl(tmp_path / "rows.jsonl", tiny.reviews(60)), tmp_path / "run"
    done = trained(file, classifier, folder, strategy, "cuda", "bfloat16")
    assert 0 <= done.evaluation.metrics["accuracy"] <= 1
    AutoModelForSequenceClassification.from_pretrained(folder)
    steps = sorted((folder / "checkpoints").iterdir(), key=lambda path: int(path.name.rpartition("-")[2]))
    shutil.rmtree(steps[-1])
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    record["status"] = "stopped"
    record["options"] |= {"device": "cpu", "dtype": "float32"}  # which a user does not change in a run
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    if strategy.startswith("deepspeed"):
        with pytest.raises(OptionError, match="was saved by DeepSpeed"):
            trained(file, classifier, folder, "ddp", "cpu", "float32", resume=True)
    else:
        assert trained(file, classifier, folder, "ddp", "cpu", "float32", resume=True) is not None
