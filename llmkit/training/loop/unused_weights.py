"""Weights that no gradient reaches: where there are some, DDP has to look for them in each step."""

from __future__ import annotations

import torch
from accelerate.utils import send_to_device
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import PreTrainedModel

from llmkit.tasks import Task
from llmkit.tasks.base.encoding import Batch
from llmkit.training.loop.job import Job, OpenModel
from llmkit.training.loop.losses import Loss

ROWS = 2  # of the batch that is tried


class _Step(nn.Module):
    """A model whose output is its loss."""

    def __init__(self, task: Task, loss: Loss, model: PreTrainedModel) -> None:
        super().__init__()
        self.task, self.loss, self.model = task, loss, model

    def forward(self, batch: Batch) -> torch.Tensor:
        return self.loss.terms(self.task, self.model, batch).sum()


def has_unused_weights(job: Job, model: OpenModel) -> bool:
    """Tell whether some of the weights that are trained get no gradient, or may get none: where layers are dropped.

    A step is tried with weights that have no numbers, which costs nothing. Where that cannot be, there may be some.
    """
    config = model.network.config
    if any(getattr(config, name, 0) for name in ("layerdrop", "encoder_layerdrop", "decoder_layerdrop")):
        return True
    collator = job.task.encoding.collator(job.tokenizer, job.loop_settings[0])
    step = _Step(job.task, Loss(distillation_loss=model.distillation_loss), model.network)
    with torch.random.fork_rng():
        first = job.encoded_train.select(range(min(ROWS, len(job.encoded_train))))
        batch = send_to_device(collator(list(first)), model.network.device)  # not all of a packed batch are tensors
        try:
            return bool(unused_weights(step, batch))
        except (RuntimeError, NotImplementedError, ValueError, TypeError):  # it reads numbers of weights
            return True


def unused_weights(step: nn.Module, batch: Batch) -> list[str]:
    """Return the names of the trained weights of a module that the gradient of its output on a batch does not reach."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)  # the batch has its numbers, which masks are made by
    weights = {
        name: mode.from_tensor(given.detach()).requires_grad_(given.requires_grad)
        for name, given in step.named_parameters()
    }
    loss = torch.func.functional_call(step, weights, (batch,))
    trained = {name: held for name, held in weights.items() if held.requires_grad}
    gradients = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
    return [name for name, gradient in zip(trained, gradients, strict=True) if gradient is None]
