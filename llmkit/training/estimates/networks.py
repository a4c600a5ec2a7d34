"""The models of a training without their weights, to be run on tensors without data: see `tracker.without_data`."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import torch
import transformers
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from llmkit import models
from llmkit.models import adapters, modules
from llmkit.models.modules import Share
from llmkit.training.loop import distillation_loss
from llmkit.training.loop.distillation_loss import DistillationLoss
from llmkit.training.loop.job import Job
from llmkit.training.loop.recipe import Recipe
from llmkit.training.model_spec import ModelSpec


@dataclass(frozen=True)
class Networks:
    """A model to train, and its teacher if it has one."""

    student: PreTrainedModel
    teacher: PreTrainedModel | None
    taught: DistillationLoss | None

    def allocate(self) -> None:
        """Give the weights a device, in the mode that the caller is in."""
        for network in (self.student, *self.frozen):
            _allocate(network)

    @property
    def frozen(self) -> list[PreTrainedModel]:
        """The models beside the one that is trained."""
        return [] if self.teacher is None else [self.teacher]

    @property
    def share(self) -> Share:
        """How many weights are trained."""
        return modules.share(self.student)


def networks(job: Job, spec: ModelSpec, recipe: Recipe, trust_remote_code: bool) -> Networks:
    """Return what the training would open, of the same classes and shapes."""
    teacher = taught = None
    if job.teacher is not None:
        config = job.teacher.resolved.config
        teacher = _from_config(config, job.task.auto_class_for(config), trust_remote_code).eval().requires_grad_(False)
        taught = distillation_loss.distillation_loss(job.teacher, teacher, job.task, job.tokenizer)
    values = job.task.head_config(job.settings) | {"pad_token_id": job.tokenizer.pad_token_id}
    config = models.with_config_values(job.resolved.config, values)
    student = _from_config(config, job.task.auto_class_for(config), trust_remote_code)
    if spec.adapter.freeze is not None:
        modules.freeze(student, spec.adapter.frozen_layers)
    if spec.adapter.adapts:
        in_full_weights = replace(spec.adapter, lora=True, qlora=False)
        base: adapters.AdapterBase = {"name": "", "revision": None}
        student = adapters.add_adapter(student, in_full_weights, job.task.auto_class_for(config), base, ())
    if recipe.checkpoint_activations:
        with warnings.catch_warnings(action="ignore"):  # of the older of its two names
            student.gradient_checkpointing_enable({"use_reentrant": False})
    return Networks(student.train(), teacher, taught)


def _from_config(config: PretrainedConfig, auto_class: str, trust_remote_code: bool) -> PreTrainedModel:
    with torch.device("meta"):
        network: PreTrainedModel = getattr(transformers, auto_class).from_config(
            config, trust_remote_code=trust_remote_code, dtype=torch.float32
        )
    return network


def _allocate(model: PreTrainedModel) -> None:
    """Put tensors of a CPU in place of those of no device; tied ones stay tied."""
    made: dict[int, torch.Tensor] = {}

    def of_cpu(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in made:
            empty = torch.empty(tensor.shape, dtype=tensor.dtype)
            trained = isinstance(tensor, nn.Parameter)
            made[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if trained else empty
        return made[id(tensor)]

    for module in model.modules():
        for tensors in (module._parameters, module._buffers, vars(module)):
            for name, value in list(tensors.items()):
                if isinstance(value, torch.Tensor) and value.device.type == "meta":
                    tensors[name] = of_cpu(value)
