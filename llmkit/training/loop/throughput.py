"""Where the time of a training goes, and how much of it computes: phases, tokens, padding, FLOPs.

A step's FLOPs are counted as Kaplan et al., Scaling Laws, 2020, count them: 2 for each token and each weight that it is
multiplied with, forwards; as many for the gradient of what flows back; as many again for each of them that is trained.
Attention's own products, which grow with the length, are left out. MFU is these FLOPs over those that the device does
in matrix products (Chowdhery et al., PaLM, 2022): here they are measured, where others take a maker's figure.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from llmkit.distributed.world import World
from llmkit.output.result import ThroughputRecord
from llmkit.runs.throughput import Phases, linear_layers, matmul_peak, phase_lines
from llmkit.tasks.base.encoding import Batch
from llmkit.training.loop.checkpoints import StrategyTrainer

STEP_PHASES = ("data", "forward", "backward", "optimizer")
PHASES = (*STEP_PHASES, "measurement", "save")
TRACED_STEPS = 3  # after two that are not typical
TRACE = "trace.json"


@dataclass
class PhaseClock(Phases):
    """Adds up the seconds of the phases of a training."""

    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))


def throughput(clock: PhaseClock, model: torch.nn.Module, dtype: torch.dtype, world: World) -> ThroughputRecord:
    """Return how fast a training was, over all processes; null where it took no step.

    The rates are of the steps alone: loading, forward, backward and optimizer, without measurements and saves.
    """
    phases = {name: round(seconds, 3) for name, seconds in clock.seconds.items()}
    step_seconds = sum(clock.seconds[name] for name in STEP_PHASES)
    shares = world.gather((int(clock.tokens), clock.places, matmul_peak(clock.device, dtype)))
    tokens, places, peak = (sum(column) for column in zip(*shares, strict=True))
    if not (tokens and step_seconds):
        nothing = dict.fromkeys(("tokens_per_second", "padding_share", "flops_per_second", "mfu"))
        return cast("ThroughputRecord", {**nothing, "phase_seconds": phases})
    flops = places / step_seconds * flops_per_token(model)
    return {
        "tokens_per_second": round(tokens / step_seconds, 1),
        "padding_share": round(1 - tokens / places, 4),
        "flops_per_second": round(flops),
        "mfu": round(flops / peak, 4),
        "phase_seconds": phases,
    }


def flops_per_token(model: torch.nn.Module) -> int:
    """Return the FLOPs of a training step for each token, of the products with the weights of linear maps."""
    weights = trained = 0
    for layer in linear_layers(model):
        weights += layer.weight.numel()
        trained += layer.weight.numel() * layer.weight.requires_grad
    return 4 * weights + 2 * trained


def table(record: ThroughputRecord, seconds: float, peak_memory: int) -> list[str]:
    """Return the lines of --profile: the seconds of each phase and their share of all `seconds`, then the rates."""
    lines = phase_lines(record["phase_seconds"], seconds)
    if record["tokens_per_second"] is not None:
        flops, mfu = record["flops_per_second"] or 0.0, record["mfu"] or 0.0
        lines.append(f"{record['tokens_per_second']:,.0f} tokens/s in steps, {record['padding_share']:.1%} padding")
        lines.append(f"{flops / 1e9:,.1f} GFLOP/s, {mfu:.1%} of those of a matrix product here (MFU)")
    lines.append(f"peak memory {peak_memory / 1e9:.2f} GB")
    return lines


class ClockedTrainer(StrategyTrainer):
    """A Trainer that counts the seconds of its phases and its tokens in `clock`."""

    clock: PhaseClock

    def get_batch_samples(
        self, epoch_iterator: Iterator[Batch], num_batches: int, device: torch.device
    ) -> tuple[list[Batch], torch.Tensor | int | None]:
        """Return the batches of a step, and what their losses are divided by."""
        with self.clock.phase("data"):
            found: tuple[list[Batch], torch.Tensor | int | None] = super().get_batch_samples(
                epoch_iterator, num_batches, device
            )
            return found

    def training_step(
        self, model: torch.nn.Module, inputs: Batch, num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """Return the loss of a batch, whose gradients are added to those of its step; a scalar."""
        self.clock.count(inputs)
        with self.clock.phase("backward"):  # what runs in `compute_loss` is counted as forward
            loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
            return loss

    def compute_loss_context_manager(self) -> contextlib.ExitStack:
        """Return what a forward pass runs in."""
        contexts = contextlib.ExitStack()
        contexts.enter_context(self.clock.phase("forward"))
        contexts.enter_context(super().compute_loss_context_manager())
        return contexts

    def _evaluate(self, *arguments: Any, **more: Any) -> dict[str, float]:
        with self.clock.phase("measurement"):
            logs: dict[str, float] = super()._evaluate(*arguments, **more)
            return logs

    def _save_checkpoint(self, *arguments: Any, **more: Any) -> None:
        with self.clock.phase("save"):
            super()._save_checkpoint(*arguments, **more)


class OptimizerClock(TrainerCallback):
    """Counts the seconds of the optimizer's steps."""

    def __init__(self, clock: PhaseClock) -> None:
        self.clock, self.running = clock, contextlib.ExitStack()

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        self.running.enter_context(self.clock.phase("optimizer"))

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        self.running.close()


class Tracer(TrainerCallback):
    """Writes a trace of some steps by torch's profiler, which chrome://tracing and Perfetto show."""

    def __init__(self, file: Path) -> None:
        self.file = file
        schedule = torch.profiler.schedule(wait=1, warmup=1, active=TRACED_STEPS, repeat=1)
        self.profiler = torch.profiler.profile(schedule=schedule, on_trace_ready=self._write)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        self.profiler.start()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        self.profiler.step()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        self.profiler.stop()

    def _write(self, profiler: torch.profiler.profile) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        profiler.export_chrome_trace(str(self.file))
