"""masked-lm: fill in masked tokens, as BERT is pretrained (Devlin et al., 2019: 80% mask, 10% random, 10% kept).

`llmkit generate` fills in the masks that stand in a text (fill-mask), each as if the others stayed masked. To train and
to measure, masks are drawn. Which tokens are masked is a pure function of (seed, epoch, row): a resumed run masks as an
uninterrupted one, and an evaluation masks the same positions every time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from llmkit.data.columns import Row, text_of
from llmkit.errors import ModelError
from llmkit.models.tokenizer_training import train_wordpiece
from llmkit.options import AskOptions, TaskFlags
from llmkit.tasks.base.answers import Answer, Prediction
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
from llmkit.tasks.encoding import divergences
from llmkit.tasks.encoding.collation import IGNORED, pad_batch, pad_inputs, pad_sequences

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

DEFAULT_FILLS = 5


class MaskedLMColumns(TextColumns):
    """A text, or a text with masks in it that are to be filled in."""

    input_roles = ("text",)
    required_roles = ("text",)

    def requirement(self) -> str:
        return "a text and an encoder model"

    def sample_inputs(self, texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[dict[str, str]]:
        return [{"text": f"{text.rpartition(' ')[0]} {tokenizer.mask_token}"} for text in texts]


class MaskedLMEncoding(BlockEncoding):
    """Blocks between the special tokens, with the number of the word that each token is a piece of."""

    non_input_keys = frozenset({"labels", "masks"})

    def train_tokenizer(self, texts: Iterable[str], vocabulary: int, context: int) -> PreTrainedTokenizerBase:
        return train_wordpiece(texts, vocabulary, context)

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
        from datasets import Dataset

        texts = [text_of(text) for text in rows[settings.columns["text"]][:]]
        if settings.of(MaskingSettings).fills:
            inputs = tokenizer(texts)
            return Dataset.from_dict({**inputs, "length": [len(ids) for ids in inputs["input_ids"]]})
        per_row = settings.per_row and not training
        streams = [_stream([text], tokenizer) for text in texts] if per_row else [_stream(texts, tokenizer)]
        before, after = _special_tokens(tokenizer)
        size = settings.max_length - len(before) - len(after)
        encoded: list[EncodedRow] = []
        for row, (ids, words) in enumerate(streams):
            for block, numbers in zip(split_into_blocks(ids, size), split_into_blocks(words, size), strict=True):
                input_ids = before + block + after
                numbers = [-1] * len(before) + numbers + [-1] * len(after)
                encoded.append({"input_ids": input_ids, "words": numbers, "row": row, "length": len(input_ids)})
        columns = {name: [block[name] for block in encoded] for name in ("input_ids", "words", "row", "length")}
        return Dataset.from_dict({**columns, "index": list(range(len(encoded)))})

    def collator(self, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings) -> Collator:
        masking = MaskingCollator(tokenizer, settings)  # refuses a tokenizer without a mask token

        def pad(rows: list[EncodedRow]) -> Batch:
            """Pad rows whose masks stand in the text; `masks`, of shape (rows, tokens), tells where."""
            batch = pad_batch(rows, tokenizer)
            return {**batch, "masks": batch["input_ids"] == tokenizer.mask_token_id}

        return pad if settings.of(MaskingSettings).fills else masking


class MaskedLMAnswers(DenoisingAnswers):
    """The likelihoods of the tokens under drawn masks, or the fills of the masks that stand in a text."""

    def predict(self, model: PreTrainedModel, batch: Batch, settings: TaskSettings) -> list[Prediction]:
        """Return what `from_outputs` does, or of each row the ids, then the probabilities, of its masks' best fills.

        One mask comes after the other.
        """
        fills = settings.of(MaskingSettings).fills
        if not fills:
            return super().predict(model, batch, settings)
        outputs = model(**self.encoding.model_inputs(batch))
        rows = zip(outputs.logits, batch["masks"], strict=True)
        return [_best_tokens(logits[masks], fills) for logits, masks in rows]

    def format(
        self,
        predictions: Sequence[Prediction],
        encoded: Dataset,
        rows: Dataset,
        tokenizer: PreTrainedTokenizerBase,
        settings: TaskSettings,
        top: int | None,
    ) -> list[Answer]:
        texts = rows[settings.columns["text"]][:]
        pairs = zip(texts, predictions, strict=True)
        return [{"fills": _fills(text, prediction, tokenizer)} for text, prediction in pairs]

    def empty(self, settings: TaskSettings) -> Answer:
        return {"fills": None}

    def headings(self) -> list[str]:
        return ["text", "mask", "fill", "score"]

    def cells(self, row: Row, answer: Answer) -> list[str]:
        fills = answer["fills"] or ()
        scores = "\n".join(f"{fill['score']:.4f}" for fill in fills)
        return [row["text"], *("\n".join(str(fill[name]) for fill in fills) for name in ("mask", "token")), scores]


class MaskedLM(DenoisingTask):
    """Masked-token prediction on raw text."""

    name = "masked-lm"
    pipeline_tag = "fill-mask"
    auto_class = "AutoModelForMaskedLM"
    heads = ("ForMaskedLM", "ForPreTraining")
    base_model = "distilbert/distilbert-base-uncased"
    architectures = ("bert",)
    commands = frozenset({"pretrain", "finetune", "eval", "generate"})
    mask_share = 0.2  # small models learn faster from more masks: Wettig et al., 2023
    supports_distillation = True

    columns = MaskedLMColumns(name)
    encoding = MaskedLMEncoding(name)
    answers = MaskedLMAnswers(name, encoding)

    def can_finetune(self, config: PretrainedConfig) -> bool:
        from transformers import MODEL_FOR_MASKED_LM_MAPPING

        has_head = any("For" in name or "LMHead" in name for name in config.architectures or ())
        return self.supports(config) or (type(config) in MODEL_FOR_MASKED_LM_MAPPING and not has_head)

    def can_pretrain(self, config: PretrainedConfig) -> bool:
        from transformers import MODEL_FOR_MASKED_LM_MAPPING

        return type(config) in MODEL_FOR_MASKED_LM_MAPPING

    def resolve_settings(
        self, settings: TaskSettings, flags: TaskFlags, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase
    ) -> TaskSettings:
        settings = super().resolve_settings(settings, flags, config, tokenizer)
        fills = (flags.top or DEFAULT_FILLS) if isinstance(flags, AskOptions) else 0  # not to train or to measure
        return settings.with_specific(MaskingSettings, fills=fills)

    def divergence(
        self, student: torch.Tensor, teacher: torch.Tensor, batch: Batch, temperature: float
    ) -> torch.Tensor:
        return divergences.of_tokens(student, teacher, batch["labels"] != IGNORED, temperature)


class MaskingCollator:
    """Masks a share of each row's tokens; the trainer sets `epoch`, so that each epoch masks others."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings) -> None:
        if tokenizer.mask_token_id is None:
            raise ModelError("the tokenizer has no mask token, which masked-lm needs")
        self.tokenizer, self.seed, self.epoch = tokenizer, settings.seed, 0
        self.masking = settings.of(MaskingSettings)
        self.vocabulary = len(tokenizer)

    def __call__(self, rows: list[EncodedRow]) -> Batch:
        """Return input_ids, attention_mask and labels of shape (rows, tokens); labels are -100 where unmasked."""
        masked = [self.mask(row["input_ids"], row["words"], row["index"]) for row in rows]
        return {
            **pad_inputs([ids for ids, _ in masked], self.tokenizer.pad_token_id or 0),
            "labels": pad_sequences([labels for _, labels in masked], IGNORED),
        }

    def mask(self, ids: list[int], words: list[int], index: int) -> tuple[list[int], list[int]]:
        """Return the row with a share of its tokens masked, and the labels."""
        generator = np.random.default_rng((self.seed, self.epoch, index))
        tokens, labels = np.array(ids), np.full(len(ids), IGNORED)
        positions = self._draw_positions(np.array(words), generator)
        labels[positions] = tokens[positions]
        draws = generator.random(len(positions))
        tokens[positions[draws < 0.8]] = self.tokenizer.mask_token_id
        replaced = positions[(draws >= 0.8) & (draws < 0.9)]
        tokens[replaced] = generator.integers(0, self.vocabulary, len(replaced))
        return tokens.tolist(), labels.tolist()

    def _draw_positions(self, words: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Return the positions to mask: single tokens, or with whole_words all tokens of the words that are drawn."""
        positions = np.flatnonzero(words >= 0)
        count = max(1, round(len(positions) * self.masking.mask_share))
        if not self.masking.whole_words:
            return np.sort(generator.choice(positions, size=min(count, len(positions)), replace=False))
        order = generator.permutation(np.unique(words[positions]))
        sizes = np.array([(words == word).sum() for word in order])
        enough = int(np.searchsorted(np.cumsum(sizes), count)) + 1
        return np.flatnonzero(np.isin(words, order[:enough]))


def _best_tokens(logits: torch.Tensor, count: int) -> list[float]:
    """Return the ids, then the probabilities, of the best tokens of each mask, one mask after the other."""
    import torch

    best = logits.double().softmax(-1).topk(min(count, logits.shape[-1]))
    return torch.stack([best.indices.double(), best.values], dim=1).flatten().tolist()


def _fills(text: str, prediction: Prediction, tokenizer: PreTrainedTokenizerBase) -> list[Answer]:
    """Return the fills of each mask of a text: its number from 1, the token, its score, and the text with it alone."""
    mask_token = str(tokenizer.mask_token)
    parts = text.split(mask_token)
    masks = len(parts) - 1
    fills: list[Answer] = []
    for mask, (ids, scores) in enumerate(np.reshape(prediction, (masks, 2, -1)), start=1):
        before, after = mask_token.join(parts[:mask]), mask_token.join(parts[mask:])
        for token, score in zip(ids.astype(int).tolist(), scores.tolist(), strict=True):
            word, filled = tokenizer.decode([token]).strip(), _filled(before, token, after, tokenizer)
            fills.append({"mask": mask, "token": word, "score": score, "text": filled})
    return fills


def _filled(before: str, token: int, after: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """Put a token in its place in the user's own text; a piece that goes on with a word is joined to it."""
    piece: str = tokenizer.convert_tokens_to_string(["a", *tokenizer.convert_ids_to_tokens([token])])[1:]
    if piece[:1].isspace():
        return before + piece.lstrip() + after
    return before.rstrip() + piece + after


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


def _special_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """Return the special tokens that the tokenizer puts before and after a text."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    framed = tokenizer("a")["input_ids"]
    start = next(i for i in range(len(framed) - len(bare) + 1) if framed[i : i + len(bare)] == bare)
    return framed[:start], framed[start + len(bare) :]
