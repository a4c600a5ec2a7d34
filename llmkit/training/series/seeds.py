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

from llmkit.metrics import LOWER_IS_BETTER
from llmkit.runs import read_run
from llmkit.runs.card import write_card
from llmkit.training import jobs
from llmkit.training.jobs import Trained
from llmkit.training.series.trial import Attempt, heed, promote, series

Results = Mapping[int, Mapping[str, Any]]  # by seed, as eval gives them


def train_with_seeds(attempt: Attempt, count: int, identity: dict[str, Any]) -> Trained:
    """Train with `count` seeds in folders of their own; the run folder gets the model of the median seed.

    Seeds that are finished are not trained again. All are trained and measured on the same rows. `identity` is that of
    the command, `attempt` has that of one training.

    Raises:
        Stopped: a signal came; the same command goes on.
    """
    first, folder, report = attempt.choices.hyper.seed, attempt.job.folder, attempt.report
    seeds = range(first, first + count)
    say_plan(attempt, count)
    attempts = {}
    with series(attempt, identity) as wish:
        for seed in seeds:
            heed(wish)
            report.say(f"seed {seed}:")
            attempts[seed] = attempt.within(folder.path / f"seed-{seed}", {"seed": seed})
            _train(attempts[seed])
    results = {seed: (read_run(one.job.folder.path) or {})["result"] for seed, one in attempts.items()}
    told = spread(results, attempt.job.best)
    median = attempts[told["median_seed"]]
    record = promote(median.job.folder.path, folder, status="finished", options=identity, seeds=told)
    write_card(folder.path, record)
    report.say(f"{folder.path} holds the model of seed {told['median_seed']}, the median by {told['by']}")
    return jobs.finished(attempt.job, attempt.options, report)


def say_plan(attempt: Attempt, count: int) -> None:
    """Tell which seeds there will be."""
    first = attempt.choices.hyper.seed
    cut = "" if attempt.job.rows.own else f"; validation is cut by seed {first} for all"
    attempt.report.say(f"seeds: {first} to {first + count - 1}, all on the same rows{cut}")


def _train(attempt: Attempt) -> None:
    folder, best = attempt.job.folder, attempt.job.best
    if folder.finished:
        attempt.report.say(f"{folder.path} is finished")
    else:
        attempt.train()
        shutil.rmtree(folder.checkpoints, ignore_errors=True)  # nothing is left to go on from
    figures = (read_run(folder.path) or {})["result"]
    name = best if best in figures["metrics"] else figures["headline"]
    attempt.report.say(f"seed {attempt.choices.hyper.seed}: {name} {figures['metrics'][name]['value']:.4f}")


def spread(results: Results, by: str) -> dict[str, Any]:
    """Return the mean, the sample standard deviation and the extremes of each metric, and the median seed by one.

    Of an even number of seeds it is the worse of the two in the middle.
    """
    one = next(iter(results.values()))
    by = by if by in one["metrics"] else one["headline"]
    sign = -1 if by in LOWER_IS_BETTER else 1
    ranked = sorted(results, key=lambda seed: sign * _number(results[seed]["metrics"][by]["value"], -sign))
    return {
        "n": len(results),
        "seeds": list(results),
        "by": by,
        "median_seed": ranked[(len(ranked) - 1) // 2],
        "metrics": {name: _spread([result["metrics"][name] for result in results.values()]) for name in one["metrics"]},
    }


def _number(value: float | None, sign: int) -> float:
    return sign * float("inf") if value is None else value


def _spread(figures: list[Mapping[str, Any]]) -> dict[str, Any]:
    values = [figure["value"] for figure in figures]
    numbers = [value for value in values if value is not None]
    return {
        "mean": statistics.fmean(numbers) if numbers else None,
        "sd": statistics.stdev(numbers) if len(numbers) > 1 else None,
        "min": min(numbers, default=None),
        "max": max(numbers, default=None),
        "values": values,
        **{key: figures[0][key] for key in ("of",) if figures[0].get(key)},
    }
