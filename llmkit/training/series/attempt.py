"""One trial of a search, as plain data: what is to be trained, what it came to, and the training between the two."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol, cast

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from llmkit.distributed.world import World, world
from llmkit.errors import DivergedError, brief
from llmkit.output.result import TrialOutcome
from llmkit.runs.record import FitRecord
from llmkit.training.loop.trainer import Fit
from llmkit.training.series.trial import TrialRun


@dataclass(frozen=True)
class Proposal:
    """A trial that is to be trained: its number, its folder, and the values of what is searched."""

    number: int
    path: Path
    values: Mapping[str, float | str]

    @property
    def described(self) -> str:
        """The values in words."""
        spelled = {name: f"{each:.3g}" if isinstance(each, float) else each for name, each in self.values.items()}
        return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in spelled.items())


@dataclass(frozen=True)
class Outcome:
    """What a trial came to: its best value where it is complete, the reason where it failed for one."""

    state: TrialOutcome
    value: float | None = None
    steps: int | None = None
    problem: str | None = None


class Judge(Protocol):
    """Hears what a trial reports."""

    def prunes(self, measured: int, value: float) -> bool:
        """Tell whether the trial that reports its measurement of that number is not worth going on with."""


@dataclass(frozen=True)
class SharedJudge:
    """The judge of a trial that several processes train: the main one has it, the others do as it says."""

    judge: Judge | None
    here: World

    def prunes(self, measured: int, value: float) -> bool:
        """Tell in each process what the main one's judge says."""
        return self.here.from_main(self.judge.prunes(measured, value) if self.judge else None)


class TrialCallback(TrainerCallback):
    """Reports what is measured on the way to a judge, and stops a trial that is not worth going on with."""

    def __init__(self, judge: Judge, best_metric: str) -> None:
        self.judge, self.pruned = judge, False
        self.key = f"eval_{best_metric}"

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: Mapping[str, float],
        **kwargs: object,
    ) -> None:
        measured = sum(self.key in line for line in state.log_history)
        prunes = self.judge.prunes(measured, metrics[self.key])
        if prunes and state.global_step < state.max_steps:
            self.pruned = control.should_training_stop = True


def attempt(trial_run: TrialRun, proposal: Proposal, judge: Judge | None, *callbacks: TrainerCallback) -> Outcome:
    """Train a trial in its folder; one that diverges, or does not fit into the memory, has failed.

    Of several processes that train it together, a failure of one is that of all. But one whose memory is full has left
    the others in the middle of a step: that ends the command.

    Raises:
        Stopped, Interrupted: a signal came.
        OutOfMemoryError: in one of several processes.
    """
    here = world()
    callback = TrialCallback(SharedJudge(judge, here), trial_run.job.best_metric)
    trial_run = trial_run.in_folder(proposal.path, proposal.values)
    fit: Fit | None = None
    problem: str | None = None
    try:
        fit = trial_run.learn(callback, *callbacks)
    except torch.OutOfMemoryError as error:
        if here.size > 1:
            raise
        problem = brief(error)
    except DivergedError as error:
        problem = brief(error)
    problem = next((each for each in here.gather(problem) if each is not None), None)
    if fit is None or problem is not None:
        trial_run.job.folder.update(status="failed")
        return Outcome("failed", problem=problem)
    trial_run.job.folder.update(status="finished", fit=cast("FitRecord", asdict(fit)))
    if callback.pruned:
        return Outcome("pruned", steps=fit.steps)
    if fit.best_value is None or not math.isfinite(fit.best_value):
        return Outcome("failed", steps=fit.steps)  # a correlation of one answer to all rows is no number
    return Outcome("complete", fit.best_value, fit.steps)
