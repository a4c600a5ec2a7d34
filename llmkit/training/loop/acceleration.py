"""How the steps of a training are computed: by which attention, by Liger's kernels, compiled; refused where not."""

from __future__ import annotations

import os
import shutil
import sys

import torch
from transformers import PreTrainedModel

from llmkit.errors import ModelError, OptionError, brief
from llmkit.errors.extras import is_installed, require_extra
from llmkit.models.adapters import has_adapter
from llmkit.options import ModelOptions, RunOptions
from llmkit.output.report import Report

FLASH_PACKAGES = {"flash_attention_2": ("flash_attn", "flash-attn"), "flash_attention_3": ("flash_attn_interface", "")}


def require_possible(run: RunOptions, options: ModelOptions, device: torch.device) -> None:
    """Refuse what neither this device nor these packages can compute.

    Raises:
        OptionError: naming the flag, and what it needs.
    """
    name = run.attn_implementation
    if name not in {None, "eager", "sdpa"}:
        asked = f"--attn-implementation {name}"
        if device.type != "cuda":
            raise OptionError(
                f"{asked} trains on an NVIDIA GPU alone, and this is {device.type}; sdpa is for any device"
            )
        if name in FLASH_PACKAGES:
            _require_flash_attention(asked, *FLASH_PACKAGES[name], options)
    if run.use_liger_kernel:
        if device.type != "cuda":
            raise OptionError(f"--use-liger-kernel needs an NVIDIA GPU, and this trains on {device.type}; leave it out")
        require_extra("--use-liger-kernel", "liger", "liger_kernel", what="liger-kernel")


def _require_flash_attention(asked: str, module: str, package: str, options: ModelOptions) -> None:
    if options.dtype == "float32":
        raise OptionError(f"{asked} computes in half precision alone; use --dtype bfloat16, or sdpa for float32")
    if not is_installed(module):
        how = f"pip install {package}" if package else "it is built from github.com/Dao-AILab/flash-attention"
        raise OptionError(f"{asked} needs the package {module} ({how}); sdpa needs none")


def prepare(model: PreTrainedModel, run: RunOptions) -> None:
    """Let a model that is open compute as is asked.

    Raises:
        ModelError: its architecture has no such way.
    """
    network = model.get_base_model() if has_adapter(model) else model
    if run.attn_implementation is not None:
        _use_attention(network, run.attn_implementation)
    if run.use_liger_kernel:
        from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN

        if network.config.model_type not in MODEL_TYPE_TO_APPLY_LIGER_FN:  # the library would go on without a word
            raise ModelError(f"--use-liger-kernel: Liger has no kernels for {network.config.model_type}; leave it out")


def _use_attention(network: PreTrainedModel, name: str) -> None:
    try:
        network.set_attn_implementation(name)
    except (ValueError, ImportError) as error:
        raise ModelError(f"--attn-implementation {name}: {brief(error)}") from error
    if network.config._attn_implementation != name:
        raise ModelError(f"--attn-implementation {name}: a {type(network).__name__} has its own attention alone")


def compiles(run: RunOptions, report: Report) -> bool:
    """Tell whether steps are compiled: where that is asked for, and there is a compiler; say so where there is none."""
    if not run.compile:
        return False
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler) is None:
        report.warn(f"--compile needs a C++ compiler, and there is no {compiler}: the training goes on uncompiled")
        return False
    return True


def fields(run: RunOptions, report: Report, needs_logits: bool) -> dict[str, object]:
    """Return the TrainingArguments of what is asked for; `needs_logits`: the loss is not the model's own."""
    asked: dict[str, object] = {}
    if compiles(run, report):
        torch._dynamo.config.suppress_errors = True  # what does not compile runs as it is, with a warning
        asked["torch_compile"] = True
    if run.use_liger_kernel:
        asked["use_liger_kernel"] = True
        if needs_logits:  # which that kernel never makes
            asked["liger_kernel_config"] = {"fused_linear_cross_entropy": False}
    return asked
