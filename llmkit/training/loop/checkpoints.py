"""Checkpoints that are alike under every strategy: whole weights and a whole optimizer, whoever held the parts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from transformers import Trainer

from llmkit.distributed.world import world
from llmkit.errors import OptionError
from llmkit.models import adapters

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
OPTIMIZER, SCHEDULER = "optimizer.pt", "scheduler.pt"
DEEPSPEED = "latest"  # the file by which DeepSpeed finds its part of a checkpoint
State = dict[str, Any]


class StrategyTrainer(Trainer):
    """A Trainer whose checkpoints can be gone on with under another strategy, but for those of DeepSpeed."""

    is_fsdp_enabled: bool
    is_deepspeed_enabled: bool

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if not self.is_fsdp_enabled:
            super()._save_optimizer_and_scheduler(output_dir)
            return
        state, folder = whole_optimizer(self.model, self.optimizer), Path(output_dir)
        if self.args.should_save:
            torch.save(state, folder / OPTIMIZER)
            torch.save(self.lr_scheduler.state_dict(), folder / SCHEDULER)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if not self.is_fsdp_enabled or checkpoint is None:
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        folder = Path(checkpoint)
        load_optimizer(self.model, self.optimizer, folder)
        self.lr_scheduler.load_state_dict(torch.load(folder / SCHEDULER, weights_only=True))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        if self.is_fsdp_enabled:
            load_weights(self.model if model is None else model, Path(resume_from_checkpoint))
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_best_model(self) -> None:
        if self.is_fsdp_enabled:
            load_weights(self.model, Path(self.state.best_model_checkpoint))
        else:
            super()._load_best_model()

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the whole model, which all processes gather and the main one writes."""
        if self.is_deepspeed_enabled and self.deepspeed is None:  # nothing was left to train: it is not in parts
            self._save(output_dir)
        else:
            super().save_model(output_dir, _internal_call)


def require_resumable(checkpoint: Path, strategy: str) -> None:
    """Refuse to go on with a checkpoint that holds the parts of another strategy's optimizer.

    Raises:
        OptionError: naming the strategy that goes on with it.
    """
    of_deepspeed, wanted = (checkpoint / DEEPSPEED).is_file(), strategy.startswith("deepspeed")
    if of_deepspeed and not wanted:
        raise OptionError(
            f"{checkpoint} was saved by DeepSpeed, in parts that --strategy {strategy} does not read; give the "
            "--strategy that it was begun with, or --overwrite to start anew"
        )
    if wanted and not of_deepspeed:
        raise OptionError(
            f"{checkpoint} was saved without DeepSpeed, which reads its own parts alone; --strategy fsdp goes on with "
            "it, and --overwrite starts anew"
        )


def whole_optimizer(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> State:
    """Return the state of an optimizer of a divided model as that of a whole one; empty but in the main process."""
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    named = cast("State", get_optimizer_state_dict(model, optimizer, options=options))
    if not world().is_main:
        return {}
    names = [name for group in named["param_groups"] for name in group["params"]]
    numbers = {name: number for number, name in enumerate(names)}
    groups = [{**group, "params": [numbers[name] for name in group["params"]]} for group in named["param_groups"]]
    return {"state": {numbers[name]: state for name, state in named["state"].items()}, "param_groups": groups}


def load_optimizer(model: torch.nn.Module, optimizer: torch.optim.Optimizer, folder: Path) -> None:
    """Give the parts of a whole optimizer to the processes that hold those of the model."""
    name_of = {id(weights): name for name, weights in model.named_parameters()}
    names = [name_of[id(weights)] for group in optimizer.param_groups for weights in group["params"]]
    named: State = {}
    if world().is_main:
        whole = torch.load(folder / OPTIMIZER, map_location="cpu", weights_only=True)
        groups = [{**group, "params": [names[number] for number in group["params"]]} for group in whole["param_groups"]]
        named = {"state": {names[number]: state for number, state in whole["state"].items()}, "param_groups": groups}
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
    set_optimizer_state_dict(model, optimizer, named, options=options)


def load_weights(model: torch.nn.Module, folder: Path) -> None:
    """Give the parts of whole weights, or of an adapter's, to the processes that hold those of the model."""
    state = _read_weights(model, folder) if world().is_main else {}
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True, strict=False)
    set_model_state_dict(model, state, options=options)


def _read_weights(model: torch.nn.Module, folder: Path) -> State:
    if adapters.has_adapter(model):
        return adapters.saved_state(model, folder)
    index = folder / INDEX
    if not index.is_file():
        return dict(load_file(folder / WEIGHTS))
    files = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    return {name: weights for file in files for name, weights in load_file(folder / file).items()}


def is_divided(model: torch.nn.Module) -> bool:
    """Tell whether each process holds a part of the model: a forward pass of one needs one of each other then."""
    return isinstance(model, FSDPModule) or any(hasattr(weights, "ds_tensor") for weights in model.parameters())


def all_finite(model: torch.nn.Module) -> bool:
    """Tell whether all weights are numbers, in each process those that it holds."""
    mine = all(_held(weights).isfinite().all() for weights in model.parameters())
    return not world().any(not mine) if is_divided(model) else mine


def _held(weights: torch.Tensor) -> torch.Tensor:
    if isinstance(weights, DTensor):
        return weights.to_local()
    return cast("torch.Tensor", getattr(weights, "ds_tensor", weights))
