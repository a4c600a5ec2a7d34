"""What a task is: everything that depends on the kind of problem, in three members and what a training asks of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from llmkit.data.labels import Labels
from llmkit.errors import OptionError
from llmkit.metrics.observations import Observations
from llmkit.models.config import context_length
from llmkit.models.lookup import ResolvedModel
from llmkit.models.text.ends import own_stop_strings
from llmkit.options import DataOptions, TaskFlags
from llmkit.options.training.search_space import Distribution, Range
from llmkit.tasks.base.answers import Answers
from llmkit.tasks.base.columns import Columns
from llmkit.tasks.base.encoding import Encoding
from llmkit.tasks.base.settings import TaskSettings

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


class Task(ABC):
    """One kind of problem. Stateless: what a run settled comes in as `TaskSettings`."""

    name: ClassVar[str]  # as on the Hub
    pipeline_tag: ClassVar[str | None] = None  # what the Hub calls it, where that is another name
    auto_class: ClassVar[str]  # the transformers Auto class that opens its models: see `auto_class_for`
    heads: ClassVar[tuple[str, ...]]  # how the names of its models' architectures end
    base_model: ClassVar[str]  # what finetune starts from without -m
    commands: ClassVar[frozenset[str]]  # those that it works in
    flags: ClassVar[frozenset[str]] = frozenset()  # the fields of `TaskFlags` that it reads

    columns: ClassVar[Columns]
    encoding: ClassVar[Encoding]
    answers: ClassVar[Answers]

    eval_batch_size: ClassVar[int] = 32  # rows per forward pass when measuring; recorded beside the figures
    invariance_rows: ClassVar[int] = 8  # run once more alone and in other company when measuring
    architectures: ClassVar[tuple[str, ...]] = ()  # what pretrain can build for it, the usual one first
    default_epochs: ClassVar[float] = 3.0  # of finetune
    default_batch_size: ClassVar[int] = 16  # rows of a training step
    lr_multiplier: ClassVar[float] = 1.0  # times the usual learning rate of finetuning
    supports_distillation: ClassVar[bool] = False  # whether a student can learn it from a teacher: `divergence`
    needs_reference_outputs: ClassVar[bool] = False  # trained with what the untrained model says of a row: `before`
    logged_metrics: ClassVar[tuple[str, ...]] = ()  # shown during training, beside the one that keeps the best

    def auto_class_for(self, config: PretrainedConfig) -> str:
        """Return the name of the transformers Auto class that opens a model with this config for the task."""
        return self.auto_class

    def supports(self, config: PretrainedConfig) -> bool:
        """Tell whether a model with this config is one of the task's, head included."""
        return any(name.endswith(self.heads) for name in config.architectures or ())

    def is_default_for(self, config: PretrainedConfig, command: str) -> bool:
        """Tell whether a command takes such a model for the task's without --task or a flag."""
        return self.supports(config)

    def can_finetune(self, config: PretrainedConfig) -> bool:
        """Tell whether a model with this config can be trained for the task, with a new head if it needs one."""
        return self.supports(config)

    def can_pretrain(self, config: PretrainedConfig) -> bool:
        """Tell whether a model that is built from this config can be pretrained for the task."""
        return True

    def check_settings(self, settings: TaskSettings) -> None:
        """Refuse what was asked for and the task does not have.

        Raises:
            OptionError: naming the flag.
        """
        if settings.positive is not None:
            raise OptionError(f"--positive names a class, and {self.name} has none")
        if settings.stride is not None or settings.per_row:
            raise OptionError(f"--stride and --per-row are for perplexity, which {self.name} has not")

    def with_training_statistics(self, settings: TaskSettings, train: Dataset) -> TaskSettings:
        """Return the settings with what the training rows tell of the task; `resolve_settings` comes after it."""
        return settings

    def resolve_settings(
        self, settings: TaskSettings, flags: TaskFlags, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase
    ) -> TaskSettings:
        """Return the settings with what the task's own flags ask for, or else what the model's config holds.

        Raises:
            OptionError, ModelError: the model cannot do what a flag asks for.
        """
        return settings

    def pretraining_settings(self, settings: TaskSettings, mask_share: float | None, whole_words: bool) -> TaskSettings:
        """Return the settings of pretraining, with what it takes out of a text where the task learns to restore it.

        `mask_share` of the tokens, None for the usual share; with `whole_words`, all tokens of a word or none.
        """
        return settings

    def head_config(self, settings: TaskSettings) -> dict[str, Any]:
        """Return what the model's config must hold for the task: `resolve_settings` of a later command reads it."""
        return {}

    def calibrated(self, settings: TaskSettings, observations: Observations) -> tuple[TaskSettings, str]:
        """Return settings with what the answers to the validation rows settle, where that is wanted, and a sentence."""
        raise NotImplementedError(f"{self.name} calibrates nothing")

    def remark(self, rows: Dataset, settings: TaskSettings) -> str | None:
        """Return a sentence on what rows that are trained or measured on mean with these settings, or None."""
        return None

    @abstractmethod
    def metric_names(self, labels: Labels | None) -> tuple[str, ...]:
        """Return the names of all metrics that can be had."""

    @abstractmethod
    def default_metrics(self, labels: Labels | None) -> tuple[str, ...]:
        """Return the names of the metrics that are shown when none is named."""

    def metrics_for(self, settings: TaskSettings) -> tuple[str, ...]:
        """Return the default metrics, where they depend on more than the labels."""
        return self.default_metrics(settings.labels)

    @abstractmethod
    def headline_metric(self, settings: TaskSettings) -> str:
        """Return the name of the metric that tells better from worse."""

    def check_model(self, model: PreTrainedModel, settings: TaskSettings) -> None:
        """Refuse a model that would learn something else than the settings say.

        Raises:
            ModelError: naming the flag.
        """
        return

    def loss(self, model: PreTrainedModel, batch: dict[str, Any]) -> torch.Tensor | None:
        """Return the loss of a training batch, or None where the model itself computes it from `labels`."""
        return None

    def divergence(
        self, student: torch.Tensor, teacher: torch.Tensor, batch: dict[str, Any], temperature: float
    ) -> torch.Tensor:
        """Return how far a student's logits of a batch are from its teacher's, (items,): one for each of its labels."""
        raise NotImplementedError(f"{self.name} is not learned from a teacher")

    def supports_label_smoothing(self, settings: TaskSettings) -> bool:
        """Tell whether the loss is a cross-entropy of `labels`, one class for each, that can be smoothed."""
        return False

    def search_space(self, settings: TaskSettings) -> dict[str, Distribution]:
        """Return what a search for a better recipe varies beside the learning rate and the batch size."""
        smoothing = {"label_smoothing": Range(0.0, 0.2)} if self.supports_label_smoothing(settings) else {}
        return {
            "epochs": Range(2, 5, integer=True),
            "weight_decay": Range(1e-3, 0.3, log=True),
            "warmup": Range(0.0, 0.2),
            **smoothing,
        }

    def class_counts(self, encoded: Dataset, settings: TaskSettings) -> list[int] | None:
        """Return how many targets each label has in encoded rows, or None where none can be weighed by its class."""
        return None


