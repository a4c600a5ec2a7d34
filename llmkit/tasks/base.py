"""What a task is: everything that depends on the kind of problem, behind one small interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from datasets import ClassLabel, Dataset, Value
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from llmkit.errors import OptionError
from llmkit.labels import Labels, Matching
from llmkit.observations import Observations

Collator = Callable[[list[dict[str, Any]]], dict[str, Any]]


@dataclass(frozen=True)
class Setup:
    """What one run settled about its task: columns by role, labels, lengths, seeds."""

    columns: dict[str, str]
    max_length: int
    labels: Labels | None = None
    merge: tuple[int, ...] | None = None  # the label that each output of the model counts towards; None: its own
    benchmark: str | None = None
    positive: str | None = None
    stride: int | None = None
    per_row: bool = False
    seed: int = 42
    mask_share: float = 0.15
    whole_words: bool = False

    @property
    def inputs(self) -> dict[str, str]:
        """The columns that the model reads, by role."""
        return {role: self.columns[role] for role in ("text", "pair") if role in self.columns}


class Task(ABC):
    """One kind of problem. Stateless: what a run settled comes in as a `Setup`."""

    name: ClassVar[str]
    auto_class: ClassVar[str]  # the transformers Auto class that opens its models
    heads: ClassVar[tuple[str, ...]]  # how the names of its models' architectures end
    roles: ClassVar[tuple[str, ...]]  # what its columns can be: the words of --column ROLE=NAME
    verbs: ClassVar[frozenset[str]]  # the commands that it works in
    families: ClassVar[tuple[str, ...]] = ()  # what pretrain can build for it, the usual one first
    base_model: ClassVar[str]  # what finetune starts from without -m
    eval_batch: ClassVar[int] = 32  # rows per forward pass when measuring; recorded beside the figures
    scores_files: ClassVar[bool] = False  # whether a file of predictions can be scored: `observe_file`
    invariance_rows: ClassVar[int] = 8  # run once more alone and in other company when measuring
    usual_length: ClassVar[int] = 512  # tokens per row where the model could take more: attention costs the square

    def opens(self, config: PretrainedConfig) -> bool:
        """Tell whether a model with this config is one of the task's, head included."""
        return any(name.endswith(self.heads) for name in config.architectures or ())

    def trains_on(self, config: PretrainedConfig) -> bool:
        """Tell whether a model with this config can be trained for the task, with a new head if it needs one."""
        return self.opens(config)

    def learns(self, config: PretrainedConfig) -> bool:
        """Tell whether a model that is built from this config can be pretrained for the task."""
        return True

    @abstractmethod
    def fits(self, dataset: Dataset, given: dict[str, str]) -> dict[str, str] | None:
        """Return the columns by role when the dataset can be this task, else None."""

    @abstractmethod
    def wants(self) -> str:
        """Return a phrase: what columns the task needs."""

    def labels(self, train: Dataset, validation: Dataset | None, columns: dict[str, str]) -> Labels | None:
        """Return the labels that training rows define, or None for a task without labels."""
        return None

    def class_column(self, dataset: Dataset, columns: dict[str, str]) -> str | None:
        """Return the column that holds classes, of which a cut must leave some to train on, or None."""
        return None

    def match_labels(
        self, dataset: Dataset, columns: dict[str, str], config: PretrainedConfig, mapping: dict[str, str]
    ) -> Matching | None:
        """Return the model's labels after checking that the dataset's are among them, by name or by `mapping`."""
        if mapping:
            raise OptionError(f"--label-map names classes, and {self.name} has none")
        return None

    def has_labels(self, dataset: Dataset, columns: dict[str, str]) -> bool:
        """Tell whether rows of the dataset can be scored."""
        return True

    def check(self, setup: Setup) -> None:
        """Refuse what was asked for and the task does not have.

        Raises:
            OptionError: naming the flag.
        """
        if setup.positive is not None:
            raise OptionError(f"--positive names a class, and {self.name} has none")
        if setup.stride is not None or setup.per_row:
            raise OptionError(f"--stride and --per-row are for perplexity, which {self.name} has not")

    def head_config(self, labels: Labels | None) -> dict[str, Any]:
        """Return what the model's config must hold for the task."""
        return {}

    def new_tokenizer(self, texts: Iterable[str], vocabulary: int, context: int) -> PreTrainedTokenizerBase:
        """Train a tokenizer on texts, for a model that is pretrained from scratch."""
        raise NotImplementedError(f"{self.name} is not pretrained")

    @abstractmethod
    def usable(self, dataset: Dataset, columns: dict[str, str]) -> list[int]:
        """Return the indices of the rows that can be trained or measured on."""

    def measurable(self, dataset: Dataset, setup: Setup) -> list[int]:
        """Return the indices of the rows that an evaluation takes."""
        return self.usable(dataset, setup.columns)

    @abstractmethod
    def prepare(self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, setup: Setup, training: bool) -> Dataset:
        """Turn rows into model inputs; a column `length` holds their lengths in tokens."""

    @abstractmethod
    def collator(self, tokenizer: PreTrainedTokenizerBase, setup: Setup) -> Collator:
        """Return the function from prepared rows to a batch of tensors, shape (rows, tokens)."""

    @abstractmethod
    def read(self, outputs: Any, batch: dict[str, Any]) -> list[Any]:
        """Return one record for each row of the batch from the model's outputs: numbers, which can be stored."""

    @abstractmethod
    def observe(self, records: Sequence[Any], prepared: Dataset, setup: Setup) -> Observations:
        """Return what metrics are a function of, from records in the order of the prepared rows."""

    def observe_file(self, rows: Dataset, predictions: Sequence[dict[str, Any]], setup: Setup) -> Observations:
        """Return what `observe` does, of any system's predictions in the order of the rows: see `predictions`."""
        raise NotImplementedError(f"{self.name} is not scored from a file")

    def unit_rows(self, prepared: Dataset, setup: Setup) -> list[int] | None:
        """Return the row that each unit of `observe` is of, or None where units are windows over joined rows."""
        return list(range(len(prepared)))

    def by_row(self, setup: Setup) -> bool:
        """Tell whether each unit of `observe` is of one row."""
        return True

    def unit_contents(self, rows: Dataset, prepared: Dataset, setup: Setup) -> list[list[Any]]:
        """Return the inputs of each unit that `observe` gives: what two evaluations are paired by."""
        contents = [list(texts) for texts in zip(*(rows[column] for column in setup.inputs.values()), strict=True)]
        return [contents[row] for row in self.unit_rows(prepared, setup) or ()]

    def counts(self, observations: Observations) -> dict[str, int]:
        """Return how much the figures rest on, the usual unit first."""
        return {"rows": len(observations)}

    @abstractmethod
    def metric_names(self, labels: Labels | None) -> tuple[str, ...]:
        """Return the names of all metrics that can be had."""

    @abstractmethod
    def usual_metrics(self, labels: Labels | None) -> tuple[str, ...]:
        """Return the names of the metrics that are shown when none is named."""

    @abstractmethod
    def headline(self, setup: Setup) -> str:
        """Return the name of the metric that tells better from worse."""


def string_columns(dataset: Dataset) -> list[str]:
    """Return the names of the columns that hold strings."""
    return [name for name, kind in dataset.features.items() if is_string(kind)]


def is_string(feature: Any) -> bool:
    """Tell whether a feature holds one string."""
    return isinstance(feature, Value) and feature.dtype in {"string", "large_string"}


def is_label(feature: Any) -> bool:
    """Tell whether a feature can hold a label: a class, a string, an integer, a boolean or a float."""
    if isinstance(feature, ClassLabel):
        return True
    return isinstance(feature, Value) and feature.dtype.startswith(
        ("string", "large_string", "int", "uint", "bool", "float", "null")
    )


def longest_text(dataset: Dataset, names: Sequence[str]) -> str:
    """Return the column with the most characters, judged on the first 1,000 rows."""
    head = dataset.select(range(min(1000, len(dataset))))
    return max(names, key=lambda name: sum(len(str(text or "")) for text in head[name]))
