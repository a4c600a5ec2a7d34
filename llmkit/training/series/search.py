"""`--search N`: trials of other recipes, chosen by what the trials before them came to, and the best of them.

The first trial is the default recipe, so that what the others are compared with is measured as they are. The rest are
chosen by a tree-structured Parzen estimator (Bergstra et al., Algorithms for Hyper-Parameter Optimization, 2011); one
that is worse on the way than half of the others were is pruned, as Vizier does (Golovin et al., 2017).
"""

from __future__ import annotations

import math
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from llmkit.errors import DivergedError, OptionError, brief
from llmkit.errors.extras import require_extra
from llmkit.metrics import LOWER_IS_BETTER
from llmkit.options.search_space import Categorical, Distribution, Range, Space, described
from llmkit.output.trials import draw_trials
from llmkit.training import jobs
from llmkit.training.jobs import Trained
from llmkit.training.loop.trainer import Fit
from llmkit.training.series.trial import TrialRun, copy_to_run_folder, delete_weights, raise_if_stopped, series

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

STARTUP = 5  # trials before the estimator has enough to go by: the default, and four drawn at random
JUDGED_FROM = 2  # the measurement of a trial from which it can be pruned: the first says little
COMPARED = 4  # trials that must be complete before one is pruned


def require_optuna() -> None:
    """Demand the library of the search.

    Raises:
        OptionError: it is missing.
    """
    require_extra("--search", "search", "optuna")


def space_for(trial_run: TrialRun, named: Space | None) -> Space:
    """Return what is searched: what a file names, else what suits the task, without what a flag has settled.

    Raises:
        OptionError: the file names what a flag gives, or what cannot be varied here; or nothing is left to search.
    """
    given, adapts = trial_run.choices.given, trial_run.choices.adapter.adapts
    if named is None:
        found = {name: values for name, values in _usual(trial_run).items() if given.get(name) is None}
        if not found:
            raise OptionError("--search has nothing to vary: flags give all of it; leave some out, or --search-space")
        return found
    for name in named:
        flag = f"--{name.replace('_', '-')}"
        if given.get(name) is not None:
            raise OptionError(f"{flag} and --search-space both give {name}; leave one out")
        if name.startswith("lora_") and not adapts:
            raise OptionError(f"--search-space: {name} is searched with --lora or --qlora alone")
        if name == "label_smoothing" and not trial_run.job.task.supports_label_smoothing(trial_run.job.settings):
            raise OptionError(f"--search-space: {trial_run.job.task.name} here has no label_smoothing to search")
        trial_run.choices.changed({name: named[name].ends[0]})  # refuses what does not go together, as with --max-steps
    return named


