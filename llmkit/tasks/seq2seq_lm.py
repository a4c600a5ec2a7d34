"""seq2seq-lm: span corruption, as T5 is pretrained (Raffel et al., 2020, section 3.1.4).

Spans of a text give way to sentinels (<extra_id_0>, <extra_id_1>, ...) in the input, and the target says what each
sentinel stands for; both end in </s>. Which spans is a pure function of (seed, epoch, row): a resumed run corrupts as
an uninterrupted one, and an evaluation corrupts the same spans every time. The sentinels and </s> are scored too.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count, takewhile
from typing import TYPE_CHECKING

import numpy as np

from llmkit.data.columns import text_of
from llmkit.errors import ModelError
from llmkit.models.tokenizer_training import SENTINEL, train_bpe_with_sentinels
from llmkit.tasks.base.encoding import Batch, Collator, EncodedRow
from llmkit.tasks.base.language_modeling import (
    BlockEncoding,
    DenoisingAnswers,
    DenoisingTask,
    MaskingSettings,
    TextColumns,
    split_into_blocks,
)
from llmkit.tasks.base.settings import TaskSettings
from llmkit.tasks.encoding.collation import IGNORED, pad_inputs, pad_sequences

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

MEAN_SPAN_LENGTH = 3  # tokens


class Seq2SeqLMColumns(TextColumns):
    """A text."""

    def requirement(self) -> str:
        return "a text and an encoder-decoder model"


class Seq2SeqLMEncoding(BlockEncoding):
    """Blocks without special tokens; the collator corrupts them and puts their end."""

    def train_tokenizer(self, texts: Iterable[str], vocabulary: int, context: int) -> PreTrainedTokenizerBase:
        return train_bpe_with_sentinels(texts, vocabulary, context)

    def encode(
        self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings, training: bool
    ) -> Dataset:
        from datasets import Dataset

        texts = [text_of(text) for text in rows[settings.columns["text"]][:]]
        documents = tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]
        if not settings.per_row or training:
            documents = [[token for document in documents for token in document]]
        size = settings.max_length - 1  # without </s>
        blocks = [(row, block) for row, ids in enumerate(documents) for block in split_into_blocks(ids, size)]
        return Dataset.from_dict(
            {
                "input_ids": [block for _, block in blocks],
                "row": [row for row, _ in blocks],
                "index": list(range(len(blocks))),
                "length": [len(block) + 1 for _, block in blocks],
            }
        )

    def collator(self, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings) -> Collator:
        return SpanCollator(tokenizer, settings)

    def target_tokens(
        self, encoded: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings
    ) -> Iterable[list[int]]:
        collator = SpanCollator(tokenizer, settings)
        return (collator.corrupt(row["input_ids"], row["index"])[1] for row in encoded.to_list())


class Seq2SeqLMAnswers(DenoisingAnswers):
    """The likelihoods of what the sentinels stand for."""

    def logits(self, model: PreTrainedModel, batch: Batch, index: int) -> torch.Tensor:
        logits: torch.Tensor = model(**self.encoding.model_inputs(batch)).logits[index]
        return logits[: int((batch["labels"][index] != IGNORED).sum())]


class Seq2SeqLM(DenoisingTask):
    """Span corruption on raw text, for an encoder-decoder that is finetuned to translate or summarize."""

    name = "seq2seq-lm"
    pipeline_tag = "text2text-generation"
    auto_class = "AutoModelForSeq2SeqLM"
    heads = ("ForConditionalGeneration", "WithLMHeadModel")
    base_model = "google/t5-v1_1-small"
    architectures = ("t5",)
    commands = frozenset({"pretrain", "finetune", "eval"})

    columns = Seq2SeqLMColumns(name)
    encoding = Seq2SeqLMEncoding(name)
    answers = Seq2SeqLMAnswers(name, encoding)

    def supports(self, config: PretrainedConfig) -> bool:
        return super().supports(config) and self.can_pretrain(config)

    def is_default_for(self, config: PretrainedConfig, command: str) -> bool:
        return self.supports(config) and not getattr(config, "task_specific_params", None)  # made for another task

    def can_pretrain(self, config: PretrainedConfig) -> bool:
        from transformers import MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING

        return type(config) in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING


class SpanCollator:
    """Corrupts spans of each row; the trainer sets `epoch`, so that each epoch corrupts others."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings) -> None:
        self.sentinels, self.end, self.pad = sentinels(tokenizer), tokenizer.eos_token_id, tokenizer.pad_token_id
        if not self.sentinels or self.end is None or self.pad is None:
            raise ModelError(
                f"the tokenizer lacks {SENTINEL.format(0)}, an end or a padding token, which seq2seq-lm needs; "
                "T5 and its kin have them, and so has a tokenizer that --arch t5 trains"
            )
        self.mask_share, self.seed, self.epoch = settings.of(MaskingSettings).mask_share, settings.seed, 0

    def __call__(self, rows: list[EncodedRow]) -> Batch:
        """Return input_ids and attention_mask (rows, tokens), decoder_input_ids and labels (rows, target tokens)."""
        pairs = [self.corrupt(row["input_ids"], row["index"]) for row in rows]
        return {
            **pad_inputs([inputs for inputs, _ in pairs], self.pad),
            "decoder_input_ids": pad_sequences([[self.pad, *targets[:-1]] for _, targets in pairs], self.pad),
            "labels": pad_sequences([targets for _, targets in pairs], IGNORED),
        }

    def corrupt(self, ids: list[int], index: int) -> tuple[list[int], list[int]]:
        """Return the input and the target of a row of two or more tokens: kept and corrupted spans take turns."""
        generator = np.random.default_rng((self.seed, self.epoch, index))
        noise = min(max(round(len(ids) * self.mask_share), 1), len(ids) - 1)
        spans = min(max(round(noise / MEAN_SPAN_LENGTH), 1), len(ids) - noise, len(self.sentinels))
        kept, corrupted = _span_lengths(len(ids) - noise, spans, generator), _span_lengths(noise, spans, generator)
        inputs: list[int] = []
        targets: list[int] = []
        start = 0
        for sentinel, kept_length, corrupted_length in zip(self.sentinels, kept, corrupted, strict=False):
            middle = start + kept_length
            end = middle + corrupted_length
            inputs += [*ids[start:middle], sentinel]
            targets += [sentinel, *ids[middle:end]]
            start = end
        return [*inputs, self.end], [*targets, self.end]


def sentinels(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the ids of <extra_id_0>, <extra_id_1>, ... as far as the tokenizer has them."""
    vocabulary = tokenizer.get_vocab()
    return [vocabulary[name] for name in takewhile(vocabulary.__contains__, map(SENTINEL.format, count()))]


def _span_lengths(total: int, spans: int, generator: np.random.Generator) -> list[int]:
    """Cut `total` into so many lengths of at least 1, all ways equally likely."""
    cuts = np.sort(generator.choice(total - 1, size=spans - 1, replace=False)) + 1
    lengths: list[int] = np.diff([0, *cuts, total]).tolist()
    return lengths
