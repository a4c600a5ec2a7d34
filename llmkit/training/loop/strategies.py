"""How the processes of a training share its weights: what each strategy asks of accelerate, and where it cannot run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import torch
from torch import distributed, nn
from torch._C._distributed_c10d import HashStore
from torch.distributed.fsdp import MixedPrecisionPolicy
from transformers import PreTrainedModel, TrainingArguments

from llmkit.distributed.processes import free_port
from llmkit.distributed.world import join, world
from llmkit.errors import OptionError
from llmkit.errors.extras import is_installed, require_extra
from llmkit.models import modules
from llmkit.options import AdapterOptions
from llmkit.options.training.recipe import Strategy
from llmkit.output.report import Report
from llmkit.training.loop.job import Job

SHARDING = ("fsdp", "fsdp-offload", "deepspeed-zero3")  # of which a process holds a part of the weights
SET_BY_LIBRARIES = ("ACCELERATE_", "FSDP_", "MASTER_")  # what variables of theirs begin with
ALONE = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}


def with_strategy(job: Job, device: torch.device, suggestion: tuple[str, str] | None, report: Report) -> Job:
    """Return the job with a strategy in place of `auto`, and say which it is; `suggestion` as `choose` takes it."""
    asked = job.run.strategy
    name = choose(asked, suggestion, device, report)
    if asked != "auto" and name != "ddp":
        alone = world().size == 1 and name in {"fsdp", "deepspeed-zero2", "deepspeed-zero3"}
        report.say(f"strategy: {name}{', of one process: no memory is saved' if alone else ''}")
    return replace(job, run=replace(job.run, strategy=cast("Strategy", name)))


def choose(asked: str, suggestion: tuple[str, str] | None, device: torch.device, report: Report) -> str:
    """Return the strategy that is asked for; of `auto`, the one that an estimate suggests, and say why.

    Args:
        asked: the value of --strategy.
        suggestion: a strategy and why, as `estimates.choose_strategy` returns it; None where nothing is known.
        device: where it is trained.
        report: who tells.
    """
    if asked != "auto":
        return asked
    name, reason = suggestion or ("ddp", "there is no estimate of this model's memory")
    if device.type != "cuda":
        name, reason = "ddp", "the others divide the memory of GPUs, and this trains without one"
    elif name.startswith("deepspeed") and not is_installed("deepspeed"):
        name, reason = "fsdp-offload" if name.endswith("3") else "fsdp", f"{reason}; DeepSpeed is not installed"
    report.say(f"strategy: {name} ({reason}); --strategy names another")
    return name


def require_possible(name: str, device: torch.device, adapter: AdapterOptions | None = None) -> None:
    """Refuse a strategy that the libraries would leave out in silence, or fail at.

    Raises:
        OptionError: naming the flags.
    """
    if name in {"ddp", "auto"}:
        return
    if device.type != "cuda":
        raise OptionError(
            f"--strategy {name} divides a model over NVIDIA GPUs, and this trains on {_kind(device)}, where accelerate "
            "would leave it out in silence; use --strategy ddp"
        )
    if name.startswith("deepspeed"):
        require_extra(f"--strategy {name}", "deepspeed", "deepspeed")
    if adapter is not None and adapter.qlora and name in SHARDING:
        raise OptionError(
            f"--qlora and --strategy {name}: weights of 4 bits are not divided; use --lora, or --strategy ddp"
        )


def _kind(device: torch.device) -> str:
    return "a CPU" if device.type == "cpu" else f"{device.type} device"


def loads_on_cpu(name: str) -> bool:
    """Tell whether a model is read into the CPU's memory, from where the library takes to a GPU what belongs there."""
    return name in SHARDING


