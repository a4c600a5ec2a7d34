"""seq2seq-lm: span corruption, as T5 is pretrained (Raffel et al., 2020, section 3.1.4).

Spans of a text give way to sentinels (<extra_id_0>, <extra_id_1>, ...) in the input, and the target says what each
sentinel stands for; both end in </s>. Which spans is a pure function of (seed, epoch, row): a resumed run corrupts as
an uninterrupted one, and an evaluation corrupts the same spans every time. The sentinels and </s> are scored too.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count, takewhile
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from llmkit.errors import ModelError
from llmkit.models.tokenizer_training import SENTINEL, train_bpe_with_sentinels
from llmkit.tasks.base.encoding import Collator
from llmkit.tasks.base.language_modeling import DenoisingTask, split_into_blocks
from llmkit.tasks.base.settings import TaskSettings
from llmkit.tasks.encoding.collation import IGNORED, pad_sequences

MEAN_SPAN = 3  # tokens


class Seq2SeqLM(DenoisingTask):
    """Span corruption on raw text, for an encoder-decoder that is finetuned to translate or summarize."""

    name = "seq2seq-lm"
    pipeline_tag = "text2text-generation"
    auto_class = "AutoModelForSeq2SeqLM"
    heads = ("ForConditionalGeneration", "WithLMHeadModel")
    commands = frozenset({"pretrain", "finetune", "eval"})
    architectures = ("t5",)
    base_model = "google/t5-v1_1-small"

    def supports(self, config: PretrainedConfig) -> bool:
        return super().supports(config) and self.can_pretrain(config)

    def is_default_for(self, config: PretrainedConfig, verb: str) -> bool:
        return self.supports(config) and not getattr(config, "task_specific_params", None)  # made for another task

    def can_pretrain(self, config: PretrainedConfig) -> bool:
        from transformers import MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING

        return type(config) in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING

    def requirement(self) -> str:
        return "a text and an encoder-decoder model"

    def train_tokenizer(self, texts: Iterable[str], vocabulary: int, context: int) -> PreTrainedTokenizerBase:
        return train_bpe_with_sentinels(texts, vocabulary, context)

    def encode(
        self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings, training: bool
    ) -> Dataset:
        texts = [str(text or "") for text in rows[settings.columns["text"]][:]]
        documents = tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]
        if not settings.per_row or training:
            documents = [[token for document in documents for token in document]]
        room = settings.max_length - 1  # for </s>
        blocks = [(row, block) for row, ids in enumerate(documents) for block in split_into_blocks(ids, room)]
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
        self, prepared: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings
    ) -> Iterable[list[int]]:
        collator = SpanCollator(tokenizer, settings)
        return (collator.corrupt(row["input_ids"], row["index"])[1] for row in prepared.to_list())

    def logits(self, model: PreTrainedModel, batch: dict[str, Any], place: int) -> torch.Tensor:
        logits: torch.Tensor = model(**self.model_inputs(batch)).logits[place]
        return logits[: int((batch["labels"][place] != IGNORED).sum())]


class SpanCollator:
    """Corrupts spans of each row; the trainer sets `epoch`, so that each epoch corrupts others."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings) -> None:
        self.sentinels, self.end, self.pad = sentinels(tokenizer), tokenizer.eos_token_id, tokenizer.pad_token_id
        if not self.sentinels or self.end is None or self.pad is None:
            raise ModelError(
                f"the tokenizer lacks {SENTINEL.format(0)}, an end or a padding token, which seq2seq-lm needs; "
                "T5 and its kin have them, and so has a tokenizer that --arch t5 trains"
            )
        self.settings, self.epoch = settings, 0

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Return input_ids and attention_mask (rows, tokens), decoder_input_ids and labels (rows, target tokens)."""
        pairs = [self.corrupt(row["input_ids"], row["index"]) for row in rows]
        lengths = torch.tensor([len(inputs) for inputs, _ in pairs])
        input_ids = pad_sequences([inputs for inputs, _ in pairs], self.pad)
        return {
            "input_ids": input_ids,
            "attention_mask": (torch.arange(input_ids.shape[1])[None, :] < lengths[:, None]).long(),
            "decoder_input_ids": pad_sequences([[self.pad, *targets[:-1]] for _, targets in pairs], self.pad),
            "labels": pad_sequences([targets for _, targets in pairs], IGNORED),
        }

    def corrupt(self, ids: list[int], index: int) -> tuple[list[int], list[int]]:
        """Return the input and the target of a row of two or more tokens: kept and corrupted spans take turns."""
        dice = np.random.default_rng((self.settings.seed, self.epoch, index))
        noise = min(max(round(len(ids) * self.settings.mask_share), 1), len(ids) - 1)
        spans = min(max(round(noise / MEAN_SPAN), 1), len(ids) - noise, len(self.sentinels))
        kept, lost = _lengths(len(ids) - noise, spans, dice), _lengths(noise, spans, dice)
        inputs: list[int] = []
        targets: list[int] = []
        place = 0
        for sentinel, length, gap in zip(self.sentinels, kept, lost, strict=False):
            inputs += [*ids[place : place + length], sentinel]
            targets += [sentinel, *ids[place + length : place + length + gap]]
            place += length + gap
        return [*inputs, self.end], [*targets, self.end]


def sentinels(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the ids of <extra_id_0>, <extra_id_1>, ... as far as the tokenizer has them."""
    vocabulary = tokenizer.get_vocab()
    return [vocabulary[name] for name in takewhile(vocabulary.__contains__, map(SENTINEL.format, count()))]


def _lengths(total: int, parts: int, dice: np.random.Generator) -> list[int]:
    """Cut `total` into so many lengths of at least 1, all ways equally likely."""
    cuts = np.sort(dice.choice(total - 1, size=parts - 1, replace=False)) + 1
    lengths: list[int] = np.diff([0, *cuts, total]).tolist()
    return lengths
