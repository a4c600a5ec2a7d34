"""Each weight that is trained has a gradient after one backward pass, so that DDP need not look for others."""

from __future__ import annotations

import pytest
import torch
import transformers
from conftest import write_jsonl
from task_cases import CASES
from transformers import AutoConfig, TrainerCallback

from llmkit.options import (
    AdapterOptions,
    DataOptions,
    FinetuneRequest,
    ModelOptions,
    RunOptions,
    TrainingOptions,
    TunedRecipeOptions,
)
from llmkit.output.report import Report
from llmkit.tasks import TASKS
from llmkit.training.loop.unused_weights import has_unused_weights, unused_weights
from llmkit.training.model_spec import open_model
from llmkit.training.planning import plan

LESS = {
    "all": {},
    "lora": {"adapter": AdapterOptions(lora=True, lora_rank=2)},
    "layers": {"adapter": AdapterOptions(freeze="1")},
    "checkpointed": {"recipe": TunedRecipeOptions(checkpoint_activations=True)},
}


class Gradients(TrainerCallback):
    def __init__(self):
        self.without = None

    def on_pre_optimizer_step(self, args, state, control, model, **kwargs):
        trained = [(name, weights) for name, weights in model.named_parameters() if weights.requires_grad]
        assert trained
        self.without = [name for name, weights in trained if weights.grad is None]


@pytest.mark.slow
@pytest.mark.parametrize("less", LESS)
@pytest.mark.parametrize("task", [task for task in CASES if "finetune" in TASKS[task].commands])
def test_each_trained_weight_has_a_gradient(request, tmp_path, monkeypatch, task, less):
    monkeypatch.chdir(tmp_path)
    case = CASES[task]
    file = write_jsonl(tmp_path / "rows.jsonl", case.rows)
    asked = FinetuneRequest(
        dataset=[str(file)],
        model=ModelOptions(model=str(request.getfixturevalue(case.model))),
        data=DataOptions(task=task),
        training=TrainingOptions(max_steps=1, batch_size=2),
        run=RunOptions(output=tmp_path / "run", track=["none"]),
        **LESS[less],
    )
    gradients, trial = Gradients(), plan(asked, asked.identity, {}, Report())
    trial.learn(gradients)
    assert gradients.without == []
    model = open_model(trial.job, trial.spec, trial.session.options)
    before = torch.random.get_rng_state()
    assert not has_unused_weights(trial.job, model)
    assert torch.equal(before, torch.random.get_rng_state())  # the training draws what it would have drawn


class Step(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, batch):
        return self.model(**batch)["loss"]


SIZES = {
    "vocab_size": 50,
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "decoder_start_token_id": 0,
}


@pytest.mark.parametrize(
    ("family", "head", "named"),
    [
        ("marian", "AutoModelForSeq2SeqLM", None),
        ("bart", "AutoModelForCausalLM", "encoder_attn"),  # there is no encoder to attend to
        ("bart", "AutoModelForSeq2SeqLM", None),
    ],
)
def test_weights_that_no_gradient_reaches_are_found(family, head, named):
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **SIZES)
    step = Step(getattr(transformers, head).from_config(config))
    ids = torch.randint(3, 50, (2, 8))
    batch = {"input_ids": ids, "labels": ids}
    found = unused_weights(step, batch)
    assert all(weights.device.type == "cpu" and weights.grad is None for weights in step.parameters())
    step(batch).backward()
    assert found == [name for name, held in step.named_parameters() if held.requires_grad and held.grad is None]
    assert all(named in name for name in found) if named else found == []
    assert bool(found) == (named is not None)
