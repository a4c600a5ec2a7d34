"""A training job, whatever it trains for: run the loop, save, measure the saved model, write the run down."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import cast

import torch
from transformers import PreTrainedModel

from llmkit import data, models, runs
from llmkit.distributed.world import world
from llmkit.errors import DataError, ModelError, ResourceError
from llmkit.evaluation import Evaluation
from llmkit.evaluation.assessing import assess
from llmkit.evaluation.measuring import measure
from llmkit.evaluation.plan import Plan
from llmkit.evaluation.result import MetricRequest
from llmkit.evaluation.run import subject_of
from llmkit.inference.row_files.prediction_loop import PredictionLoop
from llmkit.metrics.texts.tokenizers import tokenizer_remarks
from llmkit.models import adapters, modules
from llmkit.models.fingerprints import fingerprints
from llmkit.options import ModelOptions, TaskFlags
from llmkit.output.curves import draw_curves
from llmkit.output.plots import draw_results
from llmkit.output.result import TrainingSummary
from llmkit.runs import require_shared
from llmkit.runs.card import write_card
from llmkit.runs.record import DataRecord, ModelRecord, RecipeRecord, RunRecord, ShareRecord
from llmkit.training.loop import acceleration, trainer
from llmkit.training.loop.arguments import precision
from llmkit.training.loop.job import Job, OpenModel, Session
from llmkit.training.loop.recipe import Recipe, say_recipe, with_learning_rate
from llmkit.training.loop.throughput import table


@dataclass(frozen=True)
class Trained:
    """What a training run came to: its folder, and the figures of the saved model."""

    folder: Path
    evaluation: Evaluation
    run_record: RunRecord

    def as_dict(self) -> dict[str, object]:
        """Return the result that --json prints."""
        result: dict[str, object] = {
            **self.evaluation.as_dict(),
            "run": str(self.folder),
            "training": self.run_record.get("training"),
        }
        if "seeds" in self.run_record:
            result["seeds"] = self.run_record["seeds"]
        if "search" in self.run_record:
            result["search"] = self.run_record["search"]
        return result


def train(job: Job, model: OpenModel, recipe: Recipe, session: Session) -> Trained:
    """Train a model, and leave a finished run folder.

    Raises:
        ModelError: the model cannot compute its activations twice.
        Stopped: a signal came and a checkpoint was saved.
        DivergedError: the loss or a weight is not finite.
        ResourceError: a GPU has too little memory.
    """
    try:
        fit = learn(job, model, recipe, session)
    except torch.OutOfMemoryError as error:
        raise ResourceError(f"out of memory on the GPU, {recipe.remedy}") from error
    del model  # the saved one is measured: not both in memory
    return conclude(job, fit, session)


def learn(job: Job, model: OpenModel, recipe: Recipe, session: Session) -> trainer.Fit:
    """Do what `train` does up to the saved model, which `conclude` measures.

    Raises:
        ModelError, Stopped, DivergedError: as `train`.
    """
    network, report = model.network, session.report
    parameters, share = modules.base_size(network), modules.share(network)
    report.say(f"model: {parameters:,} parameters")
    if share.trained < share.total:
        report.say(share.description)
    acceleration.prepare(network, job.run)
    recipe = with_learning_rate(recipe, parameters, job.resolved.config, job.lr_multiplier)
    if recipe.checkpoint_activations and not network.supports_gradient_checkpointing:
        raise ModelError(f"--checkpoint-activations: a {type(network).__name__} keeps its activations; leave it out")
    mixed = precision(session.options, models.pick_device(session.options.device))
    say_recipe(recipe, len(job.encoded_train), mixed, job.best_metric, report)
    if job.task.needs_reference_outputs:
        job = _with_reference_outputs(job, network, mixed, session)
    if job.run.overwrite:
        job.folder.clear()
    job.folder.write(_begun(job, _model_record(job, network, session), recipe, session.options))
    require_shared(job.folder)
    return trainer.fit(job, model, recipe, session)


def _model_record(job: Job, model: PreTrainedModel, session: Session) -> ModelRecord:
    return {
        "name": session.options.model or job.resolved.name,
        "commit": job.resolved.commit,
        "parameters": modules.base_size(model),
        "trainable": cast("ShareRecord", modules.share(model).as_dict()),
        "adapter": adapters.has_adapter(model),
    }


def _begun(job: Job, model: ModelRecord, recipe: Recipe, options: ModelOptions) -> RunRecord:
    """Return the run.json of a training that begins."""
    reference, environment = job.settings.reference, runs.environment()
    return {
        "status": "running",
        "command": job.command,
        "task": job.task.name,
        "options": dict(job.identity),
        "model": model,
        "teacher": job.teacher.as_dict() if job.teacher else None,
        "reference": reference.as_dict() if reference else None,
        "data": data_record(job),
        "max_length": job.settings.max_length,
        "recipe": cast("RecipeRecord", asdict(recipe)),
        "dtype": options.dtype,
        "versions": environment["versions"],
        "platform": environment["platform"],
        "git": environment["git"],
    }


def _with_reference_outputs(job: Job, model: PreTrainedModel, mixed: dict[str, bool], session: Session) -> Job:
    """Return the job with what the model says of its rows before it is trained, its adapter off: the column `before`.

    It is asked in the precision in which it will be trained.
    """
    session.report.say("reference: the model as it is now, asked once about every row")
    task, half = job.task, torch.float16 if mixed.get("fp16") else torch.bfloat16
    encoded = []
    home, device = model.device, models.pick_device(session.options.device)
    model.to(device)
    with torch.autocast(device.type, half, enabled=any(mixed.values())), adapters.turned_off(model):
        for rows, settings in zip((job.encoded_train, job.encoded_validation), job.loop_settings, strict=True):
            without_reference = replace(settings, reference=None)
            batch_size = task.eval_batch_size
            loop = PredictionLoop(
                task, model, job.tokenizer, without_reference, batch_size, session.report, world=world()
            )
            encoded.append(rows.add_column("before", loop.run(rows)))
    model.to(home)
    return replace(job, encoded_train=encoded[0], encoded_validation=encoded[1])


def conclude(job: Job, fit: trainer.Fit, session: Session) -> Trained:
    """Measure the saved model with eval's own code, and write run.json, the curves and the model card.

    Where the task is to settle something on the validation rows, it is settled first.
    """
    if job.settings.calibrate:
        _calibrate(job, session)
    folder, started = job.folder, time.monotonic()
    evaluation = _evaluate_saved(job, session)
    if world().is_main:
        draw_curves(folder.path, job.best_metric)
        draw_results(folder.path, evaluation.as_dict())
    training: TrainingSummary = {
        "steps": fit.steps,
        "seconds": round(fit.seconds, 1),
        "best_step": fit.best_step,
        "best_by": job.best_metric,
        "evaluation_seconds": round(time.monotonic() - started, 1),
        "peak_memory_bytes": runs.peak_memory_bytes(),
    }
    if fit.throughput is not None:
        training["throughput"] = fit.throughput
    run_record = folder.update(status="finished", result=evaluation.as_dict(), training=training)
    if job.run.profile and fit.throughput is not None:
        for line in table(fit.throughput, fit.seconds, training["peak_memory_bytes"]):
            session.report.say(line)
    if world().is_main:
        write_card(folder.path, run_record)
    return Trained(folder.path, evaluation, run_record)


def finished(job: Job, session: Session) -> Trained:
    """Return the figures of a run that needs no more training, measured again."""
    return Trained(job.folder.path, _evaluate_saved(job, session), runs.read_run(job.folder.path) or {})


def _calibrate(job: Job, session: Session) -> None:
    """Settle what the task calibrates on the saved model's answers to the validation rows, in its config."""
    plan = _saved_plan(job, session)
    measured, _ = measure(plan, plan.rows, session.report, cache=False)
    settings, sentence = job.task.calibrated(job.settings, measured.observations)
    session.report.say(sentence)
    session.report.warn("it is tuned on the rows that the figures are of, which are optimistic: measure on others too")
    config = plan.resolved.config
    config.update(job.task.head_config(settings))
    here = world()
    if here.is_main:
        config.save_pretrained(job.folder.path)
    here.wait()


