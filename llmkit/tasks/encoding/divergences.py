"""How far a student's answers are from its teacher's, item by item.

Source: Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015: the gradients of softened targets
shrink with the square of the temperature, so that the divergence is multiplied by it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def of_classes(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return T^2 KL(teacher || student) in nats, (items,), of logits (items, classes) softened by the temperature T."""
    from torch.nn import functional

    log_probs, targets = (functional.log_softmax(logits.float() / temperature, -1) for logits in (student, teacher))
    return functional.kl_div(log_probs, targets, reduction="none", log_target=True).sum(-1) * temperature**2


def of_tokens(student: torch.Tensor, teacher: torch.Tensor, scored: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return `of_classes` of the places (rows, tokens) that are `scored`, for logits (rows, tokens, vocabulary).

    Models of one tokenizer can differ in how many unused tokens fill up their vocabularies: those are left out.
    """
    vocabulary = min(student.shape[-1], teacher.shape[-1])
    return of_classes(student[scored][:, :vocabulary], teacher[scored][:, :vocabulary], temperature)


def of_labels(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return T^2 KL(teacher || student), (rows * labels,), of logits (rows, labels) of labels that hold or do not."""
    import torch

    both = (torch.stack([logits, torch.zeros_like(logits)], -1).flatten(0, 1) for logits in (student, teacher))
    student, teacher = both
    return of_classes(student, teacher, temperature)


def of_numbers(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Return the squared differences, (rows,), of numbers (rows, 1): they have no temperature."""
    return (student.float() - teacher.float()).square().squeeze(-1)
