"""What one training is, as plain data, and what it runs with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback

from llmkit.data import Source
from llmkit.data.splits import TrainAndValidation
from llmkit.models import ResolvedModel
from llmkit.options import ModelOptions, RunOptions
from llmkit.output.report import Report
from llmkit.runs import RunFolder
from llmkit.tasks import Task, TaskSettings
from llmkit.training.distillation import Teacher
from llmkit.training.loop.distillation_loss import DistillationLoss
from llmkit.training.rows.streaming import Stream


@dataclass(frozen=True, kw_only=True)
class Job:
    """A training that was checked up to its first costly step."""

    command: str
    identity: Mapping[str, object]  # the options that make two trainings the same one
    task: Task
    settings: TaskSettings
    train_settings: TaskSettings | None = None  # where the training rows are prepared otherwise than the measured ones
    resolved: ResolvedModel  # what it starts from
    lr_multiplier: float = 1.0  # times the usual learning rate for the size of that
    teacher: Teacher | None = None
    tokenizer: PreTrainedTokenizerBase
    source: Source
    reference: str  # the data as the user named it
    rows: TrainAndValidation
    encoded_train: Dataset
    encoded_validation: Dataset
    stream: Stream | None = None  # where training rows are read as they are needed: `encoded_train` are the first
    best_metric: str  # the one that keeps the best checkpoint
    folder: RunFolder
    run: RunOptions

    @property
    def default_batch_size(self) -> int:
        """How many rows make a step: where several are packed into one, so few that a step is of as many as ever."""
        encoded = self.encoded_train
        packed = sum(encoded["rows"]) if "rows" in encoded.column_names else len(encoded)
        return max(1, round(self.task.default_batch_size * len(encoded) / packed))

    @property
    def loop_settings(self) -> tuple[TaskSettings, TaskSettings]:
        """How training rows are batched, and how rows are measured between steps."""
        return self.train_settings or self.settings, between_steps(self.settings)


@dataclass(frozen=True)
class OpenModel:
    """A model in memory that is to be trained, and what an open teacher adds to its loss."""

    network: PreTrainedModel
    distillation_loss: DistillationLoss | None = None


@dataclass(frozen=True)
class Session:
    """What trainings run with: whom they tell, how models are opened, what watches the loop."""

    report: Report
    options: ModelOptions
    callbacks: tuple[TrainerCallback, ...] = ()


def between_steps(settings: TaskSettings) -> TaskSettings:
    """Return the settings of measurements between steps: windows barely overlap; the last figure has the usual ones."""
    return replace(settings, stride=settings.max_length)
