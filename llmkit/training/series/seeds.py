"""`--seeds N`: the same training with several seeds, and the mean and the spread of its figures.

One seed is one draw: of the order of rows, the weights of a new head, what dropout leaves out. Dodge et al.
(Fine-Tuning Pretrained Language Models: Weight Initializations, Data Orders, and Early Stopping, 2020) saw several
points between seeds on small data.
"""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Mapping
from typing import Any

from llmkit.distributed.world import world
from llmkit.metrics import LOWER_IS_BETTER
from llmkit.output.result import MetricSpread, SeedsResult
from llmkit.runs import read_run
from llmkit.runs.card import write_card
from llmkit.training import jobs
from llmkit.training.jobs import Trained
from llmkit.training.series.trial import TrialRun, copy_to_run_folder, raise_if_stopped, series

ResultsBySeed = Mapping[int, Mapping[str, Any]]  # as eval gives them


def train_with_seeds(trial_run: TrialRun, count: int, identity: Mapping[str, object]) -> Trained:
    """Train with `count` seeds in folders of their own; the run folder gets the model of the median seed.

    Seeds that are finished are not trained again. All are trained and measured on the same rows. `identity` is that of
    the command, `trial_run` has that of one training.

    Raises:
        Stopped: a signal came; the same command goes on.
    """
    first, folder, report = trial_run.recipe.seed, trial_run.job.folder, trial_run.session.report
    say_plan(trial_run, count)
    trial_runs = {}
    with series(trial_run, identity) as stop_request:
        for seed in range(first, first + count):
            raise_if_stopped(stop_request)
            report.say(f"seed {seed}:")
            trial_runs[seed] = trial_run.in_folder(folder.path / f"seed-{seed}", {"seed": seed})
            _train(trial_runs[seed])
    results = {seed: _result(trial) for seed, trial in trial_runs.items()}
    seeds = spread(results, trial_run.job.best_metric)
    median = trial_runs[seeds["median_seed"]]
    run_record = copy_to_run_folder(
        median.job.folder.path, folder, status="finished", options=dict(identity), seeds=seeds
    )
    if world().is_main:
        write_card(folder.path, run_record)
    report.say(f"{folder.path} holds the model of seed {seeds['median_seed']}, the median by {seeds['by']}")
    return jobs.finished(trial_run.job, trial_run.session)


def say_plan(trial_run: TrialRun, count: int) -> None:
    """Tell which seeds there will be."""
    first = trial_run.recipe.seed
    cut = "" if trial_run.job.rows.has_own_validation else f"; validation is cut by seed {first} for all"
    trial_run.session.report.say(f"seeds: {first} to {first + count - 1}, all on the same rows{cut}")


def _train(trial_run: TrialRun) -> None:
    folder, best_metric, report = trial_run.job.folder, trial_run.job.best_metric, trial_run.session.report
    if folder.finished:
        report.say(f"{folder.path} is finished")
    else:
        trial_run.train()
        if world().is_main:
            shutil.rmtree(folder.checkpoints, ignore_errors=True)  # nothing is left to go on from
    result = _result(trial_run)
    name = best_metric if best_metric in result["metrics"] else result["headline"]
    report.say(f"seed {trial_run.recipe.seed}: {name} {result['metrics'][name]['value']:.4f}")


def _result(trial_run: TrialRun) -> Mapping[str, Any]:
    """Return the figures of a finished training, which of several processes the main one has written."""
    here = world()
    run_record = here.from_main(read_run(trial_run.job.folder.path) if here.is_main else None)
    result: Mapping[str, Any] = (run_record or {})["result"]
    return result


def spread(results: ResultsBySeed, by: str) -> SeedsResult:
    """Return the mean, the sample standard deviation and the extremes of each metric, and the median seed by one.

    Of an even number of seeds it is the worse of the two in the middle.
    """
    first = next(iter(results.values()))
    by = by if by in first["metrics"] else first["headline"]
    sign = -1 if by in LOWER_IS_BETTER else 1
    ranked = sorted(results, key=lambda seed: sign * _number(results[seed]["metrics"][by]["value"], -sign))
    names = first["metrics"]
    return {
        "n": len(results),
        "seeds": list(results),
        "by": by,
        "median_seed": ranked[(len(ranked) - 1) // 2],
        "metrics": {name: _spread([result["metrics"][name] for result in results.values()]) for name in names},
    }


def _number(value: float | None, sign: int) -> float:
    return sign * float("inf") if value is None else value


def _spread(figures: list[Mapping[str, Any]]) -> MetricSpread:
    values = [figure["value"] for figure in figures]
    numbers = [value for value in values if value is not None]
    summary: MetricSpread = {
        "mean": statistics.fmean(numbers) if numbers else None,
        "sd": statistics.stdev(numbers) if len(numbers) > 1 else None,
        "min": min(numbers, default=None),
        "max": max(numbers, default=None),
        "values": values,
    }
    if figures[0].get("of"):
        summary["of"] = figures[0]["of"]
    return summary