def _evaluate_saved(job: Job, session: Session) -> Evaluation:
    plan = _saved_plan(job, session)
    if job.settings.calibrate:  # what was calibrated is in the config
        draft = replace(job.settings, calibrate=False)
        settings = job.task.resolve_settings(draft, TaskFlags(), plan.resolved.config, plan.tokenizer)
        plan = replace(plan, settings=settings)
    measured, _ = measure(plan, plan.rows, session.report, cache=False)
    subject = subject_of(plan, measured)
    session.report.say_all(tokenizer_remarks(subject.observations, plan.metric_request.metrics, None))
    return assess(subject, plan.metric_request)


def _saved_plan(job: Job, session: Session) -> Plan:
    """Return the evaluation of the saved model on the validation rows."""
    options = replace(session.options, model=str(job.folder.path), dtype="auto", revision=None)
    resolved = models.resolve_model(options, session.report)
    return Plan(
        dataset=job.reference,
        resolved=resolved,
        options=options,
        tokenizer=models.load_tokenizer(resolved, options),
        source=job.source,
        task=job.task,
        settings=job.settings,
        split=job.rows.name,
        rows=job.rows.validation,
        dropped=0,
        batch_size=job.task.eval_batch_size,
        metric_request=MetricRequest(job.task.metrics_for(job.settings), seed=job.settings.seed),
    )


