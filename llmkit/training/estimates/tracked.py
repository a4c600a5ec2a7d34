"""The figures of a training from running one step of its real model, loss and optimizer on tensors without data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from accelerate.utils import convert_outputs_to_fp32
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from transformers import PreTrainedModel

from llmkit.distributed.world import world
from llmkit.models.modules import Share
from llmkit.tasks import Task
from llmkit.tasks.base.encoding import Batch
from llmkit.training.estimates import batches
from llmkit.training.estimates.networks import Networks, networks
from llmkit.training.estimates.tracker import Peak, track_forward, track_step, without_data
from llmkit.training.loop.arguments import precision
from llmkit.training.loop.chunked_loss import compute_in_chunks
from llmkit.training.loop.job import Job, Session
from llmkit.training.loop.losses import Loss
from llmkit.training.loop.recipe import Recipe
from llmkit.training.model_spec import ModelSpec


@dataclass(frozen=True)
class Subject:
    """A training that is estimated: what it is, of which model, by which recipe, and with what it runs."""

    job: Job
    spec: ModelSpec
    recipe: Recipe
    session: Session
    device: torch.device
    processes: int = field(default_factory=lambda: world().size)  # that share the rows of a batch
    for_gpu: bool = False  # on paper: what is asked is the memory of a GPU that is not here

    @property
    def on_gpu(self) -> bool:
        """Whether the memory is that of a GPU, without the process's own."""
        return self.for_gpu or self.device.type == "cuda"

    @property
    def half(self) -> torch.dtype | None:
        """The half precision of autocast; None: float32 throughout."""
        mixed = precision(self.session.options, self.device)
        return torch.float16 if mixed.get("fp16") else torch.bfloat16 if mixed.get("bf16") else None

    def with_batch_size(self, size: int) -> Subject:
        """Return the same training by batches of another size."""
        return replace(self, recipe=replace(self.recipe, batch_size=size))


@dataclass(frozen=True)
class Tracked:
    """What a step and a measurement held when they held the most, and what was computed."""

    step: Peak
    measurement: Peak  # where its batch is no larger it holds less, and the step stands for it
    share: Share  # of the weights, that is trained
    teacher: int  # bytes of its weights
    tokens: int  # of the batch, padding counted


def track(subject: Subject) -> Tracked:
    """Return what one step holds and computes, the second of a training, and what one batch of a measurement does.

    Raises:
        Exception: of any class: the model, or torch, does what tensors without data cannot.
    """
    job, recipe = subject.job, subject.recipe
    rows = batches.share_of_one(job, batches.largest_batch(job, recipe), subject.processes)
    batch = batches.training_batch(job, rows)
    measured = batches.validation_batch(job, batches.longest_validation_batch(job))
    opened = networks(job, subject.spec, recipe, subject.session.options.trust_remote_code)
    may_be_larger = _larger(measured, batch)
    with without_data() as mode:
        opened.allocate()
        loss = Loss(recipe.label_smoothing, recipe.class_weights, opened.taught)
        if loss.is_models_own and job.run.strategy in {"auto", "ddp"}:
            compute_in_chunks(opened.student)
        for network in (opened.student, *opened.frozen):
            _autocast(network, subject)
        step = _step(subject, opened, loss, _without_data(batch, mode))
        measurement = step
        if may_be_larger:
            measurement = _measurement(job.task, opened.student.eval(), _without_data(measured, mode))
        teacher = sum(weights.nbytes for network in opened.frozen for weights in network.parameters())
    return Tracked(step, measurement, opened.share, teacher, _tokens(batch))


def _step(subject: Subject, opened: Networks, loss: Loss, batch: Batch) -> Peak:
    """Return the peak of a step; a batch whose mask cannot be read is taken for one without padding."""
    whole = {name: value for name, value in batch.items() if name != "attention_mask"}
    try:
        return _tracked(subject, opened, loss, batch)
    except (DataDependentOutputException, DynamicOutputShapeException):
        return _tracked(subject, opened, loss, whole)


def _tracked(subject: Subject, opened: Networks, loss: Loss, batch: Batch) -> Peak:
    def of_batch() -> torch.Tensor:
        return loss.terms(subject.job.task, opened.student, batch).sum()

    return track_step(opened.student, opened.frozen, of_batch, subject.recipe.accumulation > 1)


def _measurement(task: Task, model: PreTrainedModel, batch: Batch) -> Peak:
    inputs = {
        name: value.flatten(0, 1) if task.needs_reference_outputs and value.dim() == 3 else value
        for name, value in batch.items()
    }
    inputs = task.encoding.model_inputs(inputs)
    if model.config.is_encoder_decoder and "labels" in batch:
        inputs["labels"] = batch["labels"]
    return track_forward(model, lambda: model(**inputs))


def _larger(measured: Batch, batch: Batch) -> bool:
    """Return whether a batch that is measured has more rows or longer ones than the batch that is learned from."""
    shapes = {name: value.shape for name, value in batch.items() if isinstance(value, torch.Tensor)}
    for name, value in measured.items():
        if not isinstance(value, torch.Tensor):
            continue
        shape = shapes.get(name)
        if shape is None or len(shape) != value.dim() or any(m > n for m, n in zip(value.shape, shape, strict=True)):
            return True
    return False


def _autocast(model: PreTrainedModel, subject: Subject) -> None:
    """Let a model compute in half precision and answer in float32, as accelerate does."""
    if subject.half is not None:
        autocast = torch.autocast("cpu", subject.half)  # where tensors without data are
        model.forward = convert_outputs_to_fp32(autocast(model.forward))


def _without_data(batch: Batch, mode: FakeTensorMode) -> Batch:
    """Return a batch of the same shapes; what is no tensor, such as a switch of the model, stays as it is."""
    tensors = {name: value for name, value in batch.items() if isinstance(value, torch.Tensor)}
    return batch | {name: mode.from_tensor(value) for name, value in tensors.items()}


def _tokens(batch: Batch) -> int:
    """Return the tokens of a batch, padding counted: of the tensors (rows, tokens) of ids."""
    sizes: Sequence[int] = [value.numel() for name, value in batch.items() if name.endswith("input_ids")]
    return sum(sizes) or max(value.numel() for value in batch.values())
