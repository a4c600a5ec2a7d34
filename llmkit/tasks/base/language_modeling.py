"""What the language-model tasks share: the text column, blocks of tokens, likelihoods of rows or windows."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from datasets import Dataset
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from llmkit.data.columns import longest_text, string_columns
from llmkit.data.labels import Labels
from llmkit.metrics.observations import Likelihoods, Observations
from llmkit.options import TaskFlags
from llmkit.options.search_space import Distribution, Range
from llmkit.tasks.base.settings import TaskSettings
from llmkit.tasks.base.task import WholeTask
from llmkit.tasks.encoding.collation import IGNORED, token_losses


class TextTask(WholeTask):
    """A language model on raw text: measured by likelihoods, of each row alone or of windows over the joined rows."""

    roles = ("text",)
    overlong_rows = "cut into blocks"
    eval_batch_size = 8
    invariance_rows = 2
    metrics: ClassVar[tuple[str, ...]]  # all that there are, and all that are shown

    def match(self, dataset: Dataset, given: dict[str, str]) -> dict[str, str] | None:
        return text_column(dataset, given)

    def supports_label_smoothing(self, settings: TaskSettings) -> bool:
        return True

    def search_space(self, settings: TaskSettings) -> dict[str, Distribution]:
        """Return the usual space without label smoothing, by which perplexity loses; texts bear fewer passes."""
        usual = {name: values for name, values in super().search_space(settings).items() if name != "label_smoothing"}
        return {**usual, "epochs": Range(1, 4, integer=True)}

    def usable_rows(self, dataset: Dataset, columns: dict[str, str]) -> list[int]:
        return usable_texts(dataset, columns)

    def class_name(self, choice: int, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> str:
        return str(tokenizer.decode([choice]))

    @abstractmethod
    def window_contents(self, prepared: Dataset, settings: TaskSettings) -> list[list[Any]]:
        """Return what tells each window from others, where units are windows."""

    def one_row_per_unit(self, settings: TaskSettings) -> bool:
        return settings.per_row

    def unit_rows(self, prepared: Dataset, settings: TaskSettings) -> list[int] | None:
        return super().unit_rows(prepared, settings) if settings.per_row else None

    def unit_contents(self, rows: Dataset, prepared: Dataset, settings: TaskSettings) -> list[list[Any]]:
        if settings.per_row:
            return super().unit_contents(rows, prepared, settings)
        return self.window_contents(prepared, settings)

    def counts(self, observations: Observations) -> dict[str, int]:
        if not isinstance(observations, Likelihoods):
            raise TypeError(f"language models are measured by likelihoods, not {type(observations).__name__}")
        counts = {"tokens": int(observations.tokens.sum()), "bytes": int(observations.bytes.sum())}
        return {name: count for name, count in counts.items() if count or name == "tokens"}

    def metric_names(self, labels: Labels | None) -> tuple[str, ...]:
        return self.metrics

    def default_metrics(self, labels: Labels | None) -> tuple[str, ...]:
        return self.metrics

    def headline_metric(self, settings: TaskSettings) -> str:
        return "perplexity"


class DenoisingTask(TextTask):
    """A model that restores what a collator takes out of a text: a prepared row has `input_ids`, `row` and `index`."""

    metrics = ("perplexity", "loss", "accuracy")

    def check_settings(self, settings: TaskSettings) -> None:
        super().check_settings(replace(settings, per_row=False))

    def resolve_settings(
        self, settings: TaskSettings, flags: TaskFlags, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase
    ) -> TaskSettings:
        self.collator(tokenizer, settings)  # refuses a tokenizer that the task cannot use
        return super().resolve_settings(settings, flags, config, tokenizer)

    def records(self, outputs: Any, batch: dict[str, Any]) -> list[Any]:
        return [tally(*row) for row in zip(outputs.logits, batch["labels"], strict=True)]

    def evaluation_arrays(
        self, records: Sequence[Any], prepared: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings
    ) -> Observations:
        nll, tokens, hits = zip(*records, strict=True)
        return likelihoods(nll, tokens, [0] * len(tokens), hits, prepared["row"] if settings.per_row else None)

    def window_contents(self, prepared: Dataset, settings: TaskSettings) -> list[list[Any]]:
        return [[ids, settings.seed, settings.mask_share] for ids in prepared["input_ids"]]


def text_column(dataset: Dataset, given: dict[str, str]) -> dict[str, str] | None:
    """Return the text column: the one given, else `text`, else the string column with the most characters."""
    if "text" in given:
        return {"text": given["text"]}
    names = string_columns(dataset)
    if not names:
        return None
    return {"text": "text" if "text" in names else longest_text(dataset, names)}


def usable_texts(dataset: Dataset, columns: dict[str, str]) -> list[int]:
    """Return the indices of the rows whose text is not blank."""
    return [row for row, text in enumerate(dataset[columns["text"]][:]) if str(text or "").strip()]


def in_blocks(stream: list[int], size: int) -> list[list[int]]:
    """Cut a stream into blocks of `size`; the rest is dropped, unless it is all there is."""
    if len(stream) < size:
        return [stream] if len(stream) > 1 else []
    return [stream[start : start + size] for start in range(0, len(stream) - size + 1, size)]


def tally(logits: torch.Tensor, labels: torch.Tensor) -> tuple[float, int, int]:
    """Return the summed negative log-likelihood of the labels of a row, how many there are, and how many are guessed.

    The logits (tokens, vocabulary) are each of what `labels` (tokens,) has in its place, where -100 is none.
    """
    scored = labels != IGNORED
    losses = token_losses(logits[scored], labels[scored])
    hits = int((logits[scored].argmax(-1) == labels[scored]).sum())
    return losses.double().sum().item(), int(scored.sum()), hits


def likelihoods(
    nll: Sequence[float],
    tokens: Sequence[int],
    covered: Sequence[int],
    hits: Sequence[int] | None = None,
    rows: Sequence[int] | None = None,
) -> Likelihoods:
    """Return the likelihoods of pieces of text (`covered` counts their bytes), or with `rows` of whole rows."""
    observations = Likelihoods(
        np.asarray(nll, dtype=np.float64),
        np.asarray(tokens, dtype=np.int64),
        np.asarray(covered, dtype=np.int64),
        None if hits is None else np.asarray(hits, dtype=np.int64),
    )
    if rows is None:
        return observations
    starts = np.flatnonzero(np.diff(np.asarray(rows), prepend=-1))  # pieces of a row stand side by side
    return Likelihoods(
        np.add.reduceat(observations.nll, starts),
        np.add.reduceat(observations.tokens, starts),
        np.add.reduceat(observations.bytes, starts),
        None if observations.hits is None else np.add.reduceat(observations.hits, starts),
    )
