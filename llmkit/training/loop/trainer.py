"""The training loop: transformers' Trainer with llmkit's batches, measurements, checkpoints and stops."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.data_loader import prepare_data_loader
from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from llmkit import metrics, models
from llmkit.distributed.world import world
from llmkit.errors import Interrupted, Stopped
from llmkit.inference.row_files.prediction_loop import PredictionLoop
from llmkit.output.result import ThroughputRecord
from llmkit.runs import RunFolder, drop_incomplete, newest_checkpoint
from llmkit.runs.interrupts import StopRequest
from llmkit.tasks.base.encoding import Batch, EncodedRow
from llmkit.training.loop import acceleration, strategies, tracking
from llmkit.training.loop.allocator import kept_memory
from llmkit.training.loop.arguments import arguments, precision
from llmkit.training.loop.callbacks import DivergenceGuard, EarlyStopping, MetricsLogger, StopCallback, out_of_patience
from llmkit.training.loop.checkpoints import require_resumable
from llmkit.training.loop.chunked_loss import compute_in_chunks
from llmkit.training.loop.dropout import quick_masks
from llmkit.training.loop.job import Job, OpenModel, Session
from llmkit.training.loop.losses import Loss
from llmkit.training.loop.recipe import Recipe
from llmkit.training.loop.throughput import TRACE, ClockedTrainer, OptimizerClock, PhaseClock, Tracer, throughput
from llmkit.training.loop.unused_weights import has_unused_weights
from llmkit.training.rows.length_batches import LengthBatches
from llmkit.training.rows.rank_batches import NoRows, RankBatches, RankCollator, RankStream


@dataclass(frozen=True)
class Fit:
    """What one run of the loop did."""

    steps: int
    seconds: float
    best_step: int | None
    best_value: float | None
    throughput: ThroughputRecord | None = None  # None in the records of older searches


class TaskTrainer(ClockedTrainer):
    """A Trainer that measures with the task's own code, and takes its share of batches that `LengthBatches` orders."""

    control: TrainerControl
    loss_is_scaled_for_ga = True  # by `compute_loss`
    trained_steps = 0  # before, of a stream that begins after their rows

    def __init__(self, job: Job, loss: Loss, batch_size: int, **more: Any) -> None:
        """`batch_size` are the rows of one forward pass of all processes."""
        self.job, self.task, self.loss, self.batch_size, self.world = job, job.task, loss, batch_size, world()
        train_settings, self.settings = job.loop_settings
        collator = job.task.encoding.collator(job.tokenizer, train_settings)
        super().__init__(
            data_collator=RankCollator(collator, job.encoded_train[0]),  # of a stream the first row too
            train_dataset=job.encoded_train,
            eval_dataset=job.encoded_validation,
            processing_class=job.tokenizer,
            **more,
        )
        self.clock = PhaseClock(self.args.device, job.run.profile)
        self.add_callback(OptimizerClock(self.clock))
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
        sizes = self._sizes(inputs)
        parts = sizes / num_items_in_batch.to(sizes.device) if num_items_in_batch is not None else 1.0
        terms = self.loss.terms(self.task, model, inputs)
        return torch.where(sizes > 0, terms * parts, 0.0).sum()  # nothing masked: no number

    def _get_num_items_in_batch(self, batch_samples: list[Batch], device: torch.device) -> torch.Tensor:
        """Return what the terms of the losses of all batches of a step are divided by, per process: (terms,)."""
        total = torch.stack([self._sizes(batch) for batch in batch_samples]).sum(0).to(device)
        shared: torch.Tensor = self.accelerator.gather(total).reshape(-1, len(total)).mean(0)
        return shared

    def _sizes(self, batch: Batch) -> torch.Tensor:
        sizes = self.loss.sizes(self.model, batch)
        return torch.zeros_like(sizes) if isinstance(batch, NoRows) else sizes

    def get_train_dataloader(self) -> DataLoader[EncodedRow]:
        """Return what gives this process its rows of each batch: the library's own would repeat rows to fill the last.

        A step holds the same rows in one process and in several.
        """
        step, args = self.batch_size * self.args.gradient_accumulation_steps, self.args
        rows: dict[str, Any]
        if self.job.stream is not None:
            lanes = self.job.stream.in_batches_of(step, self.job.folder.checkpoints / "stream")
            start = self.trained_steps * args.gradient_accumulation_steps
            stream = RankStream(lanes, self.batch_size, self.world, start)
            rows = {"dataset": stream, "batch_size": None, "generator": torch.Generator()}
        else:
            order = LengthBatches(self.train_dataset["length"], step, args.seed)
            batches = RankBatches(order, self.batch_size, self.world, args.dataloader_drop_last)
            rows = {"dataset": self.train_dataset, "batch_sampler": batches}
        loader = DataLoader(
            **rows,
            collate_fn=self.data_collator,
            num_workers=args.dataloader_num_workers,
            pin_memory=args.dataloader_pin_memory,
            persistent_workers=args.dataloader_persistent_workers,
            prefetch_factor=args.dataloader_prefetch_factor,
            multiprocessing_context=getattr(args, "dataloader_multiprocessing_context", None),  # of newer versions
            in_order=getattr(args, "dataloader_in_order", True),
        )
        prepared: DataLoader[EncodedRow] = prepare_data_loader(
            loader, args.device, num_processes=1, process_index=0, put_on_device=True, dispatch_batches=False
        )
        return prepared

    def evaluate(
        self, eval_dataset: Dataset | None = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Score the validation rows with the task's code, under the autocast of training; return figures by metric."""
        task, tokenizer, rows = self.task, self.job.tokenizer, self.job.encoded_validation
        loop = PredictionLoop(task, self.model, tokenizer, self.settings, task.eval_batch_size, world=self.world)
        observations = task.answers.evaluation_arrays(loop.run(rows), rows, tokenizer, self.settings)
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
        models.save(self.model, self.job.tokenizer, folder, state_dict)

    def _save_rng_state(self, output_dir: str) -> None:
        """Save what each process draws from; then the main one writes trainer_state.json, by which all is there."""
        super()._save_rng_state(output_dir)
        self.world.wait()


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
    loss = Loss(recipe.label_smoothing, recipe.class_weights, model.distillation_loss)
    ways = acceleration.fields(job.run, session.report, needs_logits=not loss.is_models_own)
    engine = mixed | strategies.fields(job.run.strategy, model.network, unused) | ways
    args = arguments(recipe, rows, job.folder, engine, device, job.best_metric)
    strategies.keep_precise(args)
    here = world()
    if here.is_main:
        drop_incomplete(job.folder.checkpoints)
    here.wait()
    started = time.monotonic()
    names = tracking.chosen(job.run.track) if here.is_main else []
    trackers = tracking.callbacks(names, job.folder, session.options.offline, session.report)
    logged = (job.best_metric, *job.task.logged_metrics)
    metrics_logger = MetricsLogger(job.folder.path / "metrics.jsonl", session.report, logged)
    with StopRequest(session.report) as stop_request:
        stopping = StopCallback(stop_request)
        watching: list[TrainerCallback] = [metrics_logger, *trackers, stopping]
        if recipe.patience is not None:
            watching.append(EarlyStopping(recipe.patience, session.report, job.best_metric))
        if job.run.profile and here.is_main:
            watching.append(Tracer(job.folder.path / TRACE))
        watching += [*session.callbacks, DivergenceGuard()]  # the last: it sees whether others want to save
        trainer = _trainer(job, (model.network, loss), recipe, args, watching)
        quiet = contextlib.redirect_stdout(sys.stderr)  # some trackers print
        with _stops_saved(job.folder), quiet, metrics_logger, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated")  # it is accelerate's to change
            with _fast_steps(args):
                _train(trainer, job.folder, recipe, job.run.strategy)
        if stopping.stops and trainer.state.global_step < trainer.state.max_steps:
            here.wait()
            _stopped(job.folder)
    trainer.save_model(str(job.folder.path))
    here.wait()
    state, seconds = trainer.state, time.monotonic() - started
    half = torch.float16 if args.fp16 else torch.bfloat16 if args.bf16 else torch.float32
    rates = throughput(trainer.clock, model.network, half, here)
    return Fit(state.global_step, seconds, state.best_global_step, state.best_metric, rates)


def _trainer(
    job: Job,
    model: tuple[PreTrainedModel, Loss],
    recipe: Recipe,
    args: TrainingArguments,
    callbacks: list[TrainerCallback],
) -> TaskTrainer:
    (network, loss), here = model, world()
    if loss.is_models_own and job.run.strategy == "ddp" and not (args.torch_compile or args.use_liger_kernel):
        compute_in_chunks(network)
    made = TaskTrainer(job, loss, recipe.batch_size, model=network, args=args, callbacks=callbacks)
    if not here.is_main:
        set_seed(recipe.seed + here.rank)  # dropout of other rows is another
    return made


def _train(trainer: TaskTrainer, folder: RunFolder, recipe: Recipe, strategy: str) -> None:
    """Run the loop, or take up what is left of it: a run at its end only loads its best weights."""
    checkpoint = folder.resume_from
    if checkpoint is None:
        if trainer.world.is_main:
            shutil.rmtree(folder.checkpoints, ignore_errors=True)
        trainer.world.wait()
        trainer.train()
        return
    require_resumable(checkpoint, strategy)
    state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    patient = not out_of_patience(state["log_history"], trainer.args, recipe.patience)
    if state["global_step"] < state["max_steps"] and patient:
        if trainer.job.stream is not None and not trainer.args.ignore_data_skip:
            trainer.args.ignore_data_skip = True  # the library would read and encode all rows again, to drop them
            trainer.trained_steps = state["global_step"]
        trainer.train(resume_from_checkpoint=str(checkpoint))
        return
    best = folder.checkpoints / f"checkpoint-{state['best_global_step'] or state['global_step']}"
    trainer._load_from_checkpoint(str(best if best.is_dir() else checkpoint))
    trainer.state = type(trainer.state).load_from_json(str(checkpoint / "trainer_state.json"))


@contextlib.contextmanager
def _fast_steps(args: TrainingArguments) -> Iterator[None]:
    """Let steps on a CPU take memory and draw masks as is fast there."""
    with contextlib.ExitStack() as ways:
        if args.device.type == "cpu":
            ways.enter_context(kept_memory())
            if not args.torch_compile:  # what is compiled draws its own
                ways.enter_context(quick_masks())
        yield


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
