"""The training loop: transformers' Trainer with llmkit's batches, measurements, checkpoints and stops."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from llmkit import metrics, models
from llmkit.errors import Interrupted, OptionError, Stopped, one_line
from llmkit.inference.prediction import predict
from llmkit.metrics import LOWER_IS_BETTER
from llmkit.options import ModelOptions
from llmkit.options.overrides import parse_settings
from llmkit.output.report import Report
from llmkit.runs import RunFolder, drop_incomplete, newest_checkpoint
from llmkit.runs.interrupts import StopRequest
from llmkit.tasks import Task, TaskSettings
from llmkit.training.loop import tracking
from llmkit.training.loop.callbacks import DivergenceGuard, EarlyStopping, MetricsLogger, StopCallback, out_of_patience
from llmkit.training.loop.distillation_loss import DistillationLoss
from llmkit.training.loop.losses import Loss
from llmkit.training.loop.recipe import Recipe
from llmkit.training.rows.length_batches import LengthBatches
from llmkit.training.rows.streaming import Stream

OWNED = {
    "output_dir": "--output",
    "num_train_epochs": "--epochs",
    "max_steps": "--max-steps",
    "seed": "--seed",
    "per_device_train_batch_size": "--batch-size",
    "learning_rate": "--learning-rate",
    "use_cpu": "--device",
    "bf16": "--dtype",
    "fp16": "--dtype",
    "resume_from_checkpoint": "--resume",
    "metric_for_best_model": "--metric",
    "gradient_accumulation_steps": "--accumulate",
    "gradient_checkpointing": "--checkpoint-activations",
    "activation_checkpointing": "--checkpoint-activations",
    "label_smoothing_factor": "--label-smoothing",
    "warmup_steps": "--warmup",
    "weight_decay": "--weight-decay",
    "hub_token": "`hf auth login`",
    "report_to": "--track",
}

SCHEDULES = {"constant": "constant_with_warmup"}  # what the library calls them, where it knows another by that name


@dataclass(frozen=True)
class Fit:
    """What one run of the loop did."""

    steps: int
    seconds: float
    best_step: int | None
    best_value: float | None


def checked_overrides(pairs: list[str] | None) -> dict[str, Any]:
    """Return the TrainingArguments fields that --set names.

    Raises:
        OptionError: an unknown field, or one that has a flag.
    """
    known = [f.name for f in dataclasses.fields(TrainingArguments) if f.init]
    overrides = parse_settings(pairs, known, OWNED, "TrainingArguments")
    usual = {f.name: f.default for f in dataclasses.fields(TrainingArguments)}
    for name, value in overrides.items():
        if isinstance(usual[name], int | float) and not isinstance(value, int | float):
            raise OptionError(f"--set {name} takes {type(usual[name]).__name__}, not {value!r}")
    _library_arguments({"output_dir": "unused", "use_cpu": True, "report_to": "none", **overrides})
    return overrides


def _library_arguments(values: dict[str, Any]) -> TrainingArguments:
    try:
        return TrainingArguments(**values)
    except (ValueError, TypeError, ImportError) as error:
        raise OptionError(f"--set: {one_line(error)}") from error


def precision(options: ModelOptions, device: torch.device) -> dict[str, bool]:
    """Return the mixed-precision arguments: bf16 autocast where it is the faster one, unless told otherwise."""
    if options.dtype == "float16":
        if device.type == "cpu":
            raise OptionError("--dtype float16 trains on a GPU only; use bfloat16 or float32 on a CPU")
        return {"fp16": True}
    return {"bf16": options.dtype == "bfloat16" or (options.dtype == "auto" and has_fast_bf16(device))}


def has_fast_bf16(device: torch.device) -> bool:
    """Tell whether the device multiplies bfloat16 matrices faster than those of float32.

    Of CPUs those with AMX. AVX-512's own instructions reach less than float32's (on a Xeon 80 and 140 GFLOP/s): BERT,
    Llama and T5 of 2 million weights trained 1.5 to 2 times as fast in float32 there.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu._is_amx_tile_supported())


