"""The model that a finetuning trains: what is known of it before its weights are loaded, and how it is opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from transformers import PreTrainedModel

from llmkit import models
from llmkit.models import adapters, modules
from llmkit.models.modules import Share
from llmkit.options import AdapterOptions, ModelOptions
from llmkit.training import distillation
from llmkit.training.loop import distillation_loss, strategies
from llmkit.training.loop.job import Job, OpenModel


@dataclass(frozen=True)
class ModelSpec:
    """How a model is opened to be trained, and what its skeleton, the model without weights, tells of it."""

    adapter: AdapterOptions  # which of its weights are trained
    parameters: int | None = None  # without those of an adapter; None: there is no skeleton
    share: Share | None = None  # of the weights, that is trained
    unquantized_modules: list[str] | None = None  # of a model that is loaded in 4 bits: the others

    @property
    def trains_less(self) -> bool:
        """Whether not all weights are trained."""
        return self.adapter.adapts or self.adapter.freeze is not None

    def with_options(self, values: Mapping[str, Any]) -> ModelSpec:
        """Return the same with other values of the options of adapters, by name; others are passed over."""
        known = {name: value for name, value in values.items() if name in vars(self.adapter)}
        return replace(self, adapter=replace(self.adapter, **known))


def model_spec(job: Job, adapter: AdapterOptions, options: ModelOptions, must_count: bool) -> ModelSpec:
    """Return what a skeleton of the job's model tells, after checking on it what the flags name.

    `must_count`: the number of weights has to be known before they are loaded.

    Raises:
        OptionError: the model has no such module, fewer layers, or no head of its own.
    """
    spec = ModelSpec(adapter)
    config = models.with_config_values(job.resolved.config, job.task.head_config(job.settings))
    auto_class = job.task.auto_class_for(config)
    try:
        skeleton = modules.skeleton(config, auto_class, options.trust_remote_code)
    except Exception:  # what a model raises depends on the family; its weights may open all the same
        if spec.trains_less or must_count:
            raise
        return spec
    parameters = modules.base_size(skeleton)
    unquantized_modules = modules.unquantized_modules(skeleton) if adapter.qlora else None
    if adapter.freeze is not None:
        modules.freeze(skeleton, adapter.frozen_layers)
    if adapter.adapts:
        in_full_weights = replace(adapter, lora=True, qlora=False)
        skeleton = adapters.add_adapter(skeleton, in_full_weights, auto_class, {"name": "", "revision": None}, ())
    return ModelSpec(adapter, parameters, modules.share(skeleton), unquantized_modules)


def open_model(job: Job, spec: ModelSpec, options: ModelOptions) -> OpenModel:
    """Return the model to train, and what its teacher, which is opened first, adds to its loss.

    Raises:
        ModelError: weights cannot be used, or the model would learn something else than the flags say.
    """
    teacher, taught = job.teacher, None
    if teacher is None:
        network = _from_checkpoint(job, spec, options)
    else:
        teaching = distillation.open_teacher(teacher, job.task)
        taught = distillation_loss.distillation_loss(teacher, teaching, job.task, job.tokenizer)
        if teacher.student is None:
            network = _from_checkpoint(job, spec, options)
        else:
            config_values = job.task.head_config(job.settings) | {"pad_token_id": job.tokenizer.pad_token_id}
            network = distillation.cut_student(teacher, teaching, job.task, config_values, options.trust_remote_code)
            if spec.adapter.freeze is not None:
                modules.freeze(network, spec.adapter.frozen_layers)
    job.task.check_model(network, job.settings)
    return OpenModel(network, taught)


def _from_checkpoint(job: Job, spec: ModelSpec, options: ModelOptions) -> PreTrainedModel:
    """Return the job's model with a head for the task, and an adapter, or some of its weights frozen."""
    auto_class = job.task.auto_class_for(job.resolved.config)
    wanted = models.LoadRequest(
        auto_class, job.task.head_config(job.settings), training=True, unquantized=spec.unquantized_modules
    )
    if strategies.loads_on_cpu(job.run.strategy):
        options = replace(options, device="cpu")
    model, new = models.open_weights(job.resolved, wanted, job.tokenizer, options)
    if spec.adapter.adapts:
        base: adapters.AdapterBase = {**models.origin(job.resolved), "whole": spec.unquantized_modules}
        return adapters.add_adapter(model, spec.adapter, auto_class, base, new)
    if spec.adapter.freeze is not None:
        modules.freeze(model, spec.adapter.frozen_layers, new)
    return model
