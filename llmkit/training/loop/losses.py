"""The loss of a training batch: the model's or the task's own, or a cross-entropy that is smoothed or weighted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from llmkit.models.adapters import has_adapter
from llmkit.tasks import Task
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

    def of(self, task: Task, model: PreTrainedModel, batch: dict[str, Any]) -> torch.Tensor:
        """Return the mean loss of the targets of a batch, as PyTorch's CrossEntropyLoss(weight=, label_smoothing=)."""
        own = task.loss(model, batch)
        if own is not None:
            return own
        if self.distillation_loss is None:
            return self._of_labels(model, batch, model(**batch))
        outputs = model(**self.distillation_loss.read_by_student(batch))
        return self.distillation_loss.loss(self._of_labels(model, batch, outputs), outputs, batch)

    def _of_labels(self, model: PreTrainedModel, batch: dict[str, Any], outputs: Any) -> torch.Tensor:
        if self.plain:
            loss: torch.Tensor = outputs["loss"]
            return loss
        logits, labels = outputs["logits"].float(), batch["labels"]
        if _shifts(model):
            logits, labels = logits[..., :-1, :], labels[..., 1:]
        weights = None if self.weights is None else torch.tensor(self.weights, device=logits.device)
        found: torch.Tensor = cross_entropy(
            logits.reshape(-1, logits.shape[-1]),
            labels.reshape(-1),
            weights,
            ignore_index=IGNORED,
            label_smoothing=self.smoothing,
        )
        return found

    def size(self, model: PreTrainedModel, batch: dict[str, Any]) -> torch.Tensor:
        """Return what the mean loss of a batch was divided by: the number, or the weight, of its targets."""
        labels = batch.get("labels")
        if labels is None:
            return torch.tensor(float(len(next(iter(batch.values())))))
        if labels.is_floating_point():
            return torch.tensor(float(labels.numel()), device=labels.device)
        counted = labels[..., 1:] if labels.dim() > 1 and _shifts(model) else labels
        real = counted != IGNORED
        if self.weights is None:
            total: torch.Tensor = real.sum().float()
        else:
            total = torch.tensor(self.weights, device=labels.device)[counted[real]].sum()
        return total


def _shifts(model: Any) -> bool:
    """Tell whether the logits at a token are of the next one."""
    base = model.get_base_model() if has_adapter(model) else model
    return type(base).__name__ in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()
