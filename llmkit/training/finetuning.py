"""Finetune a model on a dataset: from what the user typed to a finished run folder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from transformers import PreTrainedModel

from llmkit import models, tasks
from llmkit.errors import OptionError
from llmkit.models import adapters, modules
from llmkit.options import (
    AdapterOptions,
    DataOptions,
    DistillingOptions,
    ModelOptions,
    RunOptions,
    SeriesOptions,
    SplitOptions,
    TrainingOptions,
    TunedRecipeOptions,
)
from llmkit.options.search_space import Space, described, read_space
from llmkit.output.report import Report
from llmkit.training import distillation
from llmkit.training.jobs import Job, Trained, finished
from llmkit.training.loop import distillation_loss, trainer
from llmkit.training.loop.distillation_loss import DistillationLoss
from llmkit.training.loop.recipe import Recipe, amended, class_weights, learning_rate_for, require_one_schedule
from llmkit.training.planning import plan
from llmkit.training.rows import streaming
from llmkit.training.series.search import Search, require_optuna, space_for
from llmkit.training.series.seeds import say_plan, train_with_seeds
from llmkit.training.series.trial import Choices, TrialRun


def finetune(
    dataset: str | Sequence[str],
    model: str | ModelOptions | None = None,
    data: DataOptions | None = None,
    splits: SplitOptions | None = None,
    training_options: TrainingOptions | None = None,
    run: RunOptions | None = None,
    report: Report | None = None,
    dry_run: bool = False,
    adapter: AdapterOptions | None = None,
    distilling: DistillingOptions | None = None,
    recipe: TunedRecipeOptions | None = None,
    series: SeriesOptions | None = None,
) -> Trained | None:
    """Train `model` on a dataset, or on a mix of several, and return the figures of the saved best checkpoint.

    Of several seeds it is the median's, of a search the best trial's. After a dry run it returns None.

    Raises:
        OptionError, DataError, ModelError: something asked for is wrong; nothing costly was done, no file written.
        EmptyError: there is no usable row.
        Stopped: a signal came and a checkpoint was saved.
    """
    options = model if isinstance(model, ModelOptions) else ModelOptions(model=model)
    data, splits, run = data or DataOptions(), splits or SplitOptions(), run or RunOptions()
    report, series, distilling = report or Report(), series or SeriesOptions(), distilling or DistillingOptions()
    choices = Choices(
        training_options or TrainingOptions(), recipe or TunedRecipeOptions(), adapter or AdapterOptions()
    )
    overrides = trainer.checked_overrides(choices.hyper.set)
    require_one_schedule(choices.recipe, overrides)
    _require_possible(options, data, splits, choices, series)
    named = _searched(series)
    datasets = [dataset] if isinstance(dataset, str) else list(dataset)
    identity = {
        "dataset": datasets[0] if len(datasets) == 1 else datasets,
        **asdict(options),
        **asdict(data),
        **asdict(splits),
        **asdict(choices.hyper),
        **choices.adapter.given,
        **choices.recipe.given,
        **distilling.given,
    }
    whole = identity | series.given | ({"search_space": described(named)} if named is not None else {})
    teacher = distillation.find_teacher(distilling, options, choices.adapter.adapts, report)
    job = plan(datasets, options, data, splits, choices.hyper, run, whole, report, teacher)
    outline = _outline(job, options, choices.adapter)
    weights = class_weights(choices.recipe, job.task, job.settings, job.train, report)
    trial_run = TrialRun(
        job,
        choices,
        identity,
        run,
        options,
        report,
        partial(_model, job, options, outline),
        partial(_recipe, job, overrides, weights),
    )
    if outline is not None and dry_run:
        report.say(modules.share(outline.model).description)
    return _carried_out(trial_run, series, named, whole, dry_run)


def _carried_out(
    trial_run: TrialRun, series: SeriesOptions, named: Space | None, whole: dict[str, Any], dry_run: bool
) -> Trained | None:
    """Train once, or as often as a series says; or say what would be done. `whole` is the identity of the command."""
    job, report = trial_run.job, trial_run.report
    search = Search(trial_run, space_for(trial_run, named), series.search, whole) if series.search is not None else None
    if dry_run:
        if search is not None:
            search.say_plan()
        if series.seeds is not None:
            say_plan(trial_run, series.seeds)
        return None
    if job.folder.finished:
        report.say(f"{job.folder.path} holds this run, finished: nothing to do")
        return finished(job, trial_run.options, report)
    if search is not None:
        return search.run()
    return trial_run.train() if series.seeds is None else train_with_seeds(trial_run, series.seeds, whole)


def _require_possible(
    options: ModelOptions, data: DataOptions, splits: SplitOptions, choices: Choices, series: SeriesOptions
) -> None:
    """Refuse what is known to be impossible before anything is opened.

    Raises:
        OptionError: naming the flags.
    """
    streaming.require_steps(splits, choices.hyper)
    _require_held(splits, choices, series)
    tasks.asked_for("finetune", data.task, data)
    device = models.pick_device(options.device)
    trainer.precision(options, device)
    adapters.require_available(choices.adapter, device)


def _require_held(splits: SplitOptions, choices: Choices, series: SeriesOptions) -> None:
    """Refuse what needs all rows at once beside rows that are read as they are needed.

    Raises:
        OptionError: naming both flags.
    """
    needing = {"class-weight": choices.recipe.class_weight, "seeds": series.seeds, "search": series.search}
    for name, value in needing.items():
        if splits.streaming and value is not None:
            raise OptionError(f"--{name} needs all rows at once, and --streaming holds few; leave one of them out")


def _searched(series: SeriesOptions) -> Space | None:
    """Return what --search-space names, after looking for the library of the search."""
    if series.search is not None:
        require_optuna()
    return read_space(series.search_space) if series.search_space is not None else None


@dataclass(frozen=True)
class Outline:
    """A model without weights of which not all is trained: what can be checked before anything is downloaded."""

    model: PreTrainedModel
    whole: list[str] | None  # the modules that are not loaded in 4 bits; None: none is loaded so


def _outline(job: Job, options: ModelOptions, less: AdapterOptions) -> Outline | None:
    """Return what is known without weights where not all of them are trained, after checking what the flags name.

    Raises:
        OptionError: the model has no such module, fewer layers, or no head of its own.
    """
    if not less.adapts and less.freeze is None:
        return None
    config = models.with_config_values(job.resolved.config, job.task.head_config(job.settings))
    network = job.task.auto_class_for(config)
    model = modules.skeleton(config, network, options.trust_remote_code)
    if not less.adapts:
        modules.freeze(model, less.frozen_layers)
        return Outline(model, None)
    whole = modules.unquantized_modules(model) if less.qlora else None
    without_bits = replace(less, lora=True, qlora=False)
    return Outline(adapters.add_adapter(model, without_bits, network, {"name": "", "revision": None}, ()), whole)


def _model(
    job: Job, options: ModelOptions, outline: Outline | None, choices: Choices
) -> tuple[PreTrainedModel, DistillationLoss | None]:
    """Return the model to train, and what a teacher teaches it.

    Raises:
        ModelError: it would learn something else than the flags say.
    """
    model, taught_loss = _taught(job, options, choices.adapter, outline)
    job.task.check_model(model, job.settings)
    return model, taught_loss


def _taught(
    job: Job, options: ModelOptions, less: AdapterOptions, outline: Outline | None
) -> tuple[PreTrainedModel, DistillationLoss | None]:
    teacher, config_values = job.teacher, job.task.head_config(job.settings)
    if teacher is None:
        return _opened(job, options, less, outline), None
    taught = distillation.open_teacher(teacher, job.task)
    taught_loss = distillation_loss.distillation_loss(teacher, taught, job.task, job.tokenizer)
    if teacher.student is None:
        return _opened(job, options, less, outline), taught_loss
    config_values["pad_token_id"] = job.tokenizer.pad_token_id
    student = distillation.cut_student(teacher, taught, job.task, config_values, options.trust_remote_code)
    if less.freeze is not None:
        modules.freeze(student, less.frozen_layers)
    return student, taught_loss


def _opened(job: Job, options: ModelOptions, less: AdapterOptions, outline: Outline | None) -> PreTrainedModel:
    """Return the model to train: with a head for the task, an adapter, or some of its weights frozen."""
    network, whole = job.task.auto_class_for(job.resolved.config), outline.whole if outline else None
    wanted = models.LoadRequest(network, job.task.head_config(job.settings), training=True, unquantized=whole)
    model, new = models.open_weights(job.resolved, wanted, job.tokenizer, options)
    if less.adapts:
        return adapters.add_adapter(model, less, network, {**models.origin(job.resolved), "whole": whole}, new)
    if less.freeze is not None:
        modules.freeze(model, less.frozen_layers, new)
    return model


def _usual_batch(job: Job) -> int:
    """Return how many rows make a step: where several are packed into one, so few that a step is of as many as ever."""
    packed = sum(job.train["rows"]) if "rows" in job.train.column_names else len(job.train)
    return max(1, round(job.task.default_batch_size * len(job.train) / packed))


def _recipe(
    job: Job, overrides: dict[str, Any], weights: tuple[float, ...] | None, choices: Choices, parameters: int
) -> Recipe:
    hyper, task, config = choices.hyper, job.task, job.resolved.config
    epochs, lr_multiplier = hyper.epochs or task.default_epochs, choices.adapter.lr_multiplier * task.lr_multiplier
    usual = Recipe(
        epochs=epochs,
        max_steps=hyper.max_steps,
        batch_size=hyper.batch_size or _usual_batch(job),
        seed=hyper.seed,
        learning_rate=hyper.learning_rate or learning_rate_for(parameters, config, lr_multiplier),
        measurements=3 if hyper.max_steps else max(1, math.ceil(epochs)),
        overrides=overrides,
    )
    return amended(usual, choices.recipe, weights)
