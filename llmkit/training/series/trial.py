"""One training that is planned and can be tried more than once: with other seeds, or by other recipes."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, TrainerCallback, set_seed

from llmkit import models, runs
from llmkit.errors import Interrupted, Stopped
from llmkit.models import modules
from llmkit.options import AdapterOptions, ModelOptions, RunOptions, TrainingOptions, TunedRecipeOptions
from llmkit.output.report import Report
from llmkit.runs import MADE_HERE, RunFolder, read_run
from llmkit.runs.interrupts import StopRequest
from llmkit.training import jobs
from llmkit.training.jobs import Job, Trained
from llmkit.training.loop.distillation_loss import DistillationLoss
from llmkit.training.loop.recipe import Recipe
from llmkit.training.loop.trainer import Fit

KEPT = ("run.json", "metrics.jsonl")  # of an attempt whose model nobody wants


@dataclass(frozen=True)
class Choices:
    """What decides how a model is trained."""

    hyper: TrainingOptions
    recipe: TunedRecipeOptions
    adapter: AdapterOptions

    def changed(self, values: Mapping[str, Any]) -> Choices:
        """Return the choices with some values in place of others, by the names of their options."""
        groups = {
            name: replace(group, **{key: value for key, value in values.items() if key in vars(group)})
            for name, group in vars(self).items()
        }
        return Choices(**groups)

    @property
    def given(self) -> dict[str, Any]:
        """All options that are not left to be chosen."""
        return {
            name: value for group in vars(self).values() for name, value in asdict(group).items() if value is not None
        }


@dataclass(frozen=True)
class TrialRun:
    """One training: its job and choices, and the ways to a model and to a recipe for them."""

    job: Job
    choices: Choices
    identity: dict[str, Any]
    run: RunOptions
    options: ModelOptions
    report: Report
    opens: Callable[[Choices], tuple[PreTrainedModel, DistillationLoss | None]]  # with what a teacher teaches it
    recipe: Callable[[Choices, int], Recipe]  # for a number of parameters

    def train(self) -> Trained:
        """Train, and leave a finished run folder."""
        return jobs.conclude(self.job, self.learn(), self.options, self.report)

    def learn(self, callbacks: Sequence[TrainerCallback] = ()) -> Fit:
        """Train and save the model, without measuring the saved one."""
        set_seed(self.choices.hyper.seed)
        recipe_for = partial(self.recipe, self.choices)
        model, distillation_loss = self.opens(self.choices)
        return jobs.learn(
            self.job,
            model,
            recipe_for,
            self.identity,
            self.run,
            self.options,
            self.report,
            distillation_loss,
            callbacks,
        )

    def in_folder(self, path: Path, values: Mapping[str, Any]) -> TrialRun:
        """Return the same training in a folder of its own, by other choices: on the same rows, measured the same way.

        What an earlier attempt left in the folder is gone on with; one without a run.json was never begun.
        """
        if path.exists() and read_run(path) is None:
            shutil.rmtree(path)
        identity = {**self.identity, **values}
        run = replace(self.run, output=path, resume=path.exists(), overwrite=False)
        job = replace(self.job, folder=runs.open_run(path, run, identity))
        if "seed" in values:  # of what training draws; the rows are measured alike
            job = replace(job, train_setup=replace(job.train_setup or job.settings, seed=values["seed"]))
        return replace(self, job=job, choices=self.choices.changed(values), identity=identity, run=run)

    @cached_property
    def usual(self) -> Recipe:
        """The recipe of these choices, for the number of the model's weights, known from its config alone."""
        task, resolved = self.job.task, self.job.resolved
        config = models.with_config_values(resolved.config, task.head_config(self.job.settings))
        model = modules.skeleton(config, task.auto_class_for(config), self.options.trust_remote_code)
        return self.recipe(self.choices, modules.base_size(model))


@contextmanager
def series(trial_run: TrialRun, identity: dict[str, Any]) -> Iterator[StopRequest]:
    """Open a run folder for several attempts within it; yield the wish to stop, to be looked at between them.

    Raises:
        Stopped: a signal came; the same command goes on.
        Interrupted: one came before anything was saved.
    """
    folder = trial_run.job.folder
    if trial_run.run.overwrite:
        folder.clear()
    folder.update(
        status="running",
        command=trial_run.job.command,
        task=trial_run.job.task.name,
        options=identity,
        **runs.environment(),
    )
    with StopRequest(trial_run.report) as stop_request:
        try:
            yield stop_request
        except Stopped:
            folder.update(status="stopped")
            raise
        except (Interrupted, KeyboardInterrupt):
            if not _anything_saved(folder.path):
                folder.abandon()
                raise Interrupted("interrupted before anything was saved") from None
            folder.update(status="stopped")
            raise Stopped("stopped; what is finished is kept: the same command goes on from there") from None


def raise_if_stopped(stop_request: StopRequest) -> None:
    """Stop between two attempts where that is wished.

    Raises:
        Interrupted: which `series` makes something better of.
    """
    if stop_request.asked:
        raise Interrupted("stopped between two runs")


def _anything_saved(folder: Path) -> bool:
    records = [read_run(file.parent) or {} for file in (*folder.glob("*/run.json"), *folder.glob("*/*/run.json"))]
    return any(record.get("status") != "running" for record in records)


def copy_to_run_folder(path: Path, folder: RunFolder, **more: Any) -> dict[str, Any]:
    """Copy the model of an attempt, and all that is told of it, to the run folder around it, and return its run.json.

    `more` is what run.json says otherwise there.
    """
    for pattern in MADE_HERE:
        for file in path.glob(pattern):
            if file.name != "run.json":
                shutil.copy2(file, folder.path / file.name)
    record = {**(read_run(path) or {}), **more}
    folder.write(record)
    return record


def delete_weights(path: Path) -> None:
    """Remove the model and the checkpoints of an attempt; what was measured stays."""
    for file in path.iterdir():
        if file.is_dir():
            shutil.rmtree(file)
        elif file.name not in KEPT:
            file.unlink()
