"""causal-lm: predict the next token. Trains on packed blocks, is measured by perplexity and bits per byte."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from llmkit.data.columns import text_of
from llmkit.data.turns import Message
from llmkit.metrics.observations import Observations
from llmkit.models.config import DECODER_HEADS, is_decoder
from llmkit.models.text.prompts import added_tokens_around, encode_plain_texts
from llmkit.models.text.special_tokens import TokenSpans
from llmkit.models.tokenizer_training import train_bpe
from llmkit.tasks.base.answers import Prediction
from llmkit.tasks.base.encoding import Batch, Collator, EncodedRow
from llmkit.tasks.base.language_modeling import (
    BlockEncoding,
    LanguageModelingTask,
    LikelihoodAnswers,
    TextColumns,
    likelihoods,
)
from llmkit.tasks.base.settings import TaskSettings
from llmkit.tasks.encoding import divergences
from llmkit.tasks.encoding.collation import IGNORED, collate_causal, token_losses
from llmkit.tasks.encoding.token_streams import DocumentReader, block_rows, token_stream

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from transformers import PretrainedConfig, PreTrainedTokenizerBase
    from transformers.utils import ModelOutput


class CausalLMColumns(TextColumns):
    """Documents; perplexity is of all of them joined, unless each row is measured alone."""

    def evaluation_rows(self, dataset: Dataset, settings: TaskSettings) -> list[int]:
        usable = self.usable_rows(dataset, settings.columns)
        if settings.per_row or not usable:
            return usable
        return list(range(len(dataset)))  # blank rows too: the documented recipe joins every row


class CausalLMEncoding(BlockEncoding):
    """Blocks of one stream of documents to train on, sliding windows to measure on."""

    default_max_length = 1024

    def train_tokenizer(self, texts: Iterable[str], vocabulary: int, context: int) -> PreTrainedTokenizerBase:
        return train_bpe(texts, vocabulary, context)

    def encode(
        self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings, training: bool
    ) -> Dataset:
        from datasets import Dataset

        texts = [text_of(text) for text in rows[settings.columns["text"]][:]]
        if training:
            reader = DocumentReader(tokenizer, bool(settings.split_special_tokens))
            return block_rows(token_stream(reader.read(texts), tokenizer), settings.max_length)
        pieces = texts if settings.per_row else ["\n\n".join(texts)]
        return Dataset.from_list(
            [
                {**window, "row": row}
                for row, text in enumerate(pieces)
                for window in _windows_of(text, tokenizer, settings)
            ]
        )

    def messages_of_rows(self, rows: Dataset, settings: TaskSettings) -> Iterator[Sequence[Message]]:
        if settings.split_special_tokens is None:  # an end of text stands in many corpora
            return
        for text in rows[settings.columns["text"]][:]:
            yield [{"role": "user", "content": text_of(text)}]

    def rows_without_targets(self, encoded: Dataset) -> list[int]:
        if "labels" not in encoded.column_names:  # blocks to train on
            return []
        rows = enumerate(encoded["labels"])
        return [place for place, labels in rows if all(label == IGNORED for label in labels[1:])]

    def nothing_to_score(self, encoded: Dataset, settings: TaskSettings) -> str:
        if not len(encoded):
            return "the texts have no token, so there is nothing to score"
        if max(encoded["length"]) > 1:
            return super().nothing_to_score(encoded, settings)
        whose = "the only text has one token" if len(encoded) == 1 else f"the {len(encoded)} texts have one token each"
        return f"{whose}, and nothing predicts it"

    def collator(self, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings) -> Collator:
        return collate_causal


class CausalLMAnswers(LikelihoodAnswers):
    """The likelihoods of windows; a window is told from others by its tokens and by how many of them are scored."""

    continues_prompt = True

    def from_outputs(self, outputs: ModelOutput, batch: Batch) -> list[Prediction]:
        """Return for each window its summed negative log-likelihood and the number of its scored tokens."""
        predictions: list[Prediction] = []
        for logits, labels in zip(outputs.logits[:, :-1], batch["labels"][:, 1:], strict=True):
            scored = labels != IGNORED
            losses = token_losses(logits[scored], labels[scored])
            predictions.append((losses.double().sum().item(), int(scored.sum())))
        return predictions

    def evaluation_arrays(
        self,
        predictions: Sequence[Prediction],
        encoded: Dataset,
        tokenizer: PreTrainedTokenizerBase,
        settings: TaskSettings,
    ) -> Observations:
        nll, tokens = zip(*predictions, strict=True)
        return likelihoods(nll, tokens, encoded["bytes"], rows=encoded["row"] if settings.per_row else None)

    def window_contents(self, encoded: Dataset, settings: TaskSettings) -> list[list[object]]:
        return [[row["input_ids"], row["labels"].count(IGNORED)] for row in encoded.to_list()]


class CausalLM(LanguageModelingTask):
    """Next-token prediction on raw text."""

    name = "causal-lm"
    pipeline_tag = "text-generation"
    auto_class = "AutoModelForCausalLM"
    heads = DECODER_HEADS
    base_model = "HuggingFaceTB/SmolLM2-135M"
    architectures = ("llama", "gpt2")
    flags = frozenset({"split_special_tokens"})
    commands = frozenset({"pretrain", "finetune", "eval", "generate", "chat"})
    metrics = ("perplexity", "loss", "bits_per_byte")
    supports_distillation = True

    columns = CausalLMColumns(name)
    encoding = CausalLMEncoding(name)
    answers = CausalLMAnswers(name, encoding)

    def supports(self, config: PretrainedConfig) -> bool:
        return is_decoder(config)

    def can_pretrain(self, config: PretrainedConfig) -> bool:
        from transformers import MODEL_FOR_MASKED_LM_MAPPING

        return type(config) not in MODEL_FOR_MASKED_LM_MAPPING or bool(getattr(config, "is_decoder", False))

    def check_settings(self, settings: TaskSettings) -> None:
        super().check_settings(replace(settings, stride=None, per_row=False))

    def divergence(
        self, student: torch.Tensor, teacher: torch.Tensor, batch: Batch, temperature: float
    ) -> torch.Tensor:
        scored = batch["labels"][:, 1:] != IGNORED  # each token is predicted at the place before it
        return divergences.of_tokens(student[:, :-1], teacher[:, :-1], scored, temperature)


def _tokens_of(text: str, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings) -> TokenSpans:
    """Return the tokens of a document, with those that the tokenizer adds, and their characters where it tells them.

    Corpora hold the ends of texts on purpose: unless the settings say so, what spells a control token is one.
    """
    if settings.split_special_tokens:
        before, after = added_tokens_around(tokenizer)
        [spans] = encode_plain_texts(tokenizer, [text])
        outside = [(0, 0)] if tokenizer.is_fast else []
        return TokenSpans(
            [*before, *spans.ids, *after], [*outside * len(before), *spans.offsets, *outside * len(after)]
        )
    encoded = tokenizer(text, return_attention_mask=False, return_offsets_mapping=tokenizer.is_fast)
    return TokenSpans(encoded["input_ids"], encoded["offset_mapping"] if tokenizer.is_fast else [])


def _windows_of(text: str, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings) -> Iterator[EncodedRow]:
    ids, offsets = _tokens_of(text, tokenizer, settings)
    cut = list(windows(ids, settings.max_length, settings.stride))
    scored = [sum(label != IGNORED for label in labels) for _, labels in cut]
    ends = _byte_ends(text, len(ids), list(accumulate(scored)), offsets)
    bounds = pairwise([_unscored_bytes(text, ids, tokenizer), *ends])
    for (window, labels), (start, end) in zip(cut, bounds, strict=True):
        yield {"input_ids": window, "labels": labels, "length": len(window), "bytes": end - start}


def _byte_ends(text: str, tokens: int, counts: list[int], offsets: list[tuple[int, int]]) -> list[int]:
    """Return where the first `counts` tokens of a text end, in bytes; the last of them at the end of the text.

    By the tokenizer's offsets, or where it has none in proportion to the number of tokens.
    """
    size = len(text.encode())
    if not offsets:
        return [size * count // tokens for count in counts]
    characters = list(accumulate((end for _, end in offsets), max))  # a special token has the offsets 0, 0
    bounds = [characters[count - 1] for count in counts[:-1]]
    sizes = [len(text[start:end].encode()) for start, end in pairwise([0, *bounds])]
    return [*accumulate(sizes), size] if counts else []


def _unscored_bytes(text: str, ids: list[int], tokenizer: PreTrainedTokenizerBase) -> int:
    """Return how many bytes the first token covers when no BOS stands before it: nothing predicts it."""
    if not ids or ids[0] in tokenizer.all_special_ids:
        return 0
    first = tokenizer.decode(ids[:1])
    if "\ufffd" in first:  # a part of a character: a byte-level token has a letter for each byte
        return len(tokenizer.convert_ids_to_tokens(ids[0]))
    return min(len(text.encode()), len(first.encode()))


def windows(ids: list[int], size: int, stride: int | None = None) -> Iterator[tuple[list[int], list[int]]]:
    """Cut a long text into windows of at most `size` tokens; each token but the first is scored exactly once.

    A window starts `stride` tokens (default: half of `size`) after the one before it; the tokens that were scored
    already serve as context and are -100 in the labels.
    Source: https://huggingface.co/docs/transformers/perplexity
    """
    step = max(1, min(stride or size // 2, size - 1))  # size - 1: the first token of a window is predicted by nothing
    previous_end = 0
    for begin in range(0, len(ids), step):
        end = min(begin + size, len(ids))
        yield ids[begin:end], [IGNORED] * (previous_end - begin) + ids[previous_end:end]
        previous_end = end
        if end == len(ids):
            return
