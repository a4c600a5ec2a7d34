"""What happens beside the training loop: figures written down, divergence caught, stops served."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from llmkit.errors import DivergedError
from llmkit.report import Report, to_json
from llmkit.signals import StopWish

REMEDY = "try a lower --learning-rate, or --dtype float32"


class Watchdog(TrainerCallback):
    """Stops a run whose loss is no number, before such weights are saved; measures and saves at the last step."""

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        if state.global_step >= state.max_steps:
            control.should_evaluate = control.should_save = True
        if control.should_save and not all(weights.isfinite().all() for weights in more["model"].parameters()):
            raise DivergedError(f"training diverged: weights are not finite at step {state.global_step}; {REMEDY}")
        if control.should_save:
            control.should_log = True  # so that on_log sees the loss before the weights are written

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, float], **more: Any
    ) -> None:
        for name in ("loss", "grad_norm"):
            if name in logs and not math.isfinite(logs[name]):
                raise DivergedError(f"training diverged: {name} is {logs[name]} at step {state.global_step}; {REMEDY}")

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        collator: Any = getattr(more.get("train_dataloader"), "collate_fn", None)
        if hasattr(collator, "epoch"):  # masks of masked-lm: others in each epoch, the same when resumed
            collator.epoch = int(state.epoch or 0) + 1


class StopCallback(TrainerCallback):
    """Serves a wish to stop at the end of the step: save, then leave the loop."""

    def __init__(self, wish: StopWish) -> None:
        self.wish = wish

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        if self.wish.asked:
            control.should_save = control.should_training_stop = True


class Narrator(TrainerCallback):
    """Writes each figure to metrics.jsonl and tells the measurements; draws a bar on a terminal."""

    def __init__(self, file: Path, report: Report, told: Sequence[str]) -> None:
        self.file, self.report, self.told = file, report, dict.fromkeys(told)
        self._bar: Any = None
        self._context: Any = None
        self._loss: float | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        self._forget_after(state.global_step)
        self._context = self.report.progress("training", state.max_steps)
        self._bar = self._context.__enter__()
        self._bar(state.global_step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        self._bar(1)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        self._context.__exit__(None, None, None)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, float], **more: Any
    ) -> None:
        self._loss = logs.get("loss", self._loss)
        if is_endless(state):
            logs.pop("epoch", None)
        with self.file.open("a", encoding="utf-8") as lines:
            lines.write(to_json({"step": state.global_step, **logs}) + "\n")

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float],
        **more: Any,
    ) -> None:
        loss = f"training loss {self._loss:.4f}, " if self._loss is not None else ""
        figures = ", ".join(f"{name} {metrics.get(f'eval_{name}', math.nan):.4f}" for name in self.told)
        epoch = "" if is_endless(state) else f" (epoch {state.epoch or 0:.2f})"
        self.report.say(f"step {state.global_step}/{state.max_steps}{epoch}: {loss}validation {figures}")

    def _forget_after(self, step: int) -> None:
        """Drop the lines of steps that a resumed run takes again."""
        if not self.file.exists():
            return
        lines = self.file.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if _step_of(line) <= step]
        self.file.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")


def is_endless(state: TrainerState) -> bool:
    """Tell whether rows are streamed, of which no one knows how many an epoch has: the library counts steps instead."""
    return bool(state.num_train_epochs == sys.maxsize)


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf  # a line that a kill cut short
