"""The TrainingArguments of a run: what llmkit settles, its precision, and what --set hands through to the library."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import torch
from transformers import TrainingArguments

from llmkit.distributed.world import world
from llmkit.errors import OptionError, one_line
from llmkit.metrics import LOWER_IS_BETTER
from llmkit.options import ModelOptions
from llmkit.options.overrides import parse_settings
from llmkit.runs import RunFolder
from llmkit.training.loop import tracking
from llmkit.training.loop.recipe import Recipe

FLAG_OF_FIELD = {
    "output_dir": "--output",
    "num_train_epochs": "--epochs",
    "max_steps": "--max-steps",
    "seed": "--seed",
    "per_device_train_batch_size": "--batch-size",
    "learning_rate": "--learning-rate",
    "use_cpu": "--device",
    "bf16": "--dtype",
    "fp16": "--dtype",
    "resume_from_checkpoint": "--resume",
    "metric_for_best_model": "--metric",
    "gradient_accumulation_steps": "--accumulate",
    "gradient_checkpointing": "--checkpoint-activations",
    "activation_checkpointing": "--checkpoint-activations",
    "label_smoothing_factor": "--label-smoothing",
    "warmup_steps": "--warmup",
    "weight_decay": "--weight-decay",
    "hub_token": "`hf auth login`",
    "report_to": "--track",
    "deepspeed": "--strategy",
    "fsdp": "--strategy",
    "fsdp_config": "--strategy",
    "torch_compile": "--compile",
    "use_liger_kernel": "--use-liger-kernel",
}
LIBRARY_SCHEDULES = {"constant": "constant_with_warmup"}  # what the library calls schedules that it names otherwise


def checked_overrides(pairs: list[str] | None) -> dict[str, object]:
    """Return the TrainingArguments fields that --set names.

    Raises:
        OptionError: an unknown field, one that has a flag, or a value that the library refuses.
    """
    known = [field.name for field in dataclasses.fields(TrainingArguments) if field.init]
    overrides = parse_settings(pairs, known, FLAG_OF_FIELD, "TrainingArguments")
    defaults = {field.name: field.default for field in dataclasses.fields(TrainingArguments)}
    for name, value in overrides.items():
        if isinstance(defaults[name], int | float) and not isinstance(value, int | float):
            raise OptionError(f"--set {name} takes {type(defaults[name]).__name__}, not {value!r}")
    _library_arguments({"output_dir": "unused", "use_cpu": True, "report_to": "none", **overrides})
    return overrides


def _library_arguments(values: dict[str, object]) -> TrainingArguments:
    try:
        return TrainingArguments(**values)
    except (ValueError, TypeError, ImportError) as error:
        raise OptionError(f"--set: {one_line(error)}") from error


def precision(options: ModelOptions, device: torch.device) -> dict[str, bool]:
    """Return the mixed-precision arguments of a dtype; `auto` is float32 until `training.precision` settles it.

    Raises:
        OptionError: float16 on a CPU, or quantized weights.
    """
    options.require_whole_weights("training takes whole weights; --qlora trains an adapter on a base in 4 bits")
    if options.dtype == "float16":
        if device.type == "cpu":
            raise OptionError("--dtype float16 trains on a GPU only; use bfloat16 or float32 on a CPU")
        return {"fp16": True}
    return {"bf16": options.dtype == "bfloat16"}


def arguments(
    recipe: Recipe, rows: int, folder: RunFolder, engine: Mapping[str, object], device: torch.device, best_metric: str
) -> TrainingArguments:
    """Return the TrainingArguments of a run on so many rows; `engine` are those of its precision and its strategy.

    Raises:
        OptionError: the library refuses a value.
    """
    made = _library_arguments(
        {
            **_of_recipe(recipe),
            **_of_measurements(recipe, rows, best_metric),
            "output_dir": str(folder.checkpoints),
            "disable_tqdm": True,
            "report_to": "none",  # the trackers are callbacks of `tracking`
            "run_name": folder.path.name,
            "project": tracking.PROJECT,
            "use_cpu": device.type == "cpu",
            "dataloader_pin_memory": device.type == "cuda",
            "ddp_broadcast_buffers": False,  # text models have none that change
            "remove_unused_columns": False,
            **engine,
            **recipe.overrides,
        }
    )
    if made.n_gpu > 1:
        made._n_gpu = 1  # else the library splits batches over all GPUs in one process, which --processes does better
    return made


def _of_recipe(recipe: Recipe) -> dict[str, object]:
    """Return how the weights are changed."""
    return {
        "num_train_epochs": recipe.epochs,
        "max_steps": recipe.max_steps or -1,
        "per_device_train_batch_size": -(-recipe.batch_size // world().size),
        "gradient_accumulation_steps": recipe.accumulation,
        "learning_rate": recipe.learning_rate,
        "seed": recipe.seed,
        "warmup_steps": recipe.warmup,
        "weight_decay": recipe.weight_decay,
        "lr_scheduler_type": LIBRARY_SCHEDULES.get(recipe.schedule, recipe.schedule),
        "adam_beta1": recipe.betas[0],
        "adam_beta2": recipe.betas[1],
        "optim": "adamw_torch_fused",
        **_checkpointing(recipe),
    }


def _checkpointing(recipe: Recipe) -> dict[str, object]:
    if not recipe.checkpoint_activations:
        return {}
    name = "activation" if hasattr(TrainingArguments, "activation_checkpointing") else "gradient"  # in older versions
    return {f"{name}_checkpointing": True, f"{name}_checkpointing_kwargs": {"use_reentrant": False}}


def _of_measurements(recipe: Recipe, rows: int, best_metric: str) -> dict[str, object]:
    """Return when a run is measured and saved, and what its best checkpoint is."""
    interval = max(1, math.ceil(recipe.steps(rows) / recipe.measurements))
    return {
        "eval_strategy": "steps",
        "eval_steps": interval,
        "save_strategy": "steps",
        "save_steps": interval,
        "save_total_limit": 2,  # the best and the last: with 1 a stop would lose the last
        "load_best_model_at_end": True,
        "metric_for_best_model": best_metric,
        "greater_is_better": best_metric not in LOWER_IS_BETTER,
        "logging_steps": max(1, recipe.steps(rows) // 100),
        "logging_nan_inf_filter": False,
    }
