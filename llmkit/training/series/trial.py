"""One training that is planned and can be tried more than once: with other seeds, or by other recipes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

from transformers import TrainerCallback, set_seed

from llmkit import models, runs
from llmkit.distributed.world import world
from llmkit.errors import Interrupted, Stopped
from llmkit.runs import MADE_HERE, RunFolder, read_run
from llmkit.runs.interrupts import StopRequest
from llmkit.runs.record import RunRecord
from llmkit.training import jobs
from llmkit.training.estimates.tracked import Subject
from llmkit.training.jobs import Trained
from llmkit.training.loop.job import Job, Session
from llmkit.training.loop.recipe import Recipe, with_learning_rate
from llmkit.training.loop.trainer import Fit
from llmkit.training.model_spec import ModelSpec, open_model

KEPT_OF_TRIALS = ("run.json", "metrics.jsonl")  # of a trial whose model nobody wants


@dataclass(frozen=True)
class TrialRun:
    """One training: what it is, of which model, by which recipe."""

    job: Job
    spec: ModelSpec
    recipe: Recipe
    session: Session

    def train(self) -> Trained:
        """Train, and leave a finished run folder."""
        set_seed(self.recipe.seed)
        return jobs.train(self.job, open_model(self.job, self.spec, self.session.options), self.recipe, self.session)

    def learn(self, *callbacks: TrainerCallback) -> Fit:
        """Train and save the model, without measuring the saved one."""
        set_seed(self.recipe.seed)
        model = open_model(self.job, self.spec, self.session.options)
        return jobs.learn(self.job, model, self.recipe, replace(self.session, callbacks=callbacks))

    def in_folder(self, path: Path, values: Mapping[str, Any]) -> TrialRun:
        """Return the same training in a folder of its own, with other values of some options, by name.

        It is on the same rows, measured the same way. What an earlier trial left in the folder is gone on with. Of
        several processes the main one looks, before any of them writes.
        """
        identity = {**self.job.identity, **values}
        here = world()
        begun = here.from_main(_is_begun(path) if here.is_main else None)
        run = replace(self.job.run, output=path, resume=begun, overwrite=False)
        job = replace(self.job, folder=runs.open_run(path, run, identity), run=run, identity=identity)
        if "seed" in values:  # of what training draws; the rows are measured alike
            job = replace(job, train_settings=replace(job.train_settings or job.settings, seed=values["seed"]))
        return replace(self, job=job, spec=self.spec.with_options(values), recipe=self.recipe.with_options(values))

    @property
    def subject(self) -> Subject:
        """What is estimated of it."""
        device = models.pick_device(self.session.options.device)
        return Subject(self.job, self.spec, self.recipe, self.session, device)

    @property
    def default_recipe(self) -> Recipe:
        """The recipe with its learning rate, known from the skeleton of the model alone."""
        assert self.spec.parameters is not None  # where a recipe is asked for before the model is open, it is counted
        return with_learning_rate(self.recipe, self.spec.parameters, self.job.resolved.config, self.job.lr_multiplier)


@contextmanager
def series(trial_run: TrialRun, identity: Mapping[str, object]) -> Iterator[StopRequest]:
    """Open a run folder for several trainings inside it; yield the request to stop, to be looked at between them.

    Raises:
        Stopped: a signal came; the same command goes on.
        Interrupted: one came before anything was saved.
    """
    job = trial_run.job
    if job.run.overwrite:
        job.folder.clear()
    job.folder.update(
        status="running",
        command=job.command,
        task=job.task.name,
        options=dict(identity),
        data=jobs.data_record(job),
        dtype=trial_run.session.options.dtype,
        **runs.environment(),
    )
    with StopRequest(trial_run.session.report) as stop_request:
        try:
            yield stop_request
        except Stopped:
            job.folder.update(status="stopped")
            raise
        except (Interrupted, KeyboardInterrupt):
            if not _anything_saved(job.folder.path):
                job.folder.abandon()
                raise Interrupted("interrupted before anything was saved") from None
            job.folder.update(status="stopped")
            raise Stopped("stopped; what is finished is kept: the same command goes on from there") from None


def raise_if_stopped(stop_request: StopRequest) -> None:
    """Stop between two trainings where that is asked for.

    Raises:
        Interrupted: which `series` makes something better of.
    """
    if world().any(stop_request.asked):
        raise Interrupted("stopped between two runs")


def _anything_saved(folder: Path) -> bool:
    run_records = [read_run(file.parent) or {} for file in (*folder.glob("*/run.json"), *folder.glob("*/*/run.json"))]
    return any(run_record.get("status") != "running" for run_record in run_records)


def copy_to_run_folder(path: Path, folder: RunFolder, **fields: Unpack[RunRecord]) -> RunRecord:
    """Copy the model of a trial, and all that is known of it, to the run folder around it, and return its run.json.

    `fields` are those in which that differs from the trial's. Of several processes the main one does it, and the others
    go on when it has.
    """
    here = world()
    return here.from_main(_copied(path, folder, {**(read_run(path) or {}), **fields}) if here.is_main else None)


def _copied(path: Path, folder: RunFolder, run_record: RunRecord) -> RunRecord:
    for pattern in (*MADE_HERE, "*.py"):  # the code that came with a model
        for file in path.glob(pattern):
            if file.name != "run.json":
                shutil.copy2(file, folder.path / file.name)
    folder.write(run_record)
    return run_record


def _is_begun(path: Path) -> bool:
    """Tell whether there is something to go on with; a folder without a run.json has nothing, and is removed."""
    if path.is_dir() and read_run(path) is None:
        shutil.rmtree(path)
    return path.exists()


def delete_weights(path: Path) -> None:
    """Remove the model and the checkpoints of a trial; what was measured stays."""
    for file in path.iterdir():
        if file.is_dir():
            shutil.rmtree(file)
        elif file.name not in KEPT_OF_TRIALS:
            file.unlink()