def _usual(trial_run: TrialRun) -> Space:
    """Return the space for a task: around the default of the model's size."""
    rate, rows = trial_run.usual.learning_rate, trial_run.usual.batch_size
    space: dict[str, Distribution] = {
        "learning_rate": Range(rate / 5, rate * 5, log=True),
        "batch_size": Categorical(tuple(sorted({max(1, rows // 2), rows, rows * 2}))),
        **trial_run.job.task.search_space(trial_run.job.settings),
    }
    if trial_run.choices.hyper.max_steps is not None:
        del space["epochs"]
    if trial_run.choices.adapter.adapts:
        space["lora_rank"] = Categorical((4, 8, 16, 32))
    return space


WORDS = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}


class Watcher(TrainerCallback):
    """Tells a trial what is measured on the way, and stops one that is not worth going on with."""

    def __init__(self, trial: Trial, told: dict[int, float], best: str, prunes: bool) -> None:
        self.trial, self.told, self.best, self.prunes, self.pruned = trial, told, best, prunes, False

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        measured = sum(f"eval_{self.best}" in line for line in state.log_history)
        value = more["metrics"][f"eval_{self.best}"]
        if math.isfinite(value) and measured not in self.told:  # a trial that is taken up again may have told it
            self.trial.report(value, measured)
        if self.prunes and state.global_step < state.max_steps and self.trial.should_prune():
            self.pruned = control.should_training_stop = True


class Search:
    """The trials of one search, kept in a database in the run folder."""

    def __init__(self, trial_run: TrialRun, space: Space, count: int, identity: dict[str, Any]) -> None:
        self.trial_run, self.space, self.count, self.identity = trial_run, space, count, identity
        self.folder, self.best, self.report = trial_run.job.folder, trial_run.job.best, trial_run.report
        self.recipe = trial_run.usual  # known before anything is written

    def say_plan(self) -> None:
        """Tell what is searched."""
        said = "; ".join(f"{name.replace('_', ' ')} {values}" for name, values in self.space.items())
        self.report.say(f"search: {self.count} trials, the first the default recipe; {said}")

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
            direction="minimize" if self.best in LOWER_IS_BETTER else "maximize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=COMPARED, n_warmup_steps=JUDGED_FROM),
        )
        if not study.trials:
            defaults = {name: value for name, value in self._defaults().items() if self.space[name].holds(value)}
            study.enqueue_trial(defaults)
        return study

    def _defaults(self) -> dict[str, Any]:
        """Return what the default recipe has for what is searched."""
        adapter = self.trial_run.choices.adapter
        known = {**asdict(self.recipe), "accumulate": self.recipe.accumulation}
        known |= {"lora_rank": adapter.rank, "lora_alpha": adapter.alpha}
        return {name: known[name] for name in self.space}

    def _trial(self, study: Study, number: int) -> Trial | None:
        """Return the trial of that number, a new one or one that a kill cut short; None where it is done.

        The estimator is seeded by the number, so that a search that was stopped goes on as it would have gone.
        """
        import optuna

        before = study.trials
        if number < len(before) and before[number].state.is_finished():
            return None
        study.sampler = optuna.samplers.TPESampler(
            seed=(self.trial_run.choices.hyper.seed + number) % 2**32, n_startup_trials=STARTUP
        )
        if number < len(before) and before[number].state == optuna.trial.TrialState.RUNNING:
            return optuna.trial.Trial(study, before[number]._trial_id)
        return study.ask()

    def _try(self, study: Study, trial: Trial) -> None:
        """Run one trial, and tell the study what it came to."""
        from optuna.trial import TrialState

        values = self._values(trial)
        trial.set_user_attr("values", values)
        self.report.say(f"trial {trial.number} ({trial.number + 1} of {self.count}): {_said(values)}")
        told, started = study.trials[trial.number].intermediate_values, time.monotonic()
        watcher = Watcher(trial, told, self.best, prunes=trial.number > 0)
        trial_run = self.trial_run.in_folder(self._path(trial.number), values)
        try:
            fit = trial_run.learn([watcher])
        except (DivergedError, torch.OutOfMemoryError) as error:
            self.report.warn(f"trial {trial.number} failed: {brief(error)}")
            trial_run.job.folder.update(status="failed")
            state, value = TrialState.FAIL, None
        else:
            trial_run.job.folder.update(status="finished", fit=asdict(fit))
            trial.set_user_attr("steps", fit.steps)
            state, value = TrialState.COMPLETE, fit.best_value
            if watcher.pruned:
                state, value = TrialState.PRUNED, None
            elif value is None or not math.isfinite(value):  # a correlation of one answer to all rows is no number
                state, value = TrialState.FAIL, None
        trial.set_user_attr("seconds", round(time.monotonic() - started, 1))
        study.tell(trial, value, state)
        self._tidy(study)
        self._say_outcome(study, trial.number)

    def _values(self, trial: Trial) -> dict[str, Any]:
        """Return the values of a trial; the first has the defaults, those out of the space too.

        Three digits, so that what is printed can be typed to train the same again.
        """
        fixed = {} if trial.number else self._defaults()
        values = {
            name: fixed[name] if name in fixed and not space.holds(fixed[name]) else space.suggest(trial, name)
            for name, space in self.space.items()
        }
        return {name: float(f"{value:.3g}") if isinstance(value, float) else value for name, value in values.items()}

    def _say_outcome(self, study: Study, number: int) -> None:
        best, trial = _best(study), study.trials[number]
        value = "no number" if trial.value is None else f"{self.best} {trial.value:.4f}"
        so_far = "" if best is None else f"; the best so far is trial {best.number}, {best.value:.4f}"
        self.report.say(f"trial {number} {WORDS[trial.state.name]}: {value}{so_far}")

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
        told = self._told(study, best)
        record = copy_to_run_folder(
            self._path(best.number), self.folder, status="running", options=self.identity, search=told
        )
        draw_trials(self.folder.path, told)
        trained = jobs.conclude(self.trial_run.job, Fit(**record["fit"]), self.trial_run.options, self.report)
        delete_weights(self._path(best.number))
        self._warn(told)
        return trained

    def _told(self, study: Study, best: FrozenTrial) -> dict[str, Any]:
        """Return what run.json says of the search."""
        trials = [
            {
                "trial": trial.number,
                "state": WORDS[trial.state.name],
                "value": trial.value,
                "values": trial.user_attrs["values"],
                "steps": trial.user_attrs.get("steps"),
                "seconds": trial.user_attrs["seconds"],
            }
            for trial in study.trials
        ]
        rows = len(self.trial_run.job.rows.validation)
        return {
            "by": self.best,
            "greater_is_better": self.best not in LOWER_IS_BETTER,
            "best": best.number,
            "best_value": best.value,
            "default_value": trials[0]["value"],
            "rows": rows,
            "space": described(self.space),
            "trials": trials,
        }

    def _warn(self, told: dict[str, Any]) -> None:
        """Say how far the best figure can be believed."""
        job, path = self.trial_run.job, self.folder.path
        if told["best"] == 0:
            self.report.say(f"no trial was better than the default recipe, which {path} holds")
        columns, test = job.settings.columns, job.source.splits.get("test")
        untouched = test is not None and "test" not in f"{job.rows.name} {self.identity['train_split']}"
        if untouched and set(columns.values()) <= set(test.column_names) and job.task.columns.has_labels(test, columns):
            remedy = f"measure where nothing was chosen: llmkit eval {job.reference} -m {path} --split test"
        else:
            remedy = "hold rows back that choose nothing, and measure there"
        rows = told["rows"]
        self.report.warn(f"the best of {self.count} trials, on the {rows} rows that chose it, is optimistic; {remedy}")


def _best(study: Study) -> FrozenTrial | None:
    """Return the best of the trials that came to their end, the earliest of equals; None where none did."""
    done = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    sign = 1 if study.direction.name == "MAXIMIZE" else -1
    return max(done, key=lambda trial: (sign * trial.value, -trial.number), default=None)


def _said(values: dict[str, Any]) -> str:
    spelled = {name: f"{value:.3g}" if isinstance(value, float) else str(value) for name, value in values.items()}
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in spelled.items())
