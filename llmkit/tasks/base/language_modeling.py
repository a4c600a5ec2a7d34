"""What the language-model tasks share: the text column, blocks of tokens, likelihoods of rows or windows."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from llmkit.data.columns import longest_text, string_columns, text_of
from llmkit.data.evidence import Evidence
from llmkit.data.labels import Labels
from llmkit.metrics.observations import Likelihoods, Observations
from llmkit.options import TaskFlags
from llmkit.options.training.search_space import Distribution, Range
from llmkit.tasks.base import names
from llmkit.tasks.base.answers import Answers, Prediction
from llmkit.tasks.base.candidates import Candidate, Confidence
from llmkit.tasks.base.columns import Columns
from llmkit.tasks.base.documents import informative_columns
from llmkit.tasks.base.encoding import Batch, Encoding
from llmkit.tasks.base.settings import TaskSettings
from llmkit.tasks.base.task import Task
from llmkit.tasks.encoding.collation import IGNORED, token_losses

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from transformers import PretrainedConfig, PreTrainedTokenizerBase
    from transformers.utils import ModelOutput


class TextColumns(Columns):
    """One column of raw text."""

    roles = ("text",)

    def candidates(self, evidence: Evidence, given: Mapping[str, str], flags: TaskFlags) -> list[Candidate]:
        columns = text_column(evidence.rows, dict(given))
        if columns is None:
            return []
        text = evidence.columns[columns["text"]]
        is_called = names.has_word(text.name, names.STRONG_LABEL_WORDS)
        is_label = (len(evidence.columns) > 1 or is_called) and text.can_be_class and not text.is_text
        if "text" in given or not (is_label or informative_columns(evidence, text.name)):
            alone = len(evidence.columns) == 1
            reason = "a text is all there is" if alone else f"the other columns do not say more than {text.name}"
            return [Candidate(columns, Confidence.CERTAIN, reason)]
        others = informative_columns(evidence, text.name)
        only_people = all(names.has_word(name, names.PERSON_WORDS) for name in others)
        confidence = Confidence.POSSIBLE if only_people and not is_label else Confidence.UNLIKELY
        return [Candidate(columns, confidence, "the text alone")]

    def requirement(self) -> str:
        return "a text"

    def usable_rows(self, dataset: Dataset, columns: dict[str, str]) -> list[int]:
        return usable_texts(dataset, columns)


class BlockEncoding(Encoding):
    """Rows joined into one stream of tokens, which is cut into blocks."""

    overlong_rows = "cut into blocks"


class LikelihoodAnswers(Answers):
    """Likelihoods of each row alone, or of windows over the joined rows."""

    @abstractmethod
    def window_contents(self, encoded: Dataset, settings: TaskSettings) -> list[list[object]]:
        """Return what tells each window from others, where units are windows."""

    def class_name(self, number: int, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> str:
        return str(tokenizer.decode([number]))

    def one_row_per_unit(self, settings: TaskSettings) -> bool:
        return settings.per_row

    def unit_rows(self, encoded: Dataset, settings: TaskSettings) -> list[int] | None:
        return super().unit_rows(encoded, settings) if settings.per_row else None

    def unit_contents(self, rows: Dataset, encoded: Dataset, settings: TaskSettings) -> list[list[object]]:
        if settings.per_row:
            return super().unit_contents(rows, encoded, settings)
        return self.window_contents(encoded, settings)

    def counts(self, observations: Observations) -> dict[str, int]:
        if not isinstance(observations, Likelihoods):
            raise TypeError(f"language models are measured by likelihoods, not {type(observations).__name__}")
        counts = {"tokens": int(observations.tokens.sum()), "bytes": int(observations.bytes.sum())}
        return {name: count for name, count in counts.items() if count or name == "tokens"}


class LanguageModelingTask(Task):
    """A language model on raw text."""

    eval_batch_size = 8
    invariance_rows = 2
    metrics: ClassVar[tuple[str, ...]]  # all that can be had, and all that are shown

    def supports_label_smoothing(self, settings: TaskSettings) -> bool:
        return True

    def search_space(self, settings: TaskSettings) -> dict[str, Distribution]:
        """Return the usual space without label smoothing, by which perplexity loses; texts bear fewer passes."""
        usual = {name: values for name, values in super().search_space(settings).items() if name != "label_smoothing"}
        return {**usual, "epochs": Range(1, 4, integer=True)}

    def metric_names(self, labels: Labels | None) -> tuple[str, ...]:
        return self.metrics

    def default_metrics(self, labels: Labels | None) -> tuple[str, ...]:
        return self.metrics

    def headline_metric(self, settings: TaskSettings) -> str:
        return "perplexity"


@dataclass(frozen=True)
class MaskingSettings:
    """What is taken out of a text, for the model to restore."""

    mask_share: float = 0.15  # of the tokens
    whole_words: bool = False  # all tokens of a word, or none
    fills: int = 0  # of each mask that stands in a text, how many are asked for; 0: masks are drawn


class DenoisingAnswers(LikelihoodAnswers):
    """Likelihoods of what a collator took out of a text: an encoded row has `input_ids`, `row` and `index`."""

    def from_outputs(self, outputs: ModelOutput, batch: Batch) -> list[Prediction]:
        """Return for each row the summed negative log-likelihood, the number of scored tokens and of those guessed."""
        return [score_tokens(*row) for row in zip(outputs.logits, batch["labels"], strict=True)]

    def evaluation_arrays(
        self,
        predictions: Sequence[Prediction],
        encoded: Dataset,
        tokenizer: PreTrainedTokenizerBase,
        settings: TaskSettings,
    ) -> Observations:
        nll, tokens, hits = zip(*predictions, strict=True)
        return likelihoods(nll, tokens, [0] * len(tokens), hits, encoded["row"] if settings.per_row else None)

    def window_contents(self, encoded: Dataset, settings: TaskSettings) -> list[list[object]]:
        return [[ids, settings.seed, settings.of(MaskingSettings).mask_share] for ids in encoded["input_ids"]]


class DenoisingTask(LanguageModelingTask):
    """A model that restores what a collator takes out of a text."""

    metrics = ("perplexity", "loss", "accuracy")
    mask_share: ClassVar[float] = MaskingSettings.mask_share  # of pretraining, unless --mask-share says

    def check_settings(self, settings: TaskSettings) -> None:
        super().check_settings(replace(settings, per_row=False))

    def pretraining_settings(self, settings: TaskSettings, mask_share: float | None, whole_words: bool) -> TaskSettings:
        return settings.with_specific(
            MaskingSettings, mask_share=mask_share or self.mask_share, whole_words=whole_words
        )

    def resolve_settings(
        self, settings: TaskSettings, flags: TaskFlags, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase
    ) -> TaskSettings:
        self.encoding.collator(tokenizer, settings)  # refuses a tokenizer that the task cannot use
        return super().resolve_settings(settings, flags, config, tokenizer)


def text_column(dataset: Dataset, given: dict[str, str]) -> dict[str, str] | None:
    """Return the text column: the one given, else `text`, else the longest strings that are no links."""
    if "text" in given:
        return {"text": given["text"]}
    strings = string_columns(dataset)
    if not strings:
        return None
    if "text" in strings:
        return {"text": "text"}
    prose = [column.name for column in Evidence(dataset).strings()]
    return {"text": longest_text(dataset, prose or [name for name in strings if name.strip()] or strings)}


def usable_texts(dataset: Dataset, columns: dict[str, str]) -> list[int]:
    """Return the indices of the rows whose text is not blank."""
    return [row for row, text in enumerate(dataset[columns["text"]][:]) if text_of(text).strip()]


def split_into_blocks(ids: list[int], size: int) -> list[list[int]]:
    """Cut a stream of tokens into blocks of `size`; the rest is dropped, unless it is all there is."""
    if len(ids) < size:
        return [ids] if len(ids) > 1 else []
    return [ids[start : start + size] for start in range(0, len(ids) - size + 1, size)]


def score_tokens(logits: torch.Tensor, labels: torch.Tensor) -> tuple[float, int, int]:
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
    byte_counts: Sequence[int],
    hits: Sequence[int] | None = None,
    rows: Sequence[int] | None = None,
) -> Likelihoods:
    """Return the likelihoods of pieces of text, or with `rows` (the row that each piece is of) of their rows.

    Of each piece: its negative log-likelihood in nats, the tokens that are scored, the bytes that they cover, and the
    tokens that are guessed.
    """
    observations = Likelihoods(
        np.asarray(nll, dtype=np.float64),
        np.asarray(tokens, dtype=np.int64),
        np.asarray(byte_counts, dtype=np.int64),
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
