"""The side of a task that training sees: its loss, its usual recipe, and what becomes of prepared rows on the way."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from llmkit.options.search_space import Choice, Range
from llmkit.tasks.base.setup import Setup


class Taught:
    """How a task is learned."""

    name: ClassVar[str]
    distils: ClassVar[bool] = False  # whether a student can learn it from a teacher: `divergence`
    usual_epochs: ClassVar[float] = 3.0  # of finetune
    usual_batch: ClassVar[int] = 16  # rows of a training step
    pace: ClassVar[float] = 1.0  # times the usual learning rate of finetuning
    remembers: ClassVar[bool] = False  # rows are trained on with what the untrained model says of them: `before`
    told: ClassVar[tuple[str, ...]] = ()  # metrics that are told during training, beside the one that keeps the best

    def new_tokenizer(self, texts: Iterable[str], vocabulary: int, context: int) -> PreTrainedTokenizerBase:
        """Train a tokenizer on texts, for a model that is pretrained from scratch."""
        raise NotImplementedError(f"{self.name} is not pretrained")

    def targets(self, prepared: Dataset, tokenizer: PreTrainedTokenizerBase, setup: Setup) -> Iterable[list[int]]:
        """Return the tokens that pretraining on prepared rows learns to tell: what a unigram model counts."""
        tokens: Iterable[list[int]] = prepared["input_ids"]
        return tokens

    def silent(self, prepared: Dataset) -> list[int]:
        """Return the places of rows that were prepared of which nothing is learned or scored: it was cut off."""
        return []

    def packed(self, prepared: Dataset, setup: Setup) -> Dataset:
        """Return rows that were prepared to train on, several in one where the setup asks for it."""
        return prepared

    def examine(self, model: PreTrainedModel, setup: Setup) -> None:
        """Refuse a model that learns something else than the setup says.

        Raises:
            ModelError: naming the flag.
        """

    def loss(self, model: PreTrainedModel, batch: dict[str, Any]) -> torch.Tensor | None:
        """Return the loss of a training batch, or None where the model itself computes it from `labels`."""
        return None

    def divergence(
        self, student: torch.Tensor, teacher: torch.Tensor, batch: dict[str, Any], temperature: float
    ) -> torch.Tensor:
        """Return how far a student's logits of a batch are from its teacher's, (items,): one for each of its labels."""
        raise NotImplementedError(f"{self.name} is not learned from a teacher")

    def smooths(self, setup: Setup) -> bool:
        """Tell whether the loss is a cross-entropy of `labels`, one class for each, that can be smoothed."""
        return False

    def space(self, setup: Setup) -> dict[str, Range | Choice]:
        """Return what a search for a better recipe varies beside the learning rate and the batch size."""
        smoothing = {"label_smoothing": Range(0.0, 0.2)} if self.smooths(setup) else {}
        return {
            "epochs": Range(2, 5, whole=True),
            "weight_decay": Range(1e-3, 0.3, log=True),
            "warmup": Range(0.0, 0.2),
            **smoothing,
        }

    def class_counts(self, prepared: Dataset, setup: Setup) -> list[int] | None:
        """Return how many targets each label has in prepared rows, or None where none can be weighed by its class."""
        return None
