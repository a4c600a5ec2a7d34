"""causal-lm: predict the next token. Trains on packed blocks, is measured by perplexity and bits per byte."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import Any

import torch
from datasets import Dataset
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from llmkit.metrics.observations import Observations
from llmkit.models.config import DECODER_HEADS, is_decoder
from llmkit.models.tokenizer_training import train_bpe
from llmkit.tasks.base.encoding import Collator
from llmkit.tasks.base.language_modeling import TextTask, in_blocks, likelihoods
from llmkit.tasks.base.settings import TaskSettings
from llmkit.tasks.encoding import divergences
from llmkit.tasks.encoding.collation import IGNORED, pad_sequences, token_losses

METRICS = ("perplexity", "loss", "bits_per_byte")


class CausalLM(TextTask):
    """Next-token prediction on raw text."""

    name = "causal-lm"
    pipeline_tag = "text-generation"
    auto_class = "AutoModelForCausalLM"
    heads = DECODER_HEADS
    commands = frozenset({"pretrain", "finetune", "eval", "generate", "chat"})
    metrics = METRICS
    continues_prompt = True
    supports_distillation = True
    default_max_length = 1024
    architectures = ("llama", "gpt2")
    base_model = "HuggingFaceTB/SmolLM2-135M"

    def supports(self, config: PretrainedConfig) -> bool:
        return is_decoder(config)

    def can_pretrain(self, config: PretrainedConfig) -> bool:
        from transformers import MODEL_FOR_MASKED_LM_MAPPING

        return type(config) not in MODEL_FOR_MASKED_LM_MAPPING or bool(getattr(config, "is_decoder", False))

    def requirement(self) -> str:
        return "a text"

    def train_tokenizer(self, texts: Iterable[str], vocabulary: int, context: int) -> PreTrainedTokenizerBase:
        return train_bpe(texts, vocabulary, context)

    def check_settings(self, settings: TaskSettings) -> None:
        super().check_settings(replace(settings, stride=None, per_row=False))

    def evaluation_rows(self, dataset: Dataset, settings: TaskSettings) -> list[int]:
        usable = self.usable_rows(dataset, settings.columns)
        if settings.per_row or not usable:
            return usable
        return list(range(len(dataset)))  # blank rows too: the documented recipe joins every row

    def encode(
        self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings, training: bool
    ) -> Dataset:
        texts = [str(text or "") for text in rows[settings.columns["text"]][:]]
        if training:
            blocks = in_blocks(_stream(texts, tokenizer), settings.max_length)
            return Dataset.from_dict({"input_ids": blocks, "length": [len(block) for block in blocks]})
        pieces = texts if settings.per_row else ["\n\n".join(texts)]
        return Dataset.from_list(
            [
                {**window, "row": row}
                for row, text in enumerate(pieces)
                for window in _windows_of(text, tokenizer, settings)
            ]
        )

    def collator(self, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings) -> Collator:
        return collate

    def divergence(
        self, student: torch.Tensor, teacher: torch.Tensor, batch: dict[str, Any], temperature: float
    ) -> torch.Tensor:
        scored = batch["labels"][:, 1:] != IGNORED  # each token is predicted at the place before it
        return divergences.of_tokens(student[:, :-1], teacher[:, :-1], scored, temperature)

    def records(self, outputs: Any, batch: dict[str, Any]) -> list[Any]:
        records = []
        for logits, labels in zip(outputs.logits[:, :-1], batch["labels"][:, 1:], strict=True):
            scored = labels != IGNORED
            losses = token_losses(logits[scored], labels[scored])
            records.append((losses.double().sum().item(), int(scored.sum())))
        return records

    def evaluation_arrays(
        self, records: Sequence[Any], prepared: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings
    ) -> Observations:
        nll, tokens = zip(*records, strict=True)
        return likelihoods(nll, tokens, prepared["bytes"], rows=prepared["row"] if settings.per_row else None)

    def window_contents(self, prepared: Dataset, settings: TaskSettings) -> list[list[Any]]:
        return [[row["input_ids"], row["labels"].count(IGNORED)] for row in prepared.to_list()]


def _stream(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Tokenize documents into one stream, an end-of-text token after each (a BOS that is the same token serves too)."""
    eos, shared = tokenizer.eos_token_id, tokenizer.eos_token_id == tokenizer.bos_token_id
    stream: list[int] = []
    for ids in tokenizer(list(texts), return_attention_mask=False)["input_ids"]:
        starts_with_eos = bool(ids) and shared and ids[0] == eos
        if stream and eos is not None and stream[-1] != eos and not starts_with_eos:
            stream.append(eos)
        stream += ids
    if stream and eos is not None and stream[-1] != eos:
        stream.append(eos)
    return stream


def _windows_of(text: str, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings) -> Iterator[dict[str, Any]]:
    encoded = tokenizer(text, return_attention_mask=False, return_offsets_mapping=tokenizer.is_fast)
    ids = encoded["input_ids"]
    cut = list(windows(ids, settings.max_length, settings.stride))
    fresh = [sum(label != IGNORED for label in labels) for _, labels in cut]
    ends = _byte_ends(text, len(ids), list(accumulate(fresh)), encoded.get("offset_mapping"))
    ends[:0] = [_unscored_bytes(text, ids, tokenizer)]
    for number, (window, labels) in enumerate(cut):
        covered = ends[number + 1] - ends[number]
        yield {"input_ids": window, "labels": labels, "length": len(window), "bytes": covered}


def _byte_ends(text: str, tokens: int, counts: list[int], offsets: list[tuple[int, int]] | None) -> list[int]:
    """Return where the first `counts` tokens of a text end, in bytes; the last of them at the end of the text.

    By the tokenizer's offsets, or where it has none in proportion to the number of tokens.
    """
    whole = len(text.encode())
    if offsets is None:
        return [whole * count // tokens for count in counts]
    characters = list(accumulate((end for _, end in offsets), max))  # a special token has the offsets 0, 0
    bounds = [characters[count - 1] for count in counts[:-1]]
    sizes = [len(text[start:end].encode()) for start, end in pairwise([0, *bounds])]
    return [*accumulate(sizes), whole] if counts else []


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
    done = 0
    for begin in range(0, len(ids), step):
        end = min(begin + size, len(ids))
        fresh = end - done
        yield ids[begin:end], [IGNORED] * (end - begin - fresh) + ids[end - fresh : end]
        done = end
        if end == len(ids):
            return


def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Stack blocks, or pad windows on the right; the labels are the inputs unless the rows have their own."""
    ids = [list(row["input_ids"]) for row in rows]
    labels = [list(row.get("labels", row["input_ids"])) for row in rows]
    lengths = torch.tensor([len(row) for row in ids])
    input_ids = pad_sequences(ids, 0)
    mask = (torch.arange(input_ids.shape[1])[None, :] < lengths[:, None]).long()
    return {"input_ids": input_ids, "attention_mask": mask, "labels": pad_sequences(labels, IGNORED)}
