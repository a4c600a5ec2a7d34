"""The study of a search: its trials in a journal in the run folder, which is next, and what each of them came to.

One process has the study open, also where several train: it alone asks for trials, writes down what they report and
decides which is pruned, so that numbers are unique and nothing waits for a lock. The journal is a file of lines that
are only ever added (optuna's JournalStorage): a disk that several machines share is no obstruction, as it is to SQLite.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmkit.metrics import LOWER_IS_BETTER
from llmkit.options.training.search_space import Space
from llmkit.output.result import TrialOutcome, TrialResult
from llmkit.training.series.attempt import Outcome, Proposal

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

JOURNAL = "search.journal"
DATABASE = "search.db"  # of searches that were begun before there were journals
NAME = "llmkit"
STARTUP_TRIALS = 5  # before the estimator has enough to go by: the default, and four drawn at random
PRUNED_FROM = 2  # the measurement of a trial from which it can be pruned: the first says little
TRIALS_COMPARED = 4  # that must be complete before one is pruned
OUTCOMES: Mapping[str, TrialOutcome] = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}


@dataclass(frozen=True)
class SearchPlan:
    """What is searched: by which metric, how often, and what the default recipe has for it."""

    folder: Path
    best_metric: str
    space: Space
    defaults: Mapping[str, float | str]
    count: int
    seed: int
    workers: int = 1

    def path(self, number: int) -> Path:
        """Return the folder of a trial."""
        return self.folder / "trials" / str(number)


class StudyJudge:
    """Writes down what a trial reports, and tells whether it is worth going on with."""

    def __init__(self, trial: Trial, reported: Collection[int]) -> None:
        self.trial, self.reported = trial, reported

    def prunes(self, measured: int, value: float) -> bool:
        """Tell whether the trial is worse than half of the others were; the first, the default recipe, never is."""
        if math.isfinite(value) and measured not in self.reported:  # one that is taken up again may have reported
            self.trial.report(value, measured)
        return self.trial.number > 0 and bool(self.trial.should_prune())


class Trials:
    """The trials of one search, kept in a journal in the run folder."""

    def __init__(self, plan: SearchPlan) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.plan = plan
        self._study: Study = optuna.create_study(
            storage=_storage(plan.folder),
            study_name=NAME,
            load_if_exists=True,
            direction="minimize" if plan.best_metric in LOWER_IS_BETTER else "maximize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=TRIALS_COMPARED, n_warmup_steps=PRUNED_FROM),
        )
        if not self._study.trials:
            held = {name: value for name, value in plan.defaults.items() if plan.space[name].holds(value)}
            self._study.enqueue_trial(held)
        self._open: dict[int, Trial] = {}  # asked for and not closed

    def is_any_left(self, in_hand: Collection[int] = ()) -> bool:
        """Tell whether there is a trial that is not done, beside those in hand."""
        return self._first_left(in_hand) is not None

    def next(self, in_hand: Collection[int] = ()) -> Proposal:
        """Return the first trial that is left: one that was cut short, or a new one.

        The estimator is seeded by the number, so that a search that was stopped goes on as it would have gone.
        """
        import optuna

        trials, number = self._study.trials, self._first_left(in_hand)
        assert number is not None
        running = number < len(trials) and trials[number].state == optuna.trial.TrialState.RUNNING
        self._study.sampler = _sampler((self.plan.seed + number) % 2**32, self.plan.workers > 1)
        trial = optuna.trial.Trial(self._study, trials[number]._trial_id) if running else self._study.ask()
        values = self._values(trial)
        trial.set_user_attr("values", values)
        self._open[number] = trial
        return Proposal(number, self.plan.path(number), values)

    def _first_left(self, in_hand: Collection[int]) -> int | None:
        ended = self.ended()
        return next((each for each in range(self.plan.count) if each not in ended and each not in in_hand), None)

    def judge(self, proposal: Proposal) -> StudyJudge:
        """Return who judges a trial on the way."""
        reported = self._study.trials[proposal.number].intermediate_values
        return StudyJudge(self._open[proposal.number], reported)

    def close(self, number: int, outcome: Outcome, seconds: float) -> None:
        """Write down how a trial ended."""
        from optuna.trial import TrialState

        trial = self._open.pop(number)
        if outcome.steps is not None:
            trial.set_user_attr("steps", outcome.steps)
        trial.set_user_attr("seconds", round(seconds, 1))
        names = {name: state for state, name in OUTCOMES.items()}
        self._study.tell(trial, outcome.value, TrialState[names[outcome.state]])

    def described(self, number: int) -> str:
        """Return in words what a trial came to, and which is the best so far."""
        best, trial = self.best(), self._study.trials[number]
        value = "no number" if trial.value is None else f"{self.plan.best_metric} {trial.value:.4f}"
        so_far = "" if best is None else f"; the best so far is trial {best[0]}, {best[1]:.4f}"
        return f"trial {number} {OUTCOMES[trial.state.name]}: {value}{so_far}"

    def best(self) -> tuple[int, float] | None:
        """Return number and value of the best trial that came to its end, the earliest of equals; None without one."""
        complete = [trial for trial in self._study.trials if trial.state.name == "COMPLETE"]
        sign = 1 if self._study.direction.name == "MAXIMIZE" else -1
        best = max(complete, key=lambda trial: (sign * trial.value, -trial.number), default=None)
        return None if best is None else (best.number, best.value)

    def ended(self) -> set[int]:
        """Return the numbers of the trials that nobody trains any more."""
        return {trial.number for trial in self._study.get_trials(deepcopy=False) if trial.state.is_finished()}

    def results(self) -> list[TrialResult]:
        """Return what run.json says of each trial that has ended."""
        return [_result(trial) for trial in self._study.trials if trial.state.is_finished()]

    def _values(self, trial: Trial) -> dict[str, float | str]:
        """Return the values of a trial; the first has the defaults, those out of the space too.

        Three digits, so that what is printed can be typed to train the same again.
        """
        defaults = {} if trial.number else self.plan.defaults
        values = {
            name: defaults[name] if name in defaults and not space.holds(defaults[name]) else space.suggest(trial, name)
            for name, space in self.plan.space.items()
        }
        return {name: float(f"{value:.3g}") if isinstance(value, float) else value for name, value in values.items()}


def _sampler(seed: int, parallel: bool) -> BaseSampler:
    """Return the estimator; trials that others train now count as bad ones, so that no two try nearly the same."""
    import optuna

    more: dict[str, bool] = {"constant_liar": True} if parallel else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # of some versions
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS, **more)


def _result(trial: FrozenTrial) -> TrialResult:
    return {
        "trial": trial.number,
        "state": OUTCOMES[trial.state.name],
        "value": trial.value,
        "values": trial.user_attrs["values"],
        "steps": trial.user_attrs.get("steps"),
        "seconds": trial.user_attrs["seconds"],
    }


def _storage(folder: Path) -> BaseStorage:
    """Open the journal; a search that was begun with a database is copied into one."""
    journal, database = folder / JOURNAL, folder / DATABASE
    if database.exists() and not journal.exists():
        _copy(database, journal)
    _mend(journal)
    return _journal(journal)


def _journal(path: Path) -> BaseStorage:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(str(path.resolve())))


def _copy(database: Path, journal: Path) -> None:
    """Copy a study with its trials, those that were cut short too, so that a kill leaves the one or the other."""
    import optuna
    from sqlalchemy import URL

    draft = journal.with_name(f"{journal.name}.draft")
    draft.unlink(missing_ok=True)
    url = URL.create("sqlite", database=str(database.resolve()))
    optuna.copy_study(from_study_name=NAME, from_storage=str(url), to_storage=_journal(draft))
    draft.replace(journal)
    database.unlink()


def _mend(journal: Path) -> None:
    """Drop what a kill left in the journal: the lock, which nobody else holds, and a line without its end."""
    for lock in journal.parent.glob(f"{journal.name}.lock*"):
        lock.unlink()
    with suppress(FileNotFoundError), journal.open("rb+") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)
