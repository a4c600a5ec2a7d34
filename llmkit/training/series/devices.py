"""What each worker of a search computes on: a GPU of its own, or its share of the cores."""

from __future__ import annotations

import os
from collections.abc import Mapping

import torch

from llmkit import models
from llmkit.distributed.world import world
from llmkit.errors import OptionError
from llmkit.options import ModelOptions

VISIBLE = "CUDA_VISIBLE_DEVICES"


def require_devices(workers: int, options: ModelOptions) -> None:
    """Refuse more workers than there are GPUs to give them one each.

    Raises:
        OptionError: naming --workers and what goes.
    """
    if workers == 1:
        return
    if world().size > 1:
        raise OptionError(
            "--workers train different trials, and --processes the same one together; leave one of the two out"
        )
    device = models.pick_device(options.device)
    if device.type == "cpu":
        return
    if ":" in options.device:
        kind = options.device.partition(":")[0]
        raise OptionError(
            f"--device {options.device} is one device, and --workers {workers} want one each; --device {kind} is all"
        )
    if device.type != "cuda":
        raise OptionError(f"--workers {workers}: a device {device.type!r} is not divided; --workers 1, or --device cpu")
    if workers > torch.cuda.device_count():
        there = torch.cuda.device_count()
        raise OptionError(f"--workers {workers} want a GPU each, and there are {there}; --workers {there}")


def core_remarks(workers: int, options: ModelOptions) -> list[str]:
    """Return what is to be said where workers share cores."""
    cores = torch.get_num_threads()
    if workers <= cores or models.pick_device(options.device).type != "cpu":
        return []
    return [f"{workers} workers share {cores} core{'s' * (cores > 1)}: each is slower than it would be alone"]


def environments(workers: int, options: ModelOptions) -> list[Mapping[str, str]]:
    """Return the variables of each worker: the one GPU that it sees, and how many threads it has."""
    threads = str(max(1, torch.get_num_threads() // workers))
    shares: list[Mapping[str, str]] = [{"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}] * workers
    if models.pick_device(options.device).type != "cuda":
        return shares
    named = os.environ.get(VISIBLE)
    gpus = named.split(",") if named else [str(number) for number in range(torch.cuda.device_count())]
    return [{**share, VISIBLE: gpu.strip()} for share, gpu in zip(shares, gpus, strict=False)]
