"""`--search N`: trials of other recipes, chosen by what the trials before them came to, and the best of them.

The first trial is the default recipe, so that what the others are compared with is measured as they are. The rest are
chosen by a tree-structured Parzen estimator (Bergstra et al., Algorithms for Hyper-Parameter Optimization, 2011); one
that is worse on the way than half of the others were is pruned, as Vizier does (Golovin et al., 2017).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping

from llmkit.distributed.world import world
from llmkit.errors import DivergedError
from llmkit.errors.extras import require_extra
from llmkit.metrics import LOWER_IS_BETTER
from llmkit.options.training.search_space import Space, described
from llmkit.output.result import SearchResult
from llmkit.output.trials import draw_trials
from llmkit.runs.interrupts import StopRequest
from llmkit.training import jobs
from llmkit.training.jobs import Trained
from llmkit.training.loop.trainer import Fit
from llmkit.training.series.attempt import Outcome, Proposal, attempt
from llmkit.training.series.devices import core_remarks
from llmkit.training.series.study import SearchPlan, Trials
from llmkit.training.series.trial import TrialRun, copy_to_run_folder, delete_weights, raise_if_stopped, series
from llmkit.training.series.workers import Workers


def require_optuna() -> None:
    """Demand the library of the search.

    Raises:
        OptionError: it is missing.
    """
    require_extra("--search", "search", "optuna")


class Search:
    """The trials of one search, kept in a journal in the run folder; `identity` is that of the command.

    Of several processes of one command the main one has the journal, and all train the same trial. `workers` are
    processes that train different ones.
    """

    def __init__(
        self, trial_run: TrialRun, space: Space, count: int, identity: Mapping[str, object], workers: int = 1
    ) -> None:
        self.trial_run, self.identity = trial_run, identity
        self.folder, self.report = trial_run.job.folder, trial_run.session.report
        self.plan = SearchPlan(
            folder=self.folder.path,
            best_metric=trial_run.job.best_metric,
            space=space,
            defaults=_defaults(trial_run, space),
            count=count,
            seed=trial_run.recipe.seed,
            workers=workers,
        )

    def say_plan(self) -> None:
        """Tell what is searched."""
        plan = self.plan
        space = "; ".join(f"{name.replace('_', ' ')} {values}" for name, values in plan.space.items())
        self.report.say(f"search: {plan.count} trials, the first the default recipe; {space}")
        if plan.workers > 1:
            self.report.say(f"with --workers {plan.workers} which recipes are tried depends on which trials end first")
            self.report.say_all(core_remarks(plan.workers, self.trial_run.session.options))

    def run(self) -> Trained:
        """Try so many recipes, and leave the model of the best, measured by eval's own code, in the run folder.

        Raises:
            Stopped: a signal came; the same command goes on.
            DivergedError: no trial came to its end.
            ResourceError: one worker after the other died.
        """
        self.say_plan()
        with series(self.trial_run, self.identity) as stop_request:
            trials = Trials(self.plan) if world().is_main else None
            if self.plan.workers > 1 and trials is not None:
                self._side_by_side(trials, stop_request)
            else:
                self._one_by_one(trials, stop_request)
            return self._conclude(trials)

    def _one_by_one(self, trials: Trials | None, stop_request: StopRequest) -> None:
        """Train trial after trial; the main process has the study, and says in all of them which is next."""
        here = world()
        while here.from_main(trials.is_any_left() if trials else None):
            raise_if_stopped(stop_request)
            proposal = here.from_main(trials.next() if trials else None)
            self._say_begun(proposal)
            started = time.monotonic()
            outcome = attempt(self.trial_run, proposal, trials.judge(proposal) if trials else None)
            if trials is not None:
                self._close(trials, proposal, outcome, time.monotonic() - started)

    def _side_by_side(self, trials: Trials, stop_request: StopRequest) -> None:
        """Train as many trials at once as there are workers."""
        with Workers(self.trial_run, self.plan.workers) as workers:
            while True:
                while workers.are_wanted and trials.is_any_left(workers.in_hand) and not stop_request.asked:
                    proposal = trials.next(workers.in_hand)
                    self._say_begun(proposal)
                    workers.train(proposal, trials.judge(proposal))
                if stop_request.asked:
                    workers.stop()
                if not workers.in_hand:
                    break
                for ended in workers.wait():
                    self._close(trials, ended.proposal, ended.outcome, ended.seconds)
                stop_request.asked |= workers.were_stopped
        if trials.is_any_left():
            raise_if_stopped(stop_request)

    def _say_begun(self, proposal: Proposal) -> None:
        count = self.plan.count
        self.report.say(f"trial {proposal.number} ({proposal.number + 1} of {count}): {proposal.described}")

    def _close(self, trials: Trials, proposal: Proposal, outcome: Outcome, seconds: float) -> None:
        """Write down and say what a trial came to, and keep the model of the best alone."""
        if outcome.problem is not None:
            self.report.warn(f"trial {proposal.number} failed: {outcome.problem}")
        trials.close(proposal.number, outcome, seconds)
        self._tidy(trials)
        self.report.say(trials.described(proposal.number))

    def _tidy(self, trials: Trials) -> None:
        """Keep the model of the best trial alone, and no checkpoints, of those that nobody trains any more."""
        best = trials.best()
        for number in sorted(trials.ended()):
            path = self.plan.path(number)
            if not path.is_dir():
                continue
            if best is None or number != best[0]:
                delete_weights(path)
            else:
                shutil.rmtree(path / "checkpoints", ignore_errors=True)

    def _conclude(self, trials: Trials | None) -> Trained:
        """Move the best trial's model to the run folder, and measure it there as any run's."""
        search = world().from_main(self._result(trials) if trials else None)
        if search is None:
            count = self.plan.count
            raise DivergedError(f"none of {count} trials came to its end; search lower rates: --search-space FILE")
        best = self.plan.path(search["best"])
        run_record = copy_to_run_folder(best, self.folder, status="running", options=dict(self.identity), search=search)
        if world().is_main:
            draw_trials(self.folder.path, search)
        trained = jobs.conclude(self.trial_run.job, Fit(**run_record["fit"]), self.trial_run.session)
        if world().is_main:
            delete_weights(best)
        self._warn(search)
        return trained

    def _result(self, trials: Trials) -> SearchResult | None:
        """Return what run.json says of the search; None where no trial came to its end."""
        best = trials.best()
        if best is None:
            return None
        results = trials.results()
        return {
            "by": self.plan.best_metric,
            "greater_is_better": self.plan.best_metric not in LOWER_IS_BETTER,
            "best": best[0],
            "best_value": best[1],
            "default_value": results[0]["value"],
            "rows": len(self.trial_run.job.rows.validation),
            "space": described(self.plan.space),
            "trials": results,
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
        count, rows = self.plan.count, search["rows"]
        self.report.warn(f"the best of {count} trials, on the {rows} rows that chose it, is optimistic; {remedy}")


def _defaults(trial_run: TrialRun, space: Space) -> dict[str, float | str]:
    """Return what the default recipe has for what is searched."""
    adapter = trial_run.spec.adapter
    values = trial_run.default_recipe.by_option()
    values |= {"lora_rank": adapter.rank, "lora_alpha": adapter.alpha}
    return {name: values[name] for name in space}
