"""A training job, whatever it trains for: run the loop, save, measure the saved model, write the run down."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback

from llmkit import data, models, runs
from llmkit.data import Source
from llmkit.data.splits import TrainAndValidation
from llmkit.errors import ModelError
from llmkit.evaluation import Evaluation
from llmkit.evaluation.assessing import assess
from llmkit.evaluation.measuring import measure
from llmkit.evaluation.plan import Plan
from llmkit.evaluation.result import Wanted
from llmkit.evaluation.run import subject_of
from llmkit.inference.prediction import predict
from llmkit.models import ResolvedModel, adapters, modules
from llmkit.options import ModelOptions, RunOptions, TaskFlags
from llmkit.output.curves import draw_curves
from llmkit.output.plots import draw_results
from llmkit.output.report import Report
from llmkit.runs import RunFolder
from llmkit.runs.card import write_card
from llmkit.tasks import Task, TaskSettings
from llmkit.training.distillation import Teacher
from llmkit.training.loop import trainer
from llmkit.training.loop.distillation_loss import DistillationLoss
from llmkit.training.loop.recipe import Recipe, say_recipe
from llmkit.training.rows.streaming import Stream


@dataclass(frozen=True)
class Job:
    """A training that was checked up to its first costly step."""

    resolved: ResolvedModel  # what it starts from
    source: Source
    reference: str  # the data as the user named it
    task: Task
    settings: TaskSettings
    rows: TrainAndValidation
    tokenizer: PreTrainedTokenizerBase
    train: Dataset
    validation: Dataset
    folder: RunFolder
    best: str  # the metric that keeps the best checkpoint
    command: str
    stream: Stream | None = None  # where training rows are read as they are needed: `train` holds the first of them
    train_setup: TaskSettings | None = None  # where the training rows are prepared otherwise than the measured ones
    teacher: Teacher | None = None

    @property
    def setups(self) -> tuple[TaskSettings, TaskSettings]:
        """How training rows are batched, and how they are measured between steps: with windows that barely overlap."""
        return self.train_setup or self.settings, quick(self.settings)


@dataclass(frozen=True)
class Trained:
    """What a training run came to: its folder, and the figures of the saved model."""

    folder: Path
    evaluation: Evaluation
    run_record: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return the result that --json prints."""
        series: dict[str, Any] = {
            name: self.run_record[name] for name in ("seeds", "search") if name in self.run_record
        }
        return {
            **self.evaluation.as_dict(),
            "run": str(self.folder),
            "training": self.run_record.get("training"),
            **series,
        }


def train(
    job: Job,
    model: PreTrainedModel,
    recipe_for: Callable[[int], Recipe],
    identity: dict[str, Any],
    run: RunOptions,
    options: ModelOptions,
    report: Report,
) -> Trained:
    """Train `model` by the recipe for its number of parameters, and leave a finished run folder.

    Raises:
        Stopped: a signal came and a checkpoint was saved.
        DivergedError: the loss or a weight is not finite.
    """
    fit = learn(job, model, recipe_for, identity, run, options, report)
    del model  # the saved one is measured: not both in memory
    return conclude(job, fit, options, report)


