"""masked-lm: fill in masked tokens, as BERT is pretrained (Devlin et al., 2019: 80% mask, 10% random, 10% kept).

`llmkit generate` fills in the masks that stand in a text (fill-mask), each as if the others stayed masked. To train and
to measure, masks are drawn. Which tokens are masked is a pure function of (seed, epoch, row): a resumed run masks as an
uninterrupted one, and an evaluation masks the same positions every time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from llmkit.errors import ModelError
from llmkit.models.tokenizer_training import train_wordpiece
from llmkit.options import AskOptions, TaskFlags
from llmkit.tasks.base.encoding import Collator
from llmkit.tasks.base.language_modeling import DenoisingTask, split_into_blocks
from llmkit.tasks.base.settings import TaskSettings
from llmkit.tasks.encoding import divergences
from llmkit.tasks.encoding.collation import IGNORED, pad_batch, pad_sequences

USUAL_FILLS = 5


class MaskedLM(DenoisingTask):
    """Masked-token prediction on raw text."""

    name = "masked-lm"
    pipeline_tag = "fill-mask"
    auto_class = "AutoModelForMaskedLM"
    heads = ("ForMaskedLM", "ForPreTraining")
    input_roles = ("text",)
    required_roles = ("text",)
    commands = frozenset({"pretrain", "finetune", "eval", "generate"})
    architectures = ("bert",)
    mask_share = 0.2  # small models learn faster from more masks: Wettig et al., 2023
    base_model = "distilbert/distilbert-base-uncased"
    supports_distillation = True
    non_input_keys = frozenset({"labels", "masks"})

    def can_finetune(self, config: PretrainedConfig) -> bool:
        from transformers import MODEL_FOR_MASKED_LM_MAPPING

        other_head = any("For" in name or "LMHead" in name for name in config.architectures or ())
        return self.supports(config) or (type(config) in MODEL_FOR_MASKED_LM_MAPPING and not other_head)

    def can_pretrain(self, config: PretrainedConfig) -> bool:
        from transformers import MODEL_FOR_MASKED_LM_MAPPING

        return type(config) in MODEL_FOR_MASKED_LM_MAPPING

    def requirement(self) -> str:
        return "a text and an encoder model"

    def train_tokenizer(self, texts: Iterable[str], vocabulary: int, context: int) -> PreTrainedTokenizerBase:
        return train_wordpiece(texts, vocabulary, context)

    def resolve_settings(
        self, settings: TaskSettings, flags: TaskFlags, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase
    ) -> TaskSettings:
        fills = (flags.top or USUAL_FILLS) if isinstance(flags, AskOptions) else 0  # asked, not trained or measured
        return replace(super().resolve_settings(settings, flags, config, tokenizer), fills=fills)

    def first_unanswerable_row(
        self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings
    ) -> tuple[int, str] | None:
        mask = tokenizer.mask_token
        for row, ids in enumerate(tokenizer(list(rows[settings.columns["text"]][:]))["input_ids"]):
            if tokenizer.mask_token_id not in ids:
                return row, f"the text has no {mask}, which stands where this model fills in a word"
            if len(ids) > settings.max_length:
                return row, f"the text has {len(ids)} tokens and the model takes {settings.max_length}; shorten it"
        return None

    def encode(
        self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings, training: bool
    ) -> Dataset:
        texts = [str(text or "") for text in rows[settings.columns["text"]][:]]
        if settings.fills:
            asked = tokenizer(texts)
            return Dataset.from_dict({**asked, "length": [len(ids) for ids in asked["input_ids"]]})
        if settings.per_row and not training:
            parts = [_stream([text], tokenizer) for text in texts]
        else:
            parts = [_stream(texts, tokenizer)]
        before, after = _frame(tokenizer)
        room = settings.max_length - len(before) - len(after)
        columns: dict[str, list[Any]] = {"input_ids": [], "words": [], "row": []}
        for row, (ids, words) in enumerate(parts):
            for block, its_words in zip(split_into_blocks(ids, room), split_into_blocks(words, room), strict=True):
                columns["input_ids"].append(before + block + after)
                columns["row"].append(row)
                columns["words"].append([-1] * len(before) + its_words + [-1] * len(after))
        columns["index"] = list(range(len(columns["input_ids"])))
        columns["length"] = [len(ids) for ids in columns["input_ids"]]
        return Dataset.from_dict(columns)

    def collator(self, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings) -> Collator:
        masking = MaskingCollator(tokenizer, settings)
        return partial(_collate_given, tokenizer=tokenizer) if settings.fills else masking

    def divergence(
        self, student: torch.Tensor, teacher: torch.Tensor, batch: dict[str, Any], temperature: float
    ) -> torch.Tensor:
        return divergences.of_tokens(student, teacher, batch["labels"] != IGNORED, temperature)

    def predict(self, model: PreTrainedModel, batch: dict[str, Any], settings: TaskSettings) -> list[Any]:
        if not settings.fills:
            return super().predict(model, batch, settings)
        found = model(**self.model_inputs(batch)).logits
        return [_best(logits[places], settings.fills) for logits, places in zip(found, batch["masks"], strict=True)]

    def format(
        self,
        records: Sequence[Any],
        prepared: Dataset,
        rows: Dataset,
        tokenizer: PreTrainedTokenizerBase,
        settings: TaskSettings,
        top: int | None,
    ) -> list[dict[str, Any]]:
        texts = rows[settings.columns["text"]][:]
        return [{"fills": _fills(text, record, tokenizer)} for text, record in zip(texts, records, strict=True)]

    def sample_inputs(self, texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[dict[str, Any]]:
        return [{"text": f"{text.rpartition(' ')[0]} {tokenizer.mask_token}"} for text in texts]

    def empty(self, settings: TaskSettings) -> dict[str, Any]:
        return {"fills": None}

    def headings(self) -> list[str]:
        return ["text", "mask", "fill", "score"]

    def cells(self, row: Mapping[str, Any], answer: Mapping[str, Any]) -> list[str]:
        fills = answer["fills"] or ()
        scores = "\n".join(f"{fill['score']:.4f}" for fill in fills)
        return [row["text"], *("\n".join(str(fill[name]) for fill in fills) for name in ("mask", "token")), scores]


class MaskingCollator:
    """Masks a share of each row's tokens; the trainer sets `epoch`, so that each epoch masks others."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings) -> None:
        if tokenizer.mask_token_id is None:
            raise ModelError("the tokenizer has no mask token, which masked-lm needs")
        self.tokenizer, self.settings, self.epoch = tokenizer, settings, 0
        self.vocabulary = len(tokenizer)

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Return input_ids, attention_mask and labels of shape (rows, tokens); labels are -100 where unmasked."""
        masked = [self.mask(row["input_ids"], row["words"], row["index"]) for row in rows]
        pad = self.tokenizer.pad_token_id or 0
        lengths = torch.tensor([len(ids) for ids, _ in masked])
        input_ids = pad_sequences([ids for ids, _ in masked], pad)
        return {
            "input_ids": input_ids,
            "attention_mask": (torch.arange(input_ids.shape[1])[None, :] < lengths[:, None]).long(),
            "labels": pad_sequences([labels for _, labels in masked], IGNORED),
        }

    def mask(self, ids: list[int], words: list[int], index: int) -> tuple[list[int], list[int]]:
        """Return the row with a share of its tokens masked, and the labels."""
        dice = np.random.default_rng((self.settings.seed, self.epoch, index))
        tokens, labels = np.array(ids), np.full(len(ids), IGNORED)
        chosen = self._choose(np.array(words), dice)
        labels[chosen] = tokens[chosen]
        fate = dice.random(len(chosen))
        tokens[chosen[fate < 0.8]] = self.tokenizer.mask_token_id
        swapped = chosen[(fate >= 0.8) & (fate < 0.9)]
        tokens[swapped] = dice.integers(0, self.vocabulary, len(swapped))
        return tokens.tolist(), labels.tolist()

    def _choose(self, words: np.ndarray, dice: np.random.Generator) -> np.ndarray:
        """Return the positions to mask: single tokens, or with whole_words all tokens of the chosen words."""
        positions = np.flatnonzero(words >= 0)
        count = max(1, round(len(positions) * self.settings.mask_share))
        if not self.settings.whole_words:
            return np.sort(dice.choice(positions, size=min(count, len(positions)), replace=False))
        order = dice.permutation(np.unique(words[positions]))
        sizes = np.array([(words == word).sum() for word in order])
        enough = int(np.searchsorted(np.cumsum(sizes), count)) + 1
        return np.flatnonzero(np.isin(words, order[:enough]))


def _collate_given(rows: list[dict[str, Any]], tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Pad rows whose masks stand in the text; `masks`, of shape (rows, tokens), tells where."""
    batch = pad_batch(rows, tokenizer)
    return {**batch, "masks": batch["input_ids"] == tokenizer.mask_token_id}


