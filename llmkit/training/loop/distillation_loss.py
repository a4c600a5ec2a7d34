"""What a student learns from its teacher at each step: its answers, and where it is cut from it its hidden states.

Sources: Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015; Sanh et al., DistilBERT, 2019:
the directions of hidden states are learned too; Jiao et al., TinyBERT, 2020: those of all layers, the student's spread
over the teacher's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from llmkit.errors import ModelError
from llmkit.models import load_tokenizer
from llmkit.tasks import Task
from llmkit.training.distillation import Teacher, layers_of


@dataclass(frozen=True)
class DistillationLoss:
    """What a student learns at each step: the loss of its own labels, and its distance from its teacher."""

    task: Task
    teacher: PreTrainedModel
    mix: float
    temperature: float
    inputs: tuple[
        frozenset[str], frozenset[str]
    ]  # what the teacher does not read of a batch, what the student does not
    states: float = 0.0  # the weight of the hidden states

    def loss(self, own: torch.Tensor, outputs: Any, batch: dict[str, Any]) -> torch.Tensor:
        """Return mix * (divergence + states * distance) + (1 - mix) * own, a scalar: each a mean over the batch."""
        shown = {
            name: value for name, value in self.task.encoding.model_inputs(batch).items() if name not in self.inputs[0]
        }
        with torch.no_grad():
            told = self.teacher(**shown, **self._deep)
        apart = self.task.divergence(outputs["logits"], told["logits"], batch, self.temperature).mean()
        if self.states:
            apart = apart + self.states * _states_apart(outputs["hidden_states"], told["hidden_states"], batch)
        return self.mix * apart + (1 - self.mix) * own

    def read_by_student(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return what the student takes of a batch, and what it is to tell."""
        return {**{name: value for name, value in batch.items() if name not in self.inputs[1]}, **self._deep}

    @property
    def _deep(self) -> dict[str, bool]:
        return {"output_hidden_states": True} if self.states else {}


def _states_apart(
    student: Sequence[torch.Tensor], teacher: Sequence[torch.Tensor], batch: dict[str, Any]
) -> torch.Tensor:
    """Return 1 - the cosine of two states (rows, tokens, width) of a token, averaged over tokens and student layers.

    Both begin with the embeddings. Layer i of n is compared with layer i * m / n of the teacher's m: the last with the
    last. Padding does not count.
    """
    count, layers = len(student) - 1, len(teacher) - 1
    real = batch["attention_mask"].bool() if "attention_mask" in batch else ...
    distances = []
    for layer in range(1, count + 1):
        ours, theirs = student[layer][real].float(), teacher[round(layer * layers / count)][real].float()
        distances.append((1 - functional.cosine_similarity(ours, theirs, dim=-1)).mean())
    return torch.stack(distances).mean()


def distillation_loss(
    teacher: Teacher, model: PreTrainedModel, task: Task, student: PreTrainedTokenizerBase
) -> DistillationLoss | None:
    """Return what the student learns from an open teacher, or None where the loss is of the labels alone."""
    if not teacher.wanted.mix:
        return None
    theirs = set(load_tokenizer(teacher.resolved, teacher.opening).model_input_names)
    ours = set(student.model_input_names)
    unread, wanted = (frozenset(ours - theirs), frozenset(theirs - ours)), teacher.wanted
    if wanted.states:
        _require_states(model)
    return DistillationLoss(task, model, wanted.mix, wanted.temperature, unread, wanted.states)


def _require_states(model: PreTrainedModel) -> None:
    """Refuse to learn the hidden states of a teacher that does not tell those of each layer.

    Raises:
        ModelError: naming the flag that leaves them out.
    """
    with torch.no_grad():
        told = model(input_ids=torch.ones(1, 2, dtype=torch.long, device=model.device), output_hidden_states=True)
    if len(told.get("hidden_states") or ()) != layers_of(model.config) + 1:
        kind = type(model).__name__
        raise ModelError(
            f"--student-layers: a {kind} does not tell the hidden states of its layers to learn: --distill-states 0"
        )