def learn(
    job: Job,
    model: PreTrainedModel,
    recipe_for: Callable[[int], Recipe],
    identity: dict[str, Any],
    run: RunOptions,
    options: ModelOptions,
    report: Report,
    distillation_loss: DistillationLoss | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> trainer.Fit:
    """Do what `train` does up to the saved model, which `conclude` measures; a teacher teaches by `distillation_loss`.

    Raises:
        ModelError: the model cannot compute its activations twice.
        Stopped, DivergedError: as `train`.
    """
    parameters, share = modules.base_size(model), modules.share(model)
    report.say(f"model: {parameters:,} parameters")
    if share.trained < share.total:
        report.say(share.description)
    recipe = recipe_for(parameters)
    if recipe.checkpoint_activations and not model.supports_gradient_checkpointing:
        raise ModelError(f"--checkpoint-activations: a {type(model).__name__} keeps its activations; leave it out")
    say_recipe(recipe, len(job.train), trainer.precision(options, model.device), job.best, report)
    if job.task.needs_reference_outputs:
        job = _remembering(job, model, options, report)
    if run.overwrite:
        job.folder.clear()
    described = {
        "name": options.model or job.resolved.name,
        "commit": job.resolved.commit,
        "parameters": parameters,
        "trainable": share.as_dict(),
        "adapter": adapters.has_adapter(model),
    }
    job.folder.write(_begun(job, described, recipe, identity))
    fit = trainer.fit(
        job.task,
        model,
        job.tokenizer,
        job.stream or job.train,
        job.validation,
        setups=job.setups,
        recipe=recipe,
        best=job.best,
        folder=job.folder,
        options=options,
        report=report,
        distillation_loss=distillation_loss,
        track=run.track,
        callbacks=callbacks,
    )
    models.save(model, job.tokenizer, job.folder.path)
    return fit


def _begun(job: Job, model: dict[str, Any], recipe: Recipe, identity: dict[str, Any]) -> dict[str, Any]:
    """Return the run.json of a training that begins."""
    return {
        "status": "running",
        "command": job.command,
        "task": job.task.name,
        "options": identity,
        "model": model,
        "teacher": job.teacher.as_dict() if job.teacher else None,
        "reference": job.settings.reference.as_dict() if job.settings.reference else None,
        "data": describe_data(job),
        "max_length": job.settings.max_length,
        "recipe": asdict(recipe),
        **runs.environment(),
    }


def conclude(job: Job, fit: trainer.Fit, options: ModelOptions, report: Report) -> Trained:
    """Measure the saved model, settle what the task tunes by that, and write the run down as finished."""
    if job.settings.calibrate:
        _tune(job, options, report)
    return _finish(job, fit, options, report)


def _remembering(job: Job, model: PreTrainedModel, options: ModelOptions, report: Report) -> Job:
    """Return the job with what the model says of its rows before it is trained, its adapter off: the column `before`.

    It is asked in the precision in which it will be trained.
    """
    report.say("reference: the model as it is now, asked once about every row")
    task, mixed = job.task, trainer.precision(options, model.device)
    half = torch.float16 if mixed.get("fp16") else torch.bfloat16
    told = []
    with torch.autocast(model.device.type, half, enabled=any(mixed.values())), adapters.turned_off(model):
        for rows, settings in zip((job.train, job.validation), job.setups, strict=True):
            alone = replace(settings, reference=None)
            records = predict(task, model, job.tokenizer, rows, alone, task.eval_batch_size, report)
            told.append(rows.add_column("before", records))
    return replace(job, train=told[0], validation=told[1])


def _finish(job: Job, fit: trainer.Fit, options: ModelOptions, report: Report) -> Trained:
    """Measure the saved model with eval's own code, and write run.json, the curves and the model card."""
    folder, started = job.folder, time.monotonic()
    evaluation = _measure_saved(job, options, report)
    draw_curves(folder.path, job.best)
    draw_results(folder.path, evaluation.as_dict())
    record = folder.update(
        status="finished",
        result=evaluation.as_dict(),
        training={
            "steps": fit.steps,
            "seconds": round(fit.seconds, 1),
            "best_step": fit.best_step,
            "best_by": job.best,
            "evaluation_seconds": round(time.monotonic() - started, 1),
            "peak_memory_bytes": runs.peak_memory_bytes(),
        },
    )
    write_card(folder.path, record)
    return Trained(folder.path, evaluation, record)


def _tune(job: Job, options: ModelOptions, report: Report) -> None:
    """Settle what the task tunes on the saved model's answers to the validation rows, in its config."""
    plan = _saved(job, options, report)
    measured, _ = measure(plan, plan.rows, report, cache=False)
    settings, how = job.task.calibrated(job.settings, measured.observations)
    report.say(how)
    report.warn("it is tuned on the rows that the figures are of, which are optimistic: measure on others too")
    config = plan.resolved.config
    config.update(job.task.head_config(settings))
    config.save_pretrained(job.folder.path)


def _measure_saved(job: Job, options: ModelOptions, report: Report) -> Evaluation:
    plan = _saved(job, options, report)
    if job.settings.calibrate:  # what was tuned is in the config
        untold = replace(job.settings, calibrate=False)
        plan = replace(
            plan, settings=job.task.resolve_settings(untold, TaskFlags(), plan.resolved.config, plan.tokenizer)
        )
    measured, _ = measure(plan, plan.rows, report, cache=False)
    return assess(subject_of(plan, measured), plan.wanted)


def _saved(job: Job, options: ModelOptions, report: Report) -> Plan:
    """Return the evaluation of the saved model on the validation rows."""
    saved = replace(options, model=str(job.folder.path), dtype="auto", revision=None)
    resolved = models.resolve_model(saved, report)
    wanted = Wanted(job.task.metrics_for(job.settings), seed=job.settings.seed)
    return Plan(
        job.reference,
        resolved,
        saved,
        models.load_tokenizer(resolved, saved),
        job.source,
        job.task,
        job.settings,
        job.rows.name,
        job.rows.validation,
        0,
        job.task.eval_batch_size,
        wanted,
    )


def finished(job: Job, options: ModelOptions, report: Report) -> Trained:
    """Return the figures of a run that needs no more training, measured again."""
    return Trained(job.folder.path, _measure_saved(job, options, report), runs.read_run(job.folder.path) or {})


def describe_data(job: Job) -> dict[str, Any]:
    """Return what run.json says of the data: enough to find the same rows again."""
    rows, labels = job.rows, job.settings.labels
    return {
        "reference": job.reference,
        "commit": job.source.commit,
        "columns": job.settings.columns,
        "labels": list(labels.names) if labels else None,
        "validation": rows.name,
        "cut": rows.cut.as_dict() if rows.cut else None,
        "mix": [one.as_dict() for one in rows.component_records] or None,
        **({"streaming": True} if job.stream else _trained_on(job)),
        "validation_rows": len(rows.validation),
        "validation_sha256": data.fingerprint(rows.validation),
    }


def _trained_on(job: Job) -> dict[str, Any]:
    rows = job.rows.train
    return {"train_rows": len(rows), "train_sha256": data.fingerprint(rows), "train_tokens": sum(job.train["length"])}


def quick(settings: TaskSettings) -> TaskSettings:
    """Return the setup of measurements between steps; the last figure takes the usual windows."""
    return replace(settings, stride=settings.max_length)