def data_record(job: Job) -> DataRecord:
    """Return what run.json says of the data: enough to find the same rows again."""
    rows, labels = job.rows, job.settings.labels
    trained_on = _head(job) if job.stream else _trained_on(job)
    document = {
        "reference": job.reference,
        "commit": job.source.commit,
        "columns": job.settings.columns,
        "labels": list(labels.names) if labels else None,
        "validation": rows.name,
        "cut": rows.cut.as_dict() if rows.cut else None,
        "mix": [component.as_dict() for component in rows.component_records] or None,
        **trained_on,
        "validation_rows": len(rows.validation),
        "validation_sha256": data.fingerprint(rows.validation),
    }
    return cast("DataRecord", document)


def _head(job: Job) -> dict[str, object]:
    return {"streaming": True, "head_sha256": data.fingerprint(job.rows.train)}


def _trained_on(job: Job) -> dict[str, object]:
    rows = job.rows.train
    tokens = sum(job.encoded_train["length"])
    return {"train_rows": len(rows), "train_sha256": data.fingerprint(rows), "train_tokens": tokens}


def require_same_data(job: Job) -> None:
    """Refuse to go on with a run, or to take it for finished, on other rows than it was begun with.

    Of several processes each has to have the same rows.

    Raises:
        DataError: the rows to train on, or those to measure on, are not those that its run.json tells of.
    """
    if world().size > 1:
        held = {name: value for name, value in data_record(job).items() if name.endswith(("sha256", "rows"))}
        world().require_alike(held, f"the rows of {job.reference}")
    if world().spans_nodes:  # tokenizers and configs; the weights are those of the main process
        world().require_alike(fingerprints(job.resolved), f"the files of {job.resolved.name}")
    recorded = None if job.run.overwrite else (runs.read_run(job.folder.path) or {}).get("data")
    if not recorded:
        return
    now, own = data_record(job), job.rows.has_own_validation
    parts = {"train_sha256": "to train on", "head_sha256": "to train on", "validation_sha256": "to measure on"}
    changed = [part for name, part in parts.items() if recorded.get(name, now.get(name)) != now.get(name)]
    if changed:
        others = own and changed == ["to measure on"] and job.rows.name not in job.source.splits
        raise DataError(
            f"{job.rows.name if others else job.reference} holds other rows {' and '.join(changed)} than the run in "
            f"{str(job.folder.path)!r} was begun with: put the old ones back to go on with it; --overwrite starts anew"
        )
