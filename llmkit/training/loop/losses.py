"""The loss of a training batch: the model's or the task's own, or a cross-entropy that is smoothed or weighted."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from accelerate.utils import extract_model_from_parallel
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import ModelOutput

from llmkit.models.adapters import has_adapter
from llmkit.tasks import Task
from llmkit.tasks.base.encoding import Batch
from llmkit.tasks.encoding.collation import IGNORED
from llmkit.training.loop.distillation_loss import DistillationLoss


@dataclass(frozen=True)
class Loss:
    """How far a batch is from its labels, and how much it counts beside the other batches of its step."""

    smoothing: float = 0.0
    weights: tuple[float, ...] | None = None  # of the classes
    distillation_loss: DistillationLoss | None = None  # of a teacher, mixed with what the labels say

    @property
    def plain(self) -> bool:
        """Whether the loss is the model's or the task's own."""
        return not self.smoothing and self.weights is None

    @property
    def is_models_own(self) -> bool:
        """Whether nothing else is read of the model's output where the task has no loss of its own."""
        return self.plain and self.distillation_loss is None

    def terms(self, task: Task, model: PreTrainedModel, batch: Batch) -> torch.Tensor:
        """Return the terms that the loss of a batch is the sum of, (terms,), each a mean over what `sizes` counts.

        The first is the mean loss of the targets: that of PyTorch's CrossEntropyLoss(weight=, label_smoothing=) where
        it is not the task's own.
        """
        task_loss = task.loss(model, batch)
        if task_loss is not None:
            return task_loss[None]
        if self.distillation_loss is None:
            return self._of_labels(model, batch, model(**batch))[None]
        outputs = model(**self.distillation_loss.student_inputs(batch))
        return self.distillation_loss.terms(self._of_labels(model, batch, outputs), outputs, batch)

    def _of_labels(self, model: PreTrainedModel, batch: Batch, outputs: ModelOutput) -> torch.Tensor:
        if self.plain:
            model_loss: torch.Tensor = outputs["loss"]
            return model_loss
        logits, labels = outputs["logits"].float(), batch["labels"]
        if _shifts(model):
            logits, labels = logits[..., :-1, :], labels[..., 1:]
        return cross_entropy(
            logits.reshape(-1, logits.shape[-1]),
            labels.reshape(-1),
            None if self.weights is None else torch.tensor(self.weights, device=logits.device),
            ignore_index=IGNORED,
            label_smoothing=self.smoothing,
        )

    def sizes(self, model: PreTrainedModel, batch: Batch) -> torch.Tensor:
        """Return what each of the `terms` of a batch was divided by, (terms,).

        Of the loss of targets it is their number, or their weight.
        """
        labels = batch.get("labels")
        if labels is None:
            return torch.tensor([float(len(next(iter(batch.values()))))])
        if labels.is_floating_point():
            number = weight = torch.tensor(float(labels.numel()), device=labels.device)
        else:
            shifted = labels[..., 1:] if labels.dim() > 1 and _shifts(model) else labels
            is_target = shifted != IGNORED
            number = weight = is_target.sum().float()
            if self.weights is not None:
                weight = torch.tensor(self.weights, device=labels.device)[shifted[is_target]].sum()
        if self.distillation_loss is None:
            return weight[None]
        return torch.stack([weight, *self.distillation_loss.sizes(number, batch)])


def _shifts(model: PreTrainedModel) -> bool:
    """Tell whether the logits at a token are of the next one."""
    network = extract_model_from_parallel(model)
    base = network.get_base_model() if has_adapter(network) else network
    return type(base).__name__ in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()