def settings_for(
    task: Task,
    resolved: ResolvedModel,
    tokenizer: PreTrainedTokenizerBase,
    flags: TaskFlags,
    draft: TaskSettings,
    train: Dataset | None = None,
) -> TaskSettings:
    """Return the settings of a task with a model: lengths, and what flags, training rows or the model's config hold.

    A row has at most as many tokens as --max-length says; else `draft.max_length`, where it is not 0 (that of the
    model's own run), or the task's default, as far as the model takes them.

    Raises:
        OptionError, ModelError: the model takes fewer tokens than are asked for, or cannot do what a flag asks for.
    """
    default = draft.max_length or task.encoding.default_max_length
    asked = flags.max_length if isinstance(flags, DataOptions) else None
    split = draft.split_special_tokens if flags.split_special_tokens is None else flags.split_special_tokens
    length = max_length_for(resolved, tokenizer, asked, default)
    stops = own_stop_strings((resolved.base or resolved).path) if task.answers.continues_prompt else ()
    settings = replace(draft, max_length=length, split_special_tokens=split, stop_strings=stops)
    if train is not None:
        settings = task.with_training_statistics(settings, train)
    return task.resolve_settings(settings, flags, resolved.config, tokenizer)


def max_length_for(resolved: ResolvedModel, tokenizer: PreTrainedTokenizerBase, asked: int | None, default: int) -> int:
    """Return how many tokens a row has at most: those asked for, else the default as far as the model takes it.

    Raises:
        OptionError: the model takes fewer tokens than are asked for.
    """
    limit = context_length(resolved.config, tokenizer)
    if asked and asked > limit:
        raise OptionError(f"--max-length {asked}: {resolved.name!r} takes at most {limit} tokens")
    return asked or min(limit, default)
