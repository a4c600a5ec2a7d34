"""`--search N`: trials of other recipes, chosen by what the trials before them came to, and the best of them.

The first trial is the default recipe, so that what the others are compared with is measured as they are. The rest are
chosen by a tree-structured Parzen estimator (Bergstra et al., Algorithms for Hyper-Parameter Optimization, 2011); one
that is worse on the way than half of the others were is pruned, as Vizier does (Golovin et al., 2017).
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from llmkit.errors import DivergedError, brief
from llmkit.errors.extras import require_extra
from llmkit.metrics import LOWER_IS_BETTER
from llmkit.options.training.search_space import Space, described
from llmkit.output.result import SearchResult, TrialOutcome, TrialResult
from llmkit.output.trials import draw_trials
from llmkit.runs.record import FitRecord
from llmkit.training import jobs
from llmkit.training.jobs import Trained
from llmkit.training.loop.trainer import Fit
from llmkit.training.series.trial import TrialRun, copy_to_run_folder, delete_weights, raise_if_stopped, series

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial, TrialState

STARTUP_TRIALS = 5  # before the estimator has enough to go by: the default, and four drawn at random
PRUNED_FROM = 2  # the measurement of a trial from which it can be pruned: the first says little
TRIALS_COMPARED = 4  # that must be complete before one is pruned
STATES: Mapping[str, TrialOutcome] = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}


def require_optuna() -> None:
    """Demand the library of the search.

    Raises:
        OptionError: it is missing.
    """
    require_extra("--search", "search", "optuna")


class TrialCallback(TrainerCallback):
    """Tells a trial what is measured on the way, and stops one that is not worth going on with."""

    def __init__(self, trial: Trial, reported: Mapping[int, float], best_metric: str, prunes: bool) -> None:
        self.trial, self.reported, self.prunes, self.pruned = trial, reported, prunes, False
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
        value = metrics[self.key]
        if math.isfinite(value) and measured not in self.reported:  # a trial that is taken up again may have reported
            self.trial.report(value, measured)
        if self.prunes and state.global_step < state.max_steps and self.trial.should_prune():
            self.pruned = control.should_training_stop = True


class Search:
    """The trials of one search, kept in a database in the run folder; `identity` is that of the command."""

    def __init__(self, trial_run: TrialRun, space: Space, count: int, identity: Mapping[str, object]) -> None:
        self.trial_run, self.space, self.count, self.identity = trial_run, space, count, identity
        self.folder, self.best_metric = trial_run.job.folder, trial_run.job.best_metric
        self.report = trial_run.session.report

    def say_plan(self) -> None:
        """Tell what is searched."""
        space = "; ".join(f"{name.replace('_', ' ')} {values}" for name, values in self.space.items())
        self.report.say(f"search: {self.count} trials, the first the default recipe; {space}")

    def run(self) -> Trained:
        """Try so many recipes, and leave the model of the best, measured by eval's own code, in the run folder.

        Raises:
            Stopped: a signal came; the same command goes on.
            DivergedError: no trial came to its end.
        """
        self.say_plan()
        with series(self.trial_run, self.identity) as stop_request:
            study = self._study()
            for number in range(self.count):
                raise_if_stopped(stop_request)
                trial = self._trial(study, number)
                if trial is not None:
                    self._try(study, trial)
            return self._conclude(study)

    def _study(self) -> Study:
        import optuna
        from sqlalchemy import URL

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = optuna.create_study(
            storage=str(URL.create("sqlite", database=str((self.folder.path / "search.db").resolve()))),
            study_name="llmkit",
            load_if_exists=True,
            direction="minimize" if self.best_metric in LOWER_IS_BETTER else "maximize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=TRIALS_COMPARED, n_warmup_steps=PRUNED_FROM),
        )
        if not study.trials:
            defaults = {name: value for name, value in self._defaults().items() if self.space[name].holds(value)}
            study.enqueue_trial(defaults)
        return study

    def _defaults(self) -> dict[str, float | str]:
        """Return what the default recipe has for what is searched."""
        adapter = self.trial_run.spec.adapter
        values = self.trial_run.default_recipe.by_option()
        values |= {"lora_rank": adapter.rank, "lora_alpha": adapter.alpha}
        return {name: values[name] for name in self.space}

    def _trial(self, study: Study, number: int) -> Trial | None:
        """Return the trial of that number, a new one or one that a kill cut short; None where it is done.

        The estimator is seeded by the number, so that a search that was stopped goes on as it would have gone.
        """
        import optuna

        before = study.trials
        if number < len(before) and before[number].state.is_finished():
            return None
        study.sampler = optuna.samplers.TPESampler(
            seed=(self.trial_run.recipe.seed + number) % 2**32, n_startup_trials=STARTUP_TRIALS
        )
        if number < len(before) and before[number].state == optuna.trial.TrialState.RUNNING:
            return optuna.trial.Trial(study, before[number]._trial_id)
        return study.ask()

    def _try(self, study: Study, trial: Trial) -> None:
        """Run one trial, and tell the study what it came to."""
        values = self._values(trial)
        trial.set_user_attr("values", values)
        self.report.say(f"trial {trial.number} ({trial.number + 1} of {self.count}): {_described(values)}")
        started = time.monotonic()
        state, value = self._train(study, trial, values)
        trial.set_user_attr("seconds", round(time.monotonic() - started, 1))
        study.tell(trial, value, state)
        self._tidy(study)
        self._say_outcome(study, trial.number)

    def _train(self, study: Study, trial: Trial, values: dict[str, float | str]) -> tuple[TrialState, float | None]:
        """Train by the values of a trial; return how it ended and its best value, if it came to one."""
        from optuna.trial import TrialState

        reported = study.trials[trial.number].intermediate_values
        callback = TrialCallback(trial, reported, self.best_metric, prunes=trial.number > 0)
        trial_run = self.trial_run.in_folder(self._path(trial.number), values)
        try:
            fit = trial_run.learn(callback)
        except (DivergedError, torch.OutOfMemoryError) as error:
            self.report.warn(f"trial {trial.number} failed: {brief(error)}")
            trial_run.job.folder.update(status="failed")
            return TrialState.FAIL, None
        trial_run.job.folder.update(status="finished", fit=cast("FitRecord", asdict(fit)))
        trial.set_user_attr("steps", fit.steps)
        if callback.pruned:
            return TrialState.PRUNED, None
        if fit.best_value is None or not math.isfinite(fit.best_value):
            return TrialState.FAIL, None  # a correlation of one answer to all rows is no number
        return TrialState.COMPLETE, fit.best_value

    def _values(self, trial: Trial) -> dict[str, float | str]:
        """Return the values of a trial; the first has the defaults, those out of the space too.

        Three digits, so that what is printed can be typed to train the same again.
        """
        defaults = {} if trial.number else self._defaults()
        values = {
            name: defaults[name] if name in defaults and not space.holds(defaults[name]) else space.suggest(trial, name)
            for name, space in self.space.items()
        }
        return {name: float(f"{value:.3g}") if isinstance(value, float) else value for name, value in values.items()}

    def _say_outcome(self, study: Study, number: int) -> None:
        best, trial = _best(study), study.trials[number]
        value = "no number" if trial.value is None else f"{self.best_metric} {trial.value:.4f}"
        so_far = "" if best is None else f"; the best so far is trial {best.number}, {best.value:.4f}"
        self.report.say(f"trial {number} {STATES[trial.state.name]}: {value}{so_far}")

    def _path(self, number: int) -> Path:
        return self.folder.path / "trials" / str(number)

    def _tidy(self, study: Study) -> None:
        """Keep the model of the best trial alone, and no checkpoints."""
        best = _best(study)
        for trial in study.trials:
            path = self._path(trial.number)
            if not path.is_dir() or not trial.state.is_finished():
                continue
            if best is None or trial.number != best.number:
                delete_weights(path)
            else:
                shutil.rmtree(path / "checkpoints", ignore_errors=True)

    def _conclude(self, study: Study) -> Trained:
        """Move the best trial's model to the run folder, and measure it there as any run's."""
        best = _best(study)
        if best is None:
            raise DivergedError(f"none of {self.count} trials came to its end; search lower rates: --search-space FILE")
        search = self._record(study, best)
        options = dict(self.identity)
        run_record = copy_to_run_folder(
            self._path(best.number), self.folder, status="running", options=options, search=search
        )
        draw_trials(self.folder.path, search)
        trained = jobs.conclude(self.trial_run.job, Fit(**run_record["fit"]), self.trial_run.session)
        delete_weights(self._path(best.number))
        self._warn(search)
        return trained

    def _record(self, study: Study, best: FrozenTrial) -> SearchResult:
        """Return what run.json says of the search."""
        trials: list[TrialResult] = [
            {
                "trial": trial.number,
                "state": STATES[trial.state.name],
                "value": trial.value,
                "values": trial.user_attrs["values"],
                "steps": trial.user_attrs.get("steps"),
                "seconds": trial.user_attrs["seconds"],
            }
            for trial in study.trials
        ]
        return {
            "by": self.best_metric,
            "greater_is_better": self.best_metric not in LOWER_IS_BETTER,
            "best": best.number,
            "best_value": best.value,
            "default_value": trials[0]["value"],
            "rows": len(self.trial_run.job.rows.validation),
            "space": described(self.space),
            "trials": trials,
        }

    def _warn(self, search: SearchResult) -> None:
        """Say how far the best figure can be believed."""
        job, path = self.trial_run.job, self.folder.path
        if search["best"] == 0:
            self.report.say(f"no trial was better than the default recipe, which {path} holds")
        columns, test = job.settings.columns, job.source.splits.get("test")
        untouched = test is not None and "test" not in f"{job.rows.name} {self.identity['train_split']}"
        if untouched and set(columns.values()) <= set(test.column_names) and job.task.columns.has_labels(test, columns):
            remedy = f"measure where nothing was chosen: llmkit eval {job.reference} -m {path} --split test"
        else:
            remedy = "hold rows back that choose nothing, and measure there"
        rows = search["rows"]
        self.report.warn(f"the best of {self.count} trials, on the {rows} rows that chose it, is optimistic; {remedy}")


def _best(study: Study) -> FrozenTrial | None:
    """Return the best of the trials that came to their end, the earliest of equals; None where none did."""
    complete = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    sign = 1 if study.direction.name == "MAXIMIZE" else -1
    return max(complete, key=lambda trial: (sign * trial.value, -trial.number), default=None)


def _described(values: Mapping[str, float | str]) -> str:
    spelled = {name: f"{value:.3g}" if isinstance(value, float) else str(value) for name, value in values.items()}
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in spelled.items())