def fields(name: str, model: PreTrainedModel, unused: bool = False) -> dict[str, object]:
    """Return the TrainingArguments of a strategy; `unused`: there are weights that no gradient reaches."""
    if name == "ddp":
        return {"ddp_find_unused_parameters": unused}
    if name.startswith("fsdp"):
        return {"fsdp": True, "fsdp_config": _fsdp(model, offload=name == "fsdp-offload")}
    return {"deepspeed": _deepspeed(stage=int(name[-1]))}


def _fsdp(model: PreTrainedModel, offload: bool) -> dict[str, object]:
    """Return FSDP2's settings. Activations are computed twice by the model itself: accelerate's way forgets dropout."""
    layers = layer_classes(model)
    return {
        "version": 2,
        "reshard_after_forward": True,
        "cpu_offload": offload,
        "auto_wrap_policy": "TRANSFORMER_BASED_WRAP" if layers else "NO_WRAP",
        "transformer_layer_cls_to_wrap": layers or None,
        "state_dict_type": "FULL_STATE_DICT",
        "cpu_ram_efficient_loading": False,  # accelerate's own fails on buffers; each process reads the weights
    }


def _deepspeed(stage: int) -> dict[str, object]:
    zero: dict[str, object] = {
        "stage": stage,
        "overlap_comm": True,
        "contiguous_gradients": True,
        "reduce_bucket_size": "auto",
    }
    if stage == 3:
        zero |= {
            "stage3_prefetch_bucket_size": "auto",
            "stage3_param_persistence_threshold": "auto",
            "stage3_gather_16bit_weights_on_model_save": True,
        }
    counts = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "gradient_clipping")
    return {
        "zero_optimization": zero,
        "bf16": {"enabled": "auto"},
        "fp16": {"enabled": "auto"},
        "zero_allow_untested_optimizer": True,  # the Trainer's own, as under every strategy
        **dict.fromkeys(counts, "auto"),
    }


def keep_precise(args: TrainingArguments) -> None:
    """Let FSDP add up the gradients of its processes in float32; accelerate would take half precision."""
    if args.fsdp_plugin_args is not None and (args.bf16 or args.fp16):
        half = torch.bfloat16 if args.bf16 else torch.float16
        policy = MixedPrecisionPolicy(param_dtype=half, reduce_dtype=torch.float32)
        args.fsdp_plugin_args["mixed_precision_policy"] = policy


def layer_classes(model: PreTrainedModel) -> list[str]:
    """Return the names of the classes that FSDP makes a unit of each: those that the model names, or its layers'.

    Not of modules that hold embeddings, which accelerate makes units of: BERT names such a module.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    of_embeddings = {
        type(module).__name__
        for module in model.modules()
        if any(isinstance(part, nn.Embedding) for part in module.modules())
    }
    there = {type(module).__name__ for module in model.modules()} - of_embeddings
    named = there & set(getattr(inner, "_no_split_modules", None) or ())
    return sorted(named or {type(layer).__name__ for _, stack in modules.stacks(model) for layer in stack} & there)


@contextlib.contextmanager
def environment(name: str) -> Iterator[None]:
    """Give the libraries what they read of a strategy while a training lasts: a process group, even of one process.

    What they leave behind is taken back: a model that is opened afterwards would be opened in parts.
    """
    before, made = dict(os.environ), False
    try:
        if join().size == 1 and name != "ddp" and not distributed.is_initialized():
            os.environ.update(ALONE, MASTER_PORT=str(free_port()))
            backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
            distributed.init_process_group(backend, store=HashStore(), rank=0, world_size=1)
            made = True
        yield
    finally:
        if name != "ddp":
            _take_back(before)
        if made:
            distributed.destroy_process_group()


def _take_back(before: dict[str, str]) -> None:
    from accelerate.state import AcceleratorState
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    unset_hf_deepspeed_config()
    AcceleratorState._reset_state(reset_partial_state=True)
    for variable in [name for name in os.environ if name in ALONE or name.startswith(SET_BY_LIBRARIES)]:
        if variable in before:
            os.environ[variable] = before[variable]
        else:
            del os.environ[variable]