def arguments(
    recipe: Recipe, rows: int, folder: RunFolder, mixed: dict[str, bool], device: torch.device, best: str
) -> Any:
    """Return the TrainingArguments of a run.

    Raises:
        OptionError: the library refuses a value.
    """
    every = max(1, math.ceil(recipe.steps(rows) / recipe.measurements))
    values: dict[str, Any] = {
        "output_dir": str(folder.checkpoints),
        "num_train_epochs": recipe.epochs,
        "max_steps": recipe.max_steps or -1,
        "per_device_train_batch_size": recipe.batch_size,
        "learning_rate": recipe.learning_rate,
        "seed": recipe.seed,
        "warmup_steps": recipe.warmup,
        "weight_decay": recipe.weight_decay,
        "lr_scheduler_type": SCHEDULES.get(recipe.schedule, recipe.schedule),
        "gradient_accumulation_steps": recipe.accumulation,
        **_checkpointing(recipe),
        "adam_beta1": recipe.betas[0],
        "adam_beta2": recipe.betas[1],
        "optim": "adamw_torch_fused",
        "eval_strategy": "steps",
        "eval_steps": every,
        "save_strategy": "steps",
        "save_steps": every,
        "save_total_limit": 2,  # the best and the last: with 1 a stop would lose the last
        "load_best_model_at_end": True,
        "metric_for_best_model": best,
        "greater_is_better": best not in LOWER_IS_BETTER,
        "logging_steps": max(1, recipe.steps(rows) // 100),
        "logging_nan_inf_filter": False,
        "disable_tqdm": True,
        "report_to": "none",
        # the trackers are callbacks of `tracking`
        "run_name": folder.path.name,
        "project": tracking.PROJECT,
        "use_cpu": device.type == "cpu",
        "dataloader_pin_memory": device.type == "cuda",
        "remove_unused_columns": False,
        **mixed,
        **recipe.overrides,
    }
    return _library_arguments(values)


def _checkpointing(recipe: Recipe) -> dict[str, Any]:
    if not recipe.checkpoint_activations:
        return {}
    name = "activation" if hasattr(TrainingArguments, "activation_checkpointing") else "gradient"  # in older versions
    return {f"{name}_checkpointing": True, f"{name}_checkpointing_kwargs": {"use_reentrant": False}}


class TaskTrainer(Trainer):
    """A Trainer that measures with the task's own code and orders rows by `LengthBatches`."""

    control: Any  # the Trainer's own, untyped there
    loss_is_scaled_for_ga = True  # by `compute_loss`

    def __init__(
        self, task: Task, loss: Loss, measured: Dataset, train_setup: TaskSettings, settings: TaskSettings, **more: Any
    ) -> None:
        self.task, self.loss, self.measured, self.settings = task, loss, measured, settings
        tokenizer: PreTrainedTokenizerBase = more["processing_class"]
        super().__init__(data_collator=task.encoding.collator(tokenizer, train_setup), eval_dataset=measured, **more)
        self.remove_callback(PrinterCallback)  # it prints to stdout, which is for results
        self.remove_callback(ProgressCallback)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the loss of a batch as its part in that of the step, where a larger batch counts for more.

        The library sums the losses of models that say that they divide by `num_items_in_batch`, of which not all do.
        """
        size = self.loss.size(model, inputs)
        part = size / num_items_in_batch.to(size.device) if num_items_in_batch is not None else 1.0
        return torch.where(size > 0, self.loss.of(self.task, model, inputs) * part, 0.0)  # nothing masked: no number

    def _get_num_items_in_batch(self, batch_samples: list[dict[str, Any]], device: torch.device) -> torch.Tensor:
        """Return what the losses of all batches of a step are divided by, per process."""
        total = torch.stack([self.loss.size(self.model, batch) for batch in batch_samples]).sum().to(device)
        shared: torch.Tensor = self.accelerator.gather(total).mean()
        return shared

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        rows = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return LengthBatches(self.train_dataset["length"], rows, self.args.seed)

    def evaluate(self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval") -> Any:
        """Score the validation rows with the task's code, under the autocast of training."""
        records = predict(
            self.task, self.model, self.processing_class, self.measured, self.settings, self.task.eval_batch_size
        )
        observations = self.task.answers.evaluation_arrays(records, self.measured, self.processing_class, self.settings)
        names = dict.fromkeys((*self.task.metrics_for(self.settings), self.args.metric_for_best_model))
        logs = {f"{metric_key_prefix}_{name}": metrics.value(name, observations) for name in names}
        self.log(dict(logs))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, logs)
        return logs

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """Take the later of two equal checkpoints for the best: it has trained longer."""
        if metrics.get(f"eval_{self.args.metric_for_best_model}") == self.state.best_metric:
            self.state.best_metric = None
        return bool(super()._determine_best_metric(metrics, trial))

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Save model and tokenizer; not training_args.bin, a pickle that can hold a token."""
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        models.save(self.model, self.processing_class, folder)


def fit(
    task: Task,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    train: Dataset | Stream,
    validation: Dataset,
    *,
    setups: tuple[TaskSettings, TaskSettings],
    recipe: Recipe,
    best: str,
    folder: RunFolder,
    options: ModelOptions,
    report: Report,
    distillation_loss: DistillationLoss | None = None,
    track: Sequence[str] | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> Fit:
    """Train, keep the best checkpoint by the metric `best`, and leave the best weights in `model`.

    `setups` are those of the training rows and of the measurements; both datasets are prepared. `track` names the
    trackers that the figures go to.

    Raises:
        Stopped: a signal came and a checkpoint was saved.
        Interrupted: a second signal came before anything was saved.
        DivergedError: the loss or a gradient is not finite.
    """
    mixed = precision(options, model.device)
    rows = 0 if isinstance(train, Stream) else len(train)  # of a stream no one knows: it has --max-steps
    args = arguments(recipe, rows, folder, mixed, model.device, best)
    if isinstance(train, Stream):
        train = train.in_batches_of(args.train_batch_size * args.gradient_accumulation_steps)
    drop_incomplete(folder.checkpoints)
    started = time.monotonic()
    trackers = tracking.callbacks(tracking.chosen(track), folder, options.offline, report)
    metrics_logger = MetricsLogger(folder.path / "metrics.jsonl", report, (best, *task.logged_metrics))
    with StopRequest(report) as stop_request:
        others: list[TrainerCallback] = [StopCallback(stop_request)]
        if recipe.patience is not None:
            others.append(EarlyStopping(recipe.patience, report, best))
        trainer = TaskTrainer(
            task,
            Loss(recipe.label_smoothing, recipe.class_weights, distillation_loss),
            validation,
            *setups,
            model=model,
            args=args,
            train_dataset=train,
            processing_class=tokenizer,
            callbacks=[
                metrics_logger,
                *trackers,
                *others,
                *callbacks,
                DivergenceGuard(),
            ],  # it sees whether others want to save
        )
        with _stops_saved(folder), contextlib.redirect_stdout(sys.stderr), metrics_logger:  # some trackers print
            _train(trainer, folder, recipe)
        if stop_request.asked and trainer.state.global_step < trainer.state.max_steps:
            _stopped(folder)
    state = trainer.state
    return Fit(state.global_step, time.monotonic() - started, state.best_global_step, state.best_metric)


def _train(trainer: TaskTrainer, folder: RunFolder, recipe: Recipe) -> None:
    """Run the loop, or take up what is left of it: a run at its end only loads its best weights."""
    checkpoint = folder.resume_from
    if checkpoint is None:
        shutil.rmtree(folder.checkpoints, ignore_errors=True)
        trainer.train()
        return
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
