"""What happens beside the training loop: figures written down, divergence caught, stops served."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from llmkit.distributed.world import world
from llmkit.errors import DivergedError
from llmkit.metrics import LOWER_IS_BETTER
from llmkit.output.live_table import TrainingTable
from llmkit.output.report import Advance, Report, console, to_json
from llmkit.runs.interrupts import StopRequest
from llmkit.training.loop.checkpoints import all_finite

REMEDY = "try a lower --learning-rate, or --dtype float32"


class DivergenceGuard(TrainerCallback):
    """Stops a run whose loss is no number, before such weights are saved; measures and saves at the last step."""

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: torch.nn.Module,
        **kwargs: object,
    ) -> None:
        if state.global_step >= state.max_steps:
            control.should_evaluate = control.should_save = True
        if control.should_save and not all_finite(model):
            raise DivergedError(f"training diverged: weights are not finite at step {state.global_step}; {REMEDY}")
        if control.should_save:
            control.should_log = True  # so that on_log sees the loss before the weights are written

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float],
        **kwargs: object,
    ) -> None:
        for name in ("loss", "grad_norm"):
            if name in logs and not math.isfinite(logs[name]):
                raise DivergedError(f"training diverged: {name} is {logs[name]} at step {state.global_step}; {REMEDY}")

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        collator = getattr(kwargs.get("train_dataloader"), "collate_fn", None)
        if collator is not None and hasattr(
            collator, "epoch"
        ):  # masks of masked-lm: others in each epoch, the same when resumed
            collator.epoch = int(state.epoch or 0) + 1


class StopCallback(TrainerCallback):
    """Serves a request to stop at the end of the step, of whichever process it came to: save, then leave the loop."""

    def __init__(self, stop_request: StopRequest) -> None:
        self.stop_request, self.world, self.stops = stop_request, world(), False

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        self.stops = self.world.any(self.stop_request.asked)
        if self.stops:
            control.should_save = control.should_training_stop = True


class EarlyStopping(TrainerCallback):
    """Stops a run that has been measured so many times without a better value of its best metric."""

    # Not transformers' EarlyStoppingCallback: a resumed Trainer goes on counting only in a callback that it makes anew
    # from the checkpoint's JSON, which holds no report; and `_train` asks before the loop whether patience is out.

    def __init__(self, patience: int, report: Report, best_metric: str) -> None:
        self.patience, self.report, self.best_metric = patience, report, best_metric

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        if state.global_step < state.max_steps and out_of_patience(state.log_history, args, self.patience):
            control.should_training_stop = True
            self.report.say(
                f"stopped early at step {state.global_step}/{state.max_steps}: "
                f"{self.patience} measurements without a better {self.best_metric}"
            )


def out_of_patience(history: list[dict[str, float]], args: TrainingArguments, patience: int | None) -> bool:
    """Tell from what a run has logged whether its last `patience` measurements are no better than one before them.

    A function of what a checkpoint holds, so that a resumed run counts on.
    """
    name = f"eval_{args.metric_for_best_model}"
    values = [line[name] if args.greater_is_better else -line[name] for line in history if name in line]
    if patience is None or len(values) <= patience:
        return False
    earlier, last = ([value for value in part if value == value] for part in (values[:-patience], values[-patience:]))
    return max(last, default=-math.inf) <= max(earlier, default=-math.inf)


class MetricsLogger(TrainerCallback):
    """Writes each figure to metrics.jsonl and shows the measurements: on a terminal in a live table.

    What it draws is gone, and the cursor back, when its context is left, however the training ends.
    """

    def __init__(self, file: Path, report: Report, logged_metrics: Sequence[str]) -> None:
        self.file, self.report, self.logged_metrics = file, report, list(dict.fromkeys(logged_metrics))
        self.best_metric = self.logged_metrics[0]
        self._drawing = contextlib.ExitStack()
        self._advance: Advance
        self._table: TrainingTable | None = None
        self._loss: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._drawing.close()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        self._drop_lines_after(state.global_step)
        if self.report.draws:
            lower = self.best_metric in LOWER_IS_BETTER
            table = TrainingTable(console(stderr=True), self.best_metric, lower, state.max_steps)
            self._table = self._drawing.enter_context(table)
            self._advance = self._table.advance
        else:
            self._advance = self._drawing.enter_context(self.report.progress("training", state.max_steps))
        self._advance(state.global_step)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        self._advance(1)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        self._drawing.close()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float],
        **kwargs: object,
    ) -> None:
        self._loss = logs.get("loss", self._loss)
        if is_endless(state):
            logs.pop("epoch", None)
        if not world().is_main:
            return
        with self.file.open("a", encoding="utf-8") as lines:
            lines.write(to_json({"step": state.global_step, **logs}) + "\n")
        if self._table is not None:
            self._table.log(logs)

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float],
        **kwargs: object,
    ) -> None:
        loss = f"training loss {self._loss:.4f}, " if self._loss is not None else ""
        epoch = None if is_endless(state) else state.epoch or 0.0
        if self._table is not None:
            self._table.measured(state.global_step, epoch, metrics.get(f"eval_{self.best_metric}", math.nan))
            return
        at = "" if epoch is None else f" (epoch {epoch:.2f})"
        figures = ", ".join(f"{name} {metrics.get(f'eval_{name}', math.nan):.4f}" for name in self.logged_metrics)
        self.report.say(f"step {state.global_step}/{state.max_steps}{at}: {loss}validation {figures}")

    def _drop_lines_after(self, step: int) -> None:
        """Drop the lines of steps that a resumed run takes again."""
        if not world().is_main or not self.file.exists():
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
