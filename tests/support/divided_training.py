"""A training under FSDP on CPUs, where accelerate leaves FSDP out: its list of device types is amended here.

As a script, it is one rank of trainings: a JSON list of the arguments of `train`, one after the other.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
from accelerate import state
from accelerate.utils import DistributedType
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback, TrainingArguments

from llmkit import models
from llmkit.distributed.world import world
from llmkit.models import adapters
from llmkit.options import AdapterOptions
from llmkit.training.loop import strategies
from llmkit.training.loop.checkpoints import StrategyTrainer, all_finite, is_divided

made = state.AcceleratorState.__init__


def with_fsdp(self, *args, **kwargs):
    made(self, *args, **kwargs)
    plugin = kwargs.get("fsdp_plugin")
    if plugin is not None and self.distributed_type == DistributedType.MULTI_CPU:
        if self._mixed_precision != "no":
            plugin.set_mixed_precision(self._mixed_precision)
        self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, plugin
        state.PartialState._shared_state["distributed_type"] = DistributedType.FSDP


class Stop(TrainerCallback):
    def __init__(self, steps):
        self.steps = steps

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step >= self.steps


class Trained(StrategyTrainer):
    def _save(self, output_dir=None, state_dict=None):
        if self.args.should_save:
            Path(output_dir).mkdir(parents=True, exist_ok=True)
            models.save(self.model, self.processing_class, Path(output_dir), state_dict)

    def _get_train_sampler(self, train_dataset=None):
        return torch.utils.data.SequentialSampler(self.train_dataset)


def train(strategy: str, model: str, folder: Path, steps: int, lora: bool, resume: bool = False) -> None:
    """Train on rows that are always the same, from the start or from the folder's checkpoint, up to a step."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    torch.manual_seed(0)
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    if lora:
        base = {"name": model, "revision": None, "commit": None, "sketch": ""}
        network = adapters.add_adapter(network, AdapterOptions(lora=True), "AutoModelForCausalLM", base, ())
    torch.manual_seed(1)
    rows = [{"input_ids": ids, "labels": ids} for ids in torch.randint(5, 60, (32, 12))]
    with strategies.environment(strategy):
        args = TrainingArguments(
            str(folder / "checkpoints"),
            use_cpu=True,
            per_device_train_batch_size=8 // int(os.environ.get("WORLD_SIZE", "1")),
            max_steps=8,
            learning_rate=1e-2,
            logging_steps=1,
            save_steps=4,
            report_to="none",
            disable_tqdm=True,
            optim="adamw_torch_fused",
            **strategies.fields(strategy, network),
        )
        trainer = Trained(network, args, train_dataset=rows, processing_class=tokenizer, callbacks=[Stop(steps)])
        trainer.train(resume_from_checkpoint=str(folder / "checkpoints" / "checkpoint-4") if resume else None)
        assert all_finite(trainer.model)
        assert is_divided(trainer.model) == (strategy == "fsdp")
        trainer.save_model(str(folder / "model"))
        history = [(line["loss"], line["grad_norm"]) for line in trainer.state.log_history if "loss" in line]
    if world().is_main:
        (folder / "history.json").write_text(json.dumps(history), encoding="utf-8")


if __name__ == "__main__":
    state.AcceleratorState.__init__ = with_fsdp
    for wanted in json.loads(sys.argv[1]):
        train(**{**wanted, "folder": Path(wanted["folder"])})
