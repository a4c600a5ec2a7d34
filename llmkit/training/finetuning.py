"""Finetune a model on a dataset: from what the user typed to a finished run folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypedDict, Unpack

from llmkit import models, tasks
from llmkit.errors import OptionError
from llmkit.models import adapters
from llmkit.options import (
    AdapterOptions,
    DataOptions,
    DistillingOptions,
    FinetuneRequest,
    ModelOptions,
    RunOptions,
    SeriesOptions,
    SplitOptions,
    TrainingOptions,
    TunedRecipeOptions,
)
from llmkit.options.training.search_space import described, read_space
from llmkit.output.report import Report
from llmkit.training.estimates.batch_size import with_room
from llmkit.training.estimates.estimate import say_estimate, warn_if_too_large
from llmkit.training.estimates.strategies import suggested_strategy
from llmkit.training.estimates.tracked import Subject
from llmkit.training.jobs import Trained, finished
from llmkit.training.loop import acceleration, strategies
from llmkit.training.loop.arguments import checked_overrides, precision
from llmkit.training.loop.recipe import require_one_schedule, require_rows_for_all
from llmkit.training.planning import plan
from llmkit.training.rows import streaming
from llmkit.training.series.devices import require_devices
from llmkit.training.series.search import Search, require_optuna
from llmkit.training.series.seeds import say_plan, train_with_seeds
from llmkit.training.series.space import space_for
from llmkit.training.series.trial import TrialRun


class FinetuneGroups(TypedDict, total=False):
    """The option groups of `finetune`, beside those of the model and of the training; None is a group of defaults."""

    data: DataOptions | None
    splits: SplitOptions | None
    run: RunOptions | None
    adapter: AdapterOptions | None
    distilling: DistillingOptions | None
    recipe: TunedRecipeOptions | None
    series: SeriesOptions | None


def finetune(
    dataset: str | Sequence[str],
    model: str | ModelOptions | None = None,
    *,
    training_options: TrainingOptions | None = None,
    report: Report | None = None,
    dry_run: bool = False,
    **groups: Unpack[FinetuneGroups],
) -> Trained | None:
    """Train `model` on a dataset, or on a mix of several, and return the figures of the saved best checkpoint.

    Of several seeds it is the median's, of a search the best trial's. After a dry run it returns None.

    Raises:
        OptionError, DataError, ModelError: something asked for is wrong; nothing costly was done, no file written.
        EmptyError: there is no usable row.
        DivergedError: the loss or a weight is not finite.
        Stopped: a signal came and a checkpoint was saved.
    """
    given: dict[str, Any] = {name: group for name, group in groups.items() if group is not None}
    request = FinetuneRequest(
        dataset=[dataset] if isinstance(dataset, str) else list(dataset),
        model=model if isinstance(model, ModelOptions) else ModelOptions(model=model),
        training=training_options or TrainingOptions(),
        **given,
    )
    return run_finetune(request, report or Report(), dry_run)


def planned_finetuning(request: FinetuneRequest, report: Report) -> Subject:
    """Return what is estimated of a finetuning, after all that its dry run checks.

    Raises:
        OptionError, DataError, ModelError, EmptyError: as `finetune`.
    """
    overrides = checked_overrides(request.training.set)
    require_one_schedule(request.recipe, overrides)
    _require_possible(request)
    return plan(request, request.identity | request.series.given, overrides, report).subject


def run_finetune(request: FinetuneRequest, report: Report, dry_run: bool = False) -> Trained | None:
    """Do what `finetune` does, for a request.

    Raises:
        OptionError, DataError, ModelError, EmptyError, DivergedError, Stopped: as `finetune`.
    """
    overrides = checked_overrides(request.training.set)
    require_one_schedule(request.recipe, overrides)
    _require_possible(request)
    series = request.series
    if series.search is not None:
        require_optuna()
    identity, space = request.identity | series.given, None
    if series.search_space is not None:
        space = read_space(series.search_space)
        identity["search_space"] = described(space)
    trial_run = plan(request, identity, overrides, report)
    device = models.pick_device(request.model.device)
    trial_run = _with_room(trial_run, request)
    require_rows_for_all(trial_run.recipe, request.launch)
    suggestion = suggested_strategy(trial_run.subject)
    trial_run = replace(trial_run, job=strategies.with_strategy(trial_run.job, device, suggestion, report))
    share = trial_run.spec.share
    if dry_run and share is not None and trial_run.spec.trains_less:
        report.say(share.description)
    search = None
    if series.search is not None:
        search = Search(trial_run, space_for(request, trial_run, space), series.search, identity, series.workers)
    if dry_run:
        if search is not None:
            search.say_plan()
        if series.seeds is not None:
            say_plan(trial_run, series.seeds)
        say_estimate(trial_run.subject)
        return None
    if trial_run.job.folder.finished:
        report.say(f"{trial_run.job.folder.path} holds this run, finished: nothing to do")
        return finished(trial_run.job, trial_run.session)
    warn_if_too_large(trial_run.subject)
    if search is not None:
        return search.run()
    return trial_run.train() if series.seeds is None else train_with_seeds(trial_run, series.seeds, identity)


def _with_room(trial_run: TrialRun, request: FinetuneRequest) -> TrialRun:
    if request.series.search is not None:  # its trials can have other batches
        return trial_run
    return replace(trial_run, recipe=with_room(trial_run.subject, request.recipe))


def _require_possible(request: FinetuneRequest) -> None:
    """Refuse what is known to be impossible before anything is opened.

    Raises:
        OptionError: naming the flags.
    """
    streaming.require_steps(request.splits, request.training)
    _require_rows_in_memory(request)
    tasks.requested_tasks("finetune", request.data.task, request.data)
    device = models.pick_device(request.model.device)
    precision(request.model, device)
    require_devices(request.series.workers, request.model)
    adapters.require_available(request.adapter, device)
    strategies.require_possible(request.run.strategy, device, request.adapter)
    acceleration.require_possible(request.run, request.model, device)


def _require_rows_in_memory(request: FinetuneRequest) -> None:
    """Refuse what needs all rows at once beside rows that are read as they are needed.

    Raises:
        OptionError: naming both flags.
    """
    needing = {
        "class-weight": request.recipe.class_weight,
        "seeds": request.series.seeds,
        "search": request.series.search,
    }
    for name, value in needing.items():
        if request.splits.streaming and value is not None:
            raise OptionError(f"--{name} needs all rows at once, and --streaming holds few; leave one of them out")
