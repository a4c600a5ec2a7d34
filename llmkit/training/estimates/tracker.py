"""What one training step holds and computes, from running it on tensors without data.

The one place that touches torch's private `torch.distributed._tools`: where that has changed, `track` raises and the
closed formula answers.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

IN_HEAP = range(4 * 2**20, 32 * 2**20)  # larger ones are mapped, and go back (mallopt(3)); smaller ones fill holes
PARTS = {"PARAM": "parameters", "BUFFER": "parameters", "GRAD": "gradients", "OPT": "optimizer", "ACT": "activations"}
BETAS, LEARNING_RATE = (0.9, 0.999), 1e-4  # of no consequence for what is held


@dataclass(frozen=True)
class Peak:
    """The bytes that were held at once when they were most, by part, and the FLOPs until then."""

    parts: Mapping[str, int]
    flops: int
    passing: int = 0  # bytes of the tensors that came in the step and that a CPU keeps in the heap of the C allocator

    @property
    def total(self) -> int:
        """The bytes of all parts together."""
        return sum(self.parts.values())


@contextmanager
def without_data() -> Iterator[FakeTensorMode]:
    """Make tensors that have shapes and no data: what is built inside takes no memory, and computes nothing."""
    with warnings.catch_warnings(action="ignore"), FakeTensorMode(allow_non_fake_inputs=True) as mode:
        yield mode


def track_step(
    model: nn.Module, frozen: Iterable[nn.Module], loss: Callable[[], torch.Tensor], accumulates: bool
) -> Peak:
    """Return the peak of one step of AdamW as the second of a training has it: the optimizer holds its numbers already.

    `frozen` are other models in memory; `accumulates`: there are gradients of an earlier batch.
    """
    trained = [weights for weights in model.parameters() if weights.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE, betas=BETAS, fused=True)
    for weights in trained:
        weights.grad = torch.zeros_like(weights)
    optimizer.step()
    if not accumulates:
        optimizer.zero_grad()
    tracker = _tracker(model, *frozen, optimizer)
    tracker.passing = 0
    flops = _flop_counter()
    with tracker, flops:
        torch.autograd.backward(loss())
        optimizer.step()
        optimizer.zero_grad()
    return Peak(_parts(tracker), flops.get_total_flops(), tracker.passing)


def track_forward(model: nn.Module, run: Callable[[], object]) -> Peak:
    """Return the peak of a forward pass that is not learned from."""
    tracker = _tracker(model)
    flops = _flop_counter()
    with torch.no_grad(), tracker, flops:
        run()
    return Peak(_parts(tracker), flops.get_total_flops())


class _WholeModel:
    """Stands for the modules by which FLOPs are counted: the library's hooks on them keep activations alive."""

    parents = frozenset({"Global"})

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, *_: object) -> None:
        """End."""


def _flop_counter() -> FlopCounterMode:
    counter = FlopCounterMode(display=False, custom_mapping=_attention_on_cpu())
    counter.mod_tracker = _WholeModel()  # type: ignore[assignment]
    return counter


class _NoHook:
    """Stands for the hook of a weight that has no gradient."""

    def remove(self) -> None:
        """Do nothing: there is none."""


def _tracker(*external: nn.Module | torch.optim.Optimizer) -> Any:
    from torch.distributed._tools.mem_tracker import MemTracker

    class PeakTracker(MemTracker):  # type: ignore[no-untyped-call]
        """A tracker of the whole alone: the library's asks each module at each operation, which is quadratic."""

        passing = 0

        def _update_snap(self, u_type: Any, winfo: Any, *more: Any, **named: Any) -> None:
            super()._update_snap(u_type, winfo, *more, **named)
            if u_type.name == "ADD" and winfo.mem_consumed in IN_HEAP:
                self.passing += winfo.mem_consumed

        def _update_peak_stats(self, peak_state: object) -> None:
            for device, held in self._curr_mem_snap.items():
                if self._peak_mem.get(device, 0) < held["Total"]:
                    self._peak_mem[device], self._peak_mem_snap[device] = held["Total"], dict(held)

        def _track_module_params_and_buffers(
            self, module: nn.Module, install_grad_hooks: bool = True
        ) -> tuple[int, int]:
            for weights in module.parameters():
                if not weights.requires_grad:  # the library wants its gradient all the same
                    self._param_to_grad_hook_handles[weights] = (_NoHook(), _NoHook())
            return super()._track_module_params_and_buffers(module, install_grad_hooks)

    tracker = PeakTracker()
    tracker.track_external(*external)
    return tracker


def _parts(tracker: Any) -> dict[str, int]:
    """Return the bytes at the peak by the names of `Memory`; those of all devices together."""
    parts = dict.fromkeys((*PARTS.values(), "temporary"), 0)
    for held in tracker.get_tracker_snapshot("peak").values():
        for kind, count in held.items():
            if kind != "Total":
                parts[PARTS.get(getattr(kind, "name", str(kind)), "temporary")] += count
    return parts


def _attention_on_cpu() -> dict[Any, Any]:
    """Return how to count the attention of a CPU, which torch's table of formulas lacks."""

    def forward(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
        return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]

    def backward(gradient: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
        return int(sdpa_backward_flop_count(gradient, query, key, value))  # type: ignore[no-untyped-call]

    aten = torch.ops.aten
    return {
        aten._scaled_dot_product_flash_attention_for_cpu: _by_shape(forward, 3),
        aten._scaled_dot_product_flash_attention_for_cpu_backward: _by_shape(backward, 4),
    }


def _by_shape(formula: Callable[..., int], tensors: int) -> Callable[..., int]:
    """Return a formula of shapes as the counter calls it: with the tensors."""

    def count(*args: Any, out_val: object = None, **kwargs: Any) -> int:
        return formula(*(each.shape for each in args[:tensors]))

    count._get_raw = True  # type: ignore[attr-defined]  # the counter hands over tensors, not shapes
    return count
