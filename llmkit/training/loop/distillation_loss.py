"""What a student learns from its teacher at each step: its answers, and where it is cut from it its hidden states.

Sources: Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015; Sanh et al., DistilBERT, 2019:
the directions of hidden states are learned too; Jiao et al., TinyBERT, 2020: those of all layers, the student's spread
over the teacher's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import EllipsisType

import torch
from torch.nn import functional
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import ModelOutput

from llmkit.errors import ModelError
from llmkit.models import load_tokenizer
from llmkit.tasks import Task
from llmkit.tasks.base.encoding import Batch
from llmkit.training.distillation import Teacher, layers_of


@dataclass(frozen=True)
class DistillationLoss:
    """What a student learns at each step: the loss of its own labels, and its distance from its teacher."""

    task: Task
    teacher: PreTrainedModel
    alpha: float  # the share of the loss that is the distance
    temperature: float
    unread_by_teacher: frozenset[str] = frozenset()  # what the student reads of a batch and the teacher does not
    unread_by_student: frozenset[str] = frozenset()  # the other way round
    hidden_state_weight: float = 0.0

    def terms(self, label_loss: torch.Tensor, outputs: ModelOutput, batch: Batch) -> torch.Tensor:
        """Return (1 - alpha) * label loss, alpha * divergence and, if any, alpha * weight * state distance, (terms,).

        The loss is their sum; each is a mean over the batch.
        """
        inputs = self.task.encoding.model_inputs(batch)
        with torch.no_grad():
            answer = self.teacher(**_without(inputs, self.unread_by_teacher), **self._asked_for)
        divergence = self.task.divergence(outputs["logits"], answer["logits"], batch, self.temperature).mean()
        terms = [(1 - self.alpha) * label_loss, self.alpha * divergence]
        if self.hidden_state_weight:
            state_distance = _state_distance(outputs["hidden_states"], answer["hidden_states"], batch)
            terms.append(self.alpha * self.hidden_state_weight * state_distance)
        return torch.stack(terms)

    def sizes(self, targets: torch.Tensor, batch: Batch) -> list[torch.Tensor]:
        """Return over how much each distance of a batch is a mean: over its targets, and over its tokens."""
        if not self.hidden_state_weight:
            return [targets]
        tokens = (
            batch["attention_mask"].sum() if "attention_mask" in batch else torch.tensor(batch["input_ids"].numel())
        )
        return [targets, tokens.to(targets)]

    def student_inputs(self, batch: Batch) -> dict[str, torch.Tensor | bool]:
        """Return what the student reads of a batch, and what it is to return."""
        return {**_without(batch, self.unread_by_student), **self._asked_for}

    @property
    def _asked_for(self) -> dict[str, bool]:
        return {"output_hidden_states": True} if self.hidden_state_weight else {}


def _without(batch: Batch, names: frozenset[str]) -> Batch:
    return {name: value for name, value in batch.items() if name not in names}


def _state_distance(
    student: Sequence[torch.Tensor], teacher: Sequence[torch.Tensor], batch: Mapping[str, torch.Tensor]
) -> torch.Tensor:
    """Return 1 - the cosine of two states (rows, tokens, width) of a token, averaged over tokens and student layers.

    Both begin with the embeddings. Layer i of n is compared with layer i * m / n of the teacher's m: the last with the
    last. Padding does not count. The result is a scalar.
    """
    count, layers = len(student) - 1, len(teacher) - 1
    tokens: torch.Tensor | EllipsisType = batch["attention_mask"].bool() if "attention_mask" in batch else ...
    distances = []
    for layer in range(1, count + 1):
        ours, theirs = student[layer][tokens].float(), teacher[round(layer * layers / count)][tokens].float()
        distances.append((1 - functional.cosine_similarity(ours, theirs, dim=-1)).mean())
    return torch.stack(distances).mean()


def distillation_loss(
    teacher: Teacher, model: PreTrainedModel, task: Task, student: PreTrainedTokenizerBase
) -> DistillationLoss | None:
    """Return what the student learns from an open teacher, or None where the loss is of the labels alone.

    Raises:
        ModelError: hidden states are to be learned, and the teacher has none to show.
    """
    options = teacher.options
    if not options.alpha:
        return None
    theirs = set(load_tokenizer(teacher.resolved, teacher.opening).model_input_names)
    ours = set(student.model_input_names)
    if options.hidden_state_weight:
        _require_states(model)
    return DistillationLoss(
        task,
        model,
        options.alpha,
        options.temperature,
        unread_by_teacher=frozenset(ours - theirs),
        unread_by_student=frozenset(theirs - ours),
        hidden_state_weight=options.hidden_state_weight,
    )


def _require_states(model: PreTrainedModel) -> None:
    """Refuse to learn the hidden states of a teacher that does not return those of each layer.

    Raises:
        ModelError: naming the flag that leaves them out.
    """
    with torch.no_grad():
        answer = model(input_ids=torch.ones(1, 2, dtype=torch.long, device=model.device), output_hidden_states=True)
    if len(answer.get("hidden_states") or ()) != layers_of(model.config) + 1:
        kind = type(model).__name__
        raise ModelError(
            f"--student-layers: a {kind} does not tell the hidden states of its layers to learn: --distill-states 0"
        )
