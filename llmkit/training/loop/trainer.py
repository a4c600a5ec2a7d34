"""The training loop: transformers' Trainer with llmkit's batches, measurements, checkpoints and stops."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerBase, TrainerCallback, TrainerControl, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from llmkit import metrics, models
from llmkit.distributed.world import world
from llmkit.errors import Interrupted, Stopped
from llmkit.inference.prediction import predict
from llmkit.runs import RunFolder, drop_incomplete, newest_checkpoint
from llmkit.runs.interrupts import StopRequest
from llmkit.tasks import Task, TaskSettings
from llmkit.tasks.base.encoding import Batch
from llmkit.training.loop import strategies, tracking
from llmkit.training.loop.arguments import arguments, precision
from llmkit.training.loop.callbacks import DivergenceGuard, EarlyStopping, MetricsLogger, StopCallback, out_of_patience
from llmkit.training.loop.checkpoints import StrategyTrainer, require_resumable
from llmkit.training.loop.job import Job, OpenModel, Session
from llmkit.training.loop.losses import Loss
from llmkit.training.loop.recipe import Recipe
from llmkit.training.loop.unused_weights import has_unused_weights
from llmkit.training.rows.length_batches import LengthBatches
from llmkit.training.rows.streaming import Stream


@dataclass(frozen=True)
class Fit:
    """What one run of the loop did."""

    steps: int
    seconds: float
    best_step: int | None
    best_value: float | None


class TaskTrainer(StrategyTrainer):
    """A Trainer that measures with the task's own code and orders rows by `LengthBatches`."""

    control: TrainerControl
    loss_is_scaled_for_ga = True  # by `compute_loss`

    def __init__(
        self,
        task: Task,
        loss: Loss,
        validation: Dataset,
        train_settings: TaskSettings,
        settings: TaskSettings,
        **more: Any,
    ) -> None:
        self.task, self.loss, self.validation, self.settings = task, loss, validation, settings
        tokenizer: PreTrainedTokenizerBase = more["processing_class"]
        collator = task.encoding.collator(tokenizer, train_settings)
        super().__init__(data_collator=collator, eval_dataset=validation, **more)
        self.remove_callback(PrinterCallback)  # it prints to stdout, which is for results
        self.remove_callback(ProgressCallback)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the loss of a batch as its part in that of the step, where a larger batch counts for more; a scalar.

        The library sums the losses of models that say that they divide by `num_items_in_batch`, of which not all do.
        """
        size = self.loss.size(model, inputs)
        part = size / num_items_in_batch.to(size.device) if num_items_in_batch is not None else 1.0
        return torch.where(size > 0, self.loss.of(self.task, model, inputs) * part, 0.0)  # nothing masked: no number

    def _get_num_items_in_batch(self, batch_samples: list[Batch], device: torch.device) -> torch.Tensor:
        """Return what the losses of all batches of a step are divided by, per process."""
        total = torch.stack([self.loss.size(self.model, batch) for batch in batch_samples]).sum().to(device)
        shared: torch.Tensor = self.accelerator.gather(total).mean()
        return shared

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> LengthBatches:
        rows = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return LengthBatches(self.train_dataset["length"], rows, self.args.seed)

    def evaluate(
        self, eval_dataset: Dataset | None = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Score the validation rows with the task's code, under the autocast of training; return figures by metric."""
        task, tokenizer = self.task, self.processing_class
        predictions = predict(task, self.model, tokenizer, self.validation, self.settings, task.eval_batch_size)
        observations = task.answers.evaluation_arrays(predictions, self.validation, tokenizer, self.settings)
        names = dict.fromkeys((*task.metrics_for(self.settings), self.args.metric_for_best_model))
        logs = {f"{metric_key_prefix}_{name}": metrics.value(name, observations) for name in names}
        self.log(dict(logs))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, logs)
        return logs

    def _determine_best_metric(self, metrics: dict[str, float], trial: object) -> bool:
        """Take the later of two equal checkpoints for the best: it has trained longer."""
        if metrics.get(f"eval_{self.args.metric_for_best_model}") == self.state.best_metric:
            self.state.best_metric = None
        return bool(super()._determine_best_metric(metrics, trial))

    def _save(self, output_dir: str | None = None, state_dict: dict[str, torch.Tensor] | None = None) -> None:
        """Save model and tokenizer; not training_args.bin, a pickle that can hold a token."""
        if not self.args.should_save:
            return
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        models.save(self.model, self.processing_class, folder, state_dict)


