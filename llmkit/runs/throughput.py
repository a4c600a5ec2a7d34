"""Seconds by phase, tokens and padding, and what a device could compute: of trainings, and of the rows of files."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D


@dataclass
class Phases:
    """Adds up the seconds of each phase; those of a phase within another are not counted twice.

    Phases are those of one thread; batches may be counted from several.
    """

    device: torch.device
    is_exact: bool = False  # whether to wait for what a GPU still computes: that costs, and is for --profile
    seconds: dict[str, float] = field(default_factory=dict)
    tokens: int | torch.Tensor = 0  # that the model reads, without padding
    places: int = 0  # tokens and padding
    _inner: list[float] = field(default_factory=lambda: [0.0])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the seconds of what runs inside."""
        started = self._now()
        self._inner.append(0.0)
        try:
            yield
        finally:
            whole = self._now() - started
            self.seconds[name] = self.seconds.get(name, 0.0) + whole - self._inner.pop()
            self._inner[-1] += whole

    def count(self, batch: Mapping[str, Any]) -> None:
        """Count the tokens of a batch; a sum on a GPU is not waited for."""
        for name, ids in batch.items():
            if name.endswith("input_ids") and isinstance(ids, torch.Tensor):
                mask = batch.get(name.replace("input_ids", "attention_mask"))
                is_of_them = isinstance(mask, torch.Tensor) and mask.shape == ids.shape  # not of what was read before
                tokens = (mask != 0).sum() if mask is not None and is_of_them else ids.numel()
                with self._lock:
                    self.tokens = self.tokens + tokens
                    self.places += ids.numel()

    def _now(self) -> float:
        if self.is_exact and self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def linear_layers(model: torch.nn.Module) -> Iterator[torch.nn.Linear]:
    """Yield the layers with whose weights each token is multiplied."""
    return (module for module in model.modules() if isinstance(module, torch.nn.Linear | Conv1D))


def matmul_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Return the FLOPs per second of a matrix product in a dtype, the best of several, with the threads of torch."""
    size = 4096 if device.type == "cuda" else 512
    left, right = (torch.ones(size, size, device=device, dtype=dtype) for _ in range(2))
    seconds: list[float] = []
    with torch.inference_mode():
        for _ in range(4):
            started = time.perf_counter()
            product = left @ right
            float(product[0, 0])  # a GPU has computed it by then
            seconds.append(time.perf_counter() - started)
    return 2 * size**3 / min(seconds)


def phase_lines(phases: Mapping[str, float], seconds: float) -> list[str]:
    """Return a table of the seconds of each phase, and their share of all `seconds`; the rest is called other."""
    rest = {"other": max(0.0, seconds - sum(phases.values()))}
    lines = [f"{'phase':<12} {'seconds':>9} {'share':>7}"]
    return lines + [f"{name:<12} {taken:>9.2f} {taken / seconds:>7.1%}" for name, taken in {**phases, **rest}.items()]