def _best(logits: torch.Tensor, count: int) -> list[float]:
    """Return the ids, then the probabilities, of the best tokens of each mask, one mask after the other."""
    best = logits.double().softmax(-1).topk(min(count, logits.shape[-1]))
    return torch.stack([best.indices.double(), best.values], dim=1).flatten().tolist()


def _fills(text: str, record: Sequence[float], tokenizer: PreTrainedTokenizerBase) -> list[dict[str, Any]]:
    """Return the fills of each mask of a text: its number from 1, the token, its score, and the text with it alone."""
    parts = text.split(str(tokenizer.mask_token))
    masks = len(parts) - 1
    made = []
    for mask, (ids, scores) in enumerate(np.reshape(record, (masks, 2, -1)), start=1):
        before, after = (str(tokenizer.mask_token).join(some) for some in (parts[:mask], parts[mask:]))
        for token, score in zip(ids.astype(int).tolist(), scores.tolist(), strict=True):
            shown = tokenizer.decode([token]).strip()
            made.append(
                {"mask": mask, "token": shown, "score": score, "text": _filled(before, token, after, tokenizer)}
            )
    return made


def _filled(before: str, token: int, after: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """Put a token in its place in the user's own text; a piece that goes on with a word is joined to it."""
    written: str = tokenizer.convert_tokens_to_string(["a", *tokenizer.convert_ids_to_tokens([token])])[1:]
    if written[:1].isspace():
        return before + written.lstrip() + after
    return before.rstrip() + written + after


def _stream(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """Tokenize documents into one stream of ids, and the number of the word that each id is a piece of."""
    ids: list[int] = []
    words: list[int] = []
    encoded = tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False)
    for row, document in enumerate(encoded["input_ids"]):
        offset = words[-1] + 1 if words else 0
        numbers = encoded.word_ids(row) if tokenizer.is_fast else range(len(document))
        ids += document
        words += [offset + (number or 0) for number in numbers]
    return ids, words


def _frame(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """Return the special tokens that the tokenizer puts before and after a text."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    framed = tokenizer("a")["input_ids"]
    start = next(i for i in range(len(framed) - len(bare) + 1) if framed[i : i + len(bare)] == bare)
    return framed[:start], framed[start + len(bare) :]