def fit(job: Job, model: OpenModel, recipe: Recipe, session: Session) -> Fit:
    """Train, keep the best checkpoint by the job's best metric, and save its weights in the run folder, whole.

    Raises:
        Stopped: a signal came and a checkpoint was saved.
        Interrupted: a second signal came before anything was saved.
        DivergedError: the loss or a gradient is not finite.
        OptionError: the checkpoint to go on with is of another strategy, whose parts this one does not read.
    """
    with strategies.environment(job.run.strategy):
        return _fit(job, model, recipe, session)


def _fit(job: Job, model: OpenModel, recipe: Recipe, session: Session) -> Fit:
    device = models.pick_device(session.options.device)
    mixed = precision(session.options, device)
    rows = len(job.encoded_train) if job.stream is None else 0  # of a stream no one knows: it has --max-steps
    unused = world().size > 1 and job.run.strategy == "ddp" and has_unused_weights(job, model)
    engine = mixed | strategies.fields(job.run.strategy, model.network, unused)
    args = arguments(recipe, rows, job.folder, engine, device, job.best_metric)
    strategies.keep_precise(args)
    drop_incomplete(job.folder.checkpoints)
    started = time.monotonic()
    trackers = tracking.callbacks(tracking.chosen(job.run.track), job.folder, session.options.offline, session.report)
    logged = (job.best_metric, *job.task.logged_metrics)
    metrics_logger = MetricsLogger(job.folder.path / "metrics.jsonl", session.report, logged)
    with StopRequest(session.report) as stop_request:
        watching: list[TrainerCallback] = [metrics_logger, *trackers, StopCallback(stop_request)]
        if recipe.patience is not None:
            watching.append(EarlyStopping(recipe.patience, session.report, job.best_metric))
        watching += [*session.callbacks, DivergenceGuard()]  # the last: it sees whether others want to save
        trainer = _trainer(job, model, recipe, args, watching)
        with _stops_saved(job.folder), contextlib.redirect_stdout(sys.stderr), metrics_logger:  # some trackers print
            _train(trainer, job.folder, recipe, job.run.strategy)
        if stop_request.asked and trainer.state.global_step < trainer.state.max_steps:
            _stopped(job.folder)
    trainer.save_model(str(job.folder.path))
    state = trainer.state
    return Fit(state.global_step, time.monotonic() - started, state.best_global_step, state.best_metric)


def _trainer(
    job: Job, model: OpenModel, recipe: Recipe, args: TrainingArguments, callbacks: list[TrainerCallback]
) -> TaskTrainer:
    train: Dataset | Stream = job.encoded_train
    if job.stream is not None:
        train = job.stream.in_batches_of(args.train_batch_size * args.gradient_accumulation_steps)
    return TaskTrainer(
        job.task,
        Loss(recipe.label_smoothing, recipe.class_weights, model.distillation_loss),
        job.encoded_validation,
        *job.loop_settings,
        model=model.network,
        args=args,
        train_dataset=train,
        processing_class=job.tokenizer,
        callbacks=callbacks,
    )


def _train(trainer: TaskTrainer, folder: RunFolder, recipe: Recipe, strategy: str) -> None:
    """Run the loop, or take up what is left of it: a run at its end only loads its best weights."""
    checkpoint = folder.resume_from
    if checkpoint is None:
        shutil.rmtree(folder.checkpoints, ignore_errors=True)
        trainer.train()
        return
    require_resumable(checkpoint, strategy)
    state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    patient = not out_of_patience(state["log_history"], trainer.args, recipe.patience)
    if state["global_step"] < state["max_steps"] and patient:
        trainer.train(resume_from_checkpoint=str(checkpoint))
        return
    best = folder.checkpoints / f"checkpoint-{state['best_global_step'] or state['global_step']}"
    trainer._load_from_checkpoint(str(best if best.is_dir() else checkpoint))
    trainer.state = type(trainer.state).load_from_json(str(checkpoint / "trainer_state.json"))


@contextlib.contextmanager
def _stops_saved(folder: RunFolder) -> Iterator[None]:
    """Say what a KeyboardInterrupt leaves behind: 75 when a checkpoint can be gone on from, else 130."""
    try:
        yield
    except KeyboardInterrupt:
        _stopped(folder)


def _stopped(folder: RunFolder) -> None:
    newest = newest_checkpoint(folder.checkpoints)
    if newest is None:
        folder.abandon()
        raise Interrupted("interrupted before anything was saved")
    folder.update(status="stopped")
    raise Stopped(f"stopped and saved at step {newest.name.rpartition('-')[2]}: the same command goes on from there")
