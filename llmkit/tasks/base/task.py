"""What a task is: everything that depends on the kind of problem, behind one small interface."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from datasets import Dataset
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from llmkit.data.labels import Labels, Matching
from llmkit.errors import OptionError
from llmkit.metrics.observations import Observations
from llmkit.options import TaskFlags
from llmkit.tasks.base.answering import Asked
from llmkit.tasks.base.setup import TRUTHS, Setup
from llmkit.tasks.base.training import Taught

Collator = Callable[[list[dict[str, Any]]], dict[str, Any]]


class Task(Asked, Taught):
    """One kind of problem. Stateless: what a run settled comes in as a `Setup`."""

    pipeline_tag: ClassVar[str | None] = None  # what the Hub calls it, where that is another name
    auto_class: ClassVar[str]  # the transformers Auto class that opens its models, unless `network` knows better
    heads: ClassVar[tuple[str, ...]]  # how the names of its models' architectures end
    roles: ClassVar[tuple[str, ...]]  # what its columns can be: the words of --column ROLE=NAME
    optional: ClassVar[frozenset[str]] = frozenset()  # those of them whose cells can be blank
    flags: ClassVar[frozenset[str]] = frozenset()  # the fields of `TaskFlags` that it reads
    verbs: ClassVar[frozenset[str]]  # the commands that it works in
    families: ClassVar[tuple[str, ...]] = ()  # what pretrain can build for it, the usual one first
    mask_share: ClassVar[float] = 0.15  # of the tokens that pretraining takes out, unless --mask-share says
    base_model: ClassVar[str]  # what finetune starts from without -m
    eval_batch: ClassVar[int] = 32  # rows per forward pass when measuring; recorded beside the figures
    scores_files: ClassVar[bool] = False  # whether a file of predictions can be scored: `observe_file`
    invariance_rows: ClassVar[int] = 8  # run once more alone and in other company when measuring
    usual_length: ClassVar[int] = 512  # tokens per row where the model could take more: attention costs the square
    aside: ClassVar[frozenset[str]] = frozenset({"labels"})  # what a batch holds besides the model's inputs
    incomplete: ClassVar[str] = "no text or no label"  # what rows that are left out have
    alternatives: ClassVar[tuple[str, ...]] = ()  # what the texts of a row are called that are compared, in order
    pieces: ClassVar[str | None] = None  # what becomes of a row that is too long, where it does not lose its end

    def network(self, config: PretrainedConfig) -> str:
        """Return the name of the transformers Auto class that opens a model with this config for the task."""
        return self.auto_class

    def opens(self, config: PretrainedConfig) -> bool:
        """Tell whether a model with this config is one of the task's, head included."""
        return any(name.endswith(self.heads) for name in config.architectures or ())

    def claims(self, config: PretrainedConfig, verb: str) -> bool:
        """Tell whether a command takes such a model for the task's without being told so by --task or a flag."""
        return self.opens(config)

    def trains_on(self, config: PretrainedConfig) -> bool:
        """Tell whether a model with this config can be trained for the task, with a new head if it needs one."""
        return self.opens(config)

    def learns(self, config: PretrainedConfig) -> bool:
        """Tell whether a model that is built from this config can be pretrained for the task."""
        return True

    @abstractmethod
    def fits(self, dataset: Dataset, given: dict[str, str]) -> dict[str, str] | None:
        """Return the columns by role when the dataset can be this task, else None."""

    def meant(self, dataset: Dataset, given: dict[str, str]) -> dict[str, str] | None:
        """Return the columns by their names where nothing fits and no other task is in question: `flaw` tells why."""
        return None

    def placed(
        self,
        columns: dict[str, str],
        dataset: Dataset,
        given: Mapping[str, str],
        flags: TaskFlags,
        config: PretrainedConfig | None,
    ) -> dict[str, str]:
        """Return the columns that `fits` found in the roles that flags, or else the model's config, give them.

        Raises:
            DataError: there is no such column.
        """
        return columns

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

    def truths(self, rows: Dataset, columns: dict[str, str]) -> list[Any]:
        """Return what is right of each row, equal where rows agree; None where nothing is, or several things can be."""
        told = [rows[column][:] for role, column in columns.items() if role in TRUTHS]
        spelled = [tuple(map(repr, cells)) for cells in zip(*told, strict=True)] if told else [()] * len(rows)
        return [None if set(cells) <= {"None", "nan"} else cells for cells in spelled]

    def check(self, setup: Setup) -> None:
        """Refuse what was asked for and the task does not have.

        Raises:
            OptionError: naming the flag.
        """
        if setup.positive is not None:
            raise OptionError(f"--positive names a class, and {self.name} has none")
        if setup.stride is not None or setup.per_row:
            raise OptionError(f"--stride and --per-row are for perplexity, which {self.name} has not")

    def learned(self, setup: Setup, train: Dataset) -> Setup:
        """Return the setup with what the training rows tell of the task; `settle` comes after it."""
        return setup

    def settle(
        self, setup: Setup, flags: TaskFlags, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase
    ) -> Setup:
        """Return the setup with what the task's own flags ask for, or else what the model's config remembers.

        Raises:
            OptionError, ModelError: the model cannot do what a flag asks for.
        """
        return setup

    def flaw(self, rows: Dataset, columns: dict[str, str]) -> tuple[int, str] | None:
        """Return the index of the first row that contradicts itself and a phrase on what is wrong, or None."""
        return None

    def misfit(self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, setup: Setup) -> tuple[int, str] | None:
        """Return what `flaw` does, of rows to train or measure on: the first that this tokenizer cannot spell."""
        return None

    def obstacle(self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, setup: Setup) -> tuple[int, str] | None:
        """Return what `flaw` does, of rows that a model is asked about: the first that this model cannot answer."""
        return self.flaw(rows, setup.columns)

    def head_config(self, setup: Setup) -> dict[str, Any]:
        """Return what the model's config must hold for the task; a model that is asked later reads it in `settle`."""
        return {}

    def tuned(self, setup: Setup, seen: Observations) -> tuple[Setup, str]:
        """Return a setup with what the answers to the validation rows settle, where it is to `tune`, and a sentence."""
        raise NotImplementedError(f"{self.name} tunes nothing")

    def remark(self, rows: Dataset, setup: Setup) -> str | None:
        """Return a sentence on what rows that are trained or measured on mean to a task that is set up so, or None."""
        return None

    @abstractmethod
    def usable(self, dataset: Dataset, columns: dict[str, str]) -> list[int]:
        """Return the indices of the rows that can be trained or measured on."""

    def measurable(self, dataset: Dataset, setup: Setup) -> list[int]:
        """Return the indices of the rows that an evaluation takes."""
        return self.usable(dataset, setup.columns)

    @abstractmethod
    def prepare(self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, setup: Setup, training: bool) -> Dataset:
        """Turn rows into model inputs; a column `length` holds their lengths in tokens."""

    def unread(self, prepared: Dataset) -> str | None:
        """Return a sentence on what the model is not shown of rows that were prepared, or None."""
        return None

    @abstractmethod
    def collator(self, tokenizer: PreTrainedTokenizerBase, setup: Setup) -> Collator:
        """Return the function from prepared rows to a batch of tensors, shape (rows, tokens)."""

    def run(self, model: PreTrainedModel, batch: dict[str, Any], setup: Setup) -> list[Any]:
        """Ask the model about a batch: one record for each of its rows, a flat list of numbers, which can be stored."""
        return self.read(model(**self.shown(batch)), batch)

    def shown(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return what the model is shown of a batch: all but what is `aside`."""
        return {name: value for name, value in batch.items() if name not in self.aside}

    def read(self, outputs: Any, batch: dict[str, Any]) -> list[Any]:
        """Return the record of each row of the batch from the outputs of one forward pass."""
        raise NotImplementedError(f"{self.name} asks in `run`")

    def logits(self, model: PreTrainedModel, batch: dict[str, Any], place: int) -> torch.Tensor:
        """Return the logits of one row of a batch: (classes,), or (tokens, classes) without the padding."""
        logits: torch.Tensor = model(**self.shown(batch)).logits[place]
        return logits if logits.dim() == 1 else logits[: int(batch["attention_mask"][place].sum())]

    def spell(self, choice: int, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> str:
        """Return what a person calls the class with that number in `logits`."""
        return str(config.id2label.get(choice, choice))

    @abstractmethod
    def observe(
        self, records: Sequence[Any], prepared: Dataset, tokenizer: PreTrainedTokenizerBase, setup: Setup
    ) -> Observations:
        """Return what metrics are a function of, from records in the order of the prepared rows."""

    def first_tokens(self, tokenizer: PreTrainedTokenizerBase, setup: Setup) -> dict[str, int]:
        """Return what a generation config must hold of the tokens that come first; the tokenizer is told the same."""
        return {}

    def file_labels(self, parts: Sequence[Dataset], columns: dict[str, str]) -> Labels | None:
        """Return the labels that predictions of any system can be of: those of all parts of the dataset."""
        return None

    def observe_file(self, rows: Dataset, predictions: Sequence[dict[str, Any]], setup: Setup) -> Observations:
        """Return what `observe` does, of any system's predictions in the order of the rows: see `predictions`."""
        raise NotImplementedError(f"{self.name} is not scored from a file")

    def unit_rows(self, prepared: Dataset, setup: Setup) -> list[int] | None:
        """Return the row that each unit of `observe` is of, or None where units are windows over joined rows."""
        return list(dict.fromkeys(prepared["row"])) if "row" in prepared.column_names else list(range(len(prepared)))

    def by_row(self, setup: Setup) -> bool:
        """Tell whether each unit of `observe` is of one row."""
        return True

    def unit_contents(self, rows: Dataset, prepared: Dataset, setup: Setup) -> list[list[Any]]:
        """Return the inputs of each unit that `observe` gives: what two evaluations are paired by."""
        contents = [list(texts) for texts in zip(*(rows[column][:] for column in setup.inputs.values()), strict=True)]
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

    def own_metrics(self, setup: Setup) -> tuple[str, ...]:
        """Return the usual metrics, where they depend on more than the labels."""
        return self.usual_metrics(setup.labels)

    @abstractmethod
    def headline(self, setup: Setup) -> str:
        """Return the name of the metric that tells better from worse."""
