"""What a model writes for a text: greedily, or with the beams that its own generation config asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmkit.data.columns import Row
from llmkit.errors import DataError, shortened
from llmkit.metrics.observations import Observations, Texts
from llmkit.models.text.answer_text import answer_text
from llmkit.models.text.decoding import Decoding, as_own, resolve_decoding
from llmkit.models.text.ends import AnswerEnds, end_tokens
from llmkit.options import GenerationOptions
from llmkit.tasks.base.answers import Answers, Prediction
from llmkit.tasks.base.encoding import Batch
from llmkit.tasks.base.settings import TaskSettings
from llmkit.tasks.encoding.collation import IGNORED
from llmkit.tasks.encoding.language_codes import force_tokens
from llmkit.tasks.encoding.source_texts import references_in

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

FORCED_TOKENS = ("decoder_start_token_id", "forced_bos_token_id")  # they tell a model which language to write


@dataclass(frozen=True)
class TextToTextSettings:
    """What a run settles of its texts beside their columns."""

    source: str | None = None  # the language of the texts, as the model spells it
    target: str | None = None
    prefix: str = ""  # what stands before each text
    target_length: int = 128  # tokens of a target at most
    chat: bool = False  # a decoder is asked in its chat template, the prefix being the instruction
    end_tokens: tuple[int, ...] = ()  # what ends an answer beside the tokens of the model's own generation config


class GeneratedText(Answers):
    """What a model writes for each text."""

    continues_prompt = True
    scores_prediction_files = True

    def prompt(self, text: str, settings: TaskSettings) -> str:
        return settings.of(TextToTextSettings).prefix + text

    def predict(self, model: PreTrainedModel, batch: Batch, settings: TaskSettings) -> list[Prediction]:
        """Return the tokens that the model writes for each row, the end token among them but no padding."""
        text_settings, decoding = settings.of(TextToTextSettings), _decoding(model, settings)
        config = decoding.config
        config.max_new_tokens = text_settings.target_length
        force_tokens(config, {name: int(batch[name][0]) for name in FORCED_TOKENS if name in batch})
        inputs, decoder = self.encoding.model_inputs(batch), text_settings.chat
        written: dict[int, list[int]] = {}
        with as_own(model, config):
            for rows in _groups(inputs["attention_mask"], decoding.reads_padding(not decoder)):
                some = _without_padding({name: tensor[rows] for name, tensor in inputs.items()})
                start = some["input_ids"].shape[1] if decoder else 1  # a decoder starts from a token of its own
                sequences = model.generate(**some, generation_config=config).tolist()
                written |= {row: decoding.ends.cut(ids[start:]) for row, ids in zip(rows, sequences, strict=True)}
        return [written[row] for row in range(len(written))]

    def answer_length(self, settings: TaskSettings) -> int | None:
        return settings.of(TextToTextSettings).target_length

    def decoding_sentence(self, model: PreTrainedModel, settings: TaskSettings) -> str | None:
        return _decoding(model, settings).sentence

    def logits(self, model: PreTrainedModel, batch: Batch, index: int) -> torch.Tensor:
        """Return the logits (tokens, vocabulary) of a row: of its own target, or of the prompt of a chat model."""
        logits: torch.Tensor
        inputs = self.encoding.model_inputs(batch)
        if "labels" not in batch:
            mask = batch["attention_mask"]
            logits = model(**inputs, position_ids=(mask.cumsum(-1) - 1).clamp(min=0)).logits[index]
            return logits[-int(mask[index].sum()) :]
        labels = batch["labels"]
        logits = model(**inputs, labels=labels).logits[index]
        return logits[: int((labels[index] != IGNORED).sum())]

    def class_name(self, number: int, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> str:
        return str(tokenizer.decode([number]))

    def evaluation_arrays(
        self,
        predictions: Sequence[Prediction],
        encoded: Dataset,
        tokenizer: PreTrainedTokenizerBase,
        settings: TaskSettings,
    ) -> Observations:
        ends = AnswerEnds(settings.of(TextToTextSettings).end_tokens, settings.stop_strings)
        texts = (answer_text(tokenizer, [int(token) for token in tokens], ends=ends) for tokens in predictions)
        return Texts(tuple(text.strip() for text in texts), tuple(map(tuple, encoded["references"])))

    def arrays_from_predictions(
        self, rows: Dataset, predictions: Sequence[Row], settings: TaskSettings
    ) -> Observations:
        for row in predictions:
            if not isinstance(row["prediction"], str | None):
                raise DataError(
                    f"predictions, row {row['place']}: a text is wanted, not {shortened(row['prediction'])}"
                )
        references = tuple(tuple(references_in(target)) for target in rows[settings.columns["target"]][:])
        return Texts(tuple(row["prediction"] or "" for row in predictions), references)


def _decoding(model: PreTrainedModel, settings: TaskSettings) -> Decoding:
    """Return how texts are written that are to be measured: as `generate` writes them without a flag."""
    own = model.generation_config
    ends = end_tokens(own, settings.of(TextToTextSettings).end_tokens)
    decoding = resolve_decoding(own, GenerationOptions(), {}, ends)
    decoding.require_possible(model.config.is_encoder_decoder)
    return decoding


def _groups(mask: torch.Tensor, by_length: bool) -> list[list[int]]:
    """Return the rows of a batch, together or by their numbers of tokens."""
    lengths = mask.sum(-1).tolist() if by_length else [0] * len(mask)
    return [[row for row, own in enumerate(lengths) if own == length] for length in sorted(set(lengths))]


def _without_padding(inputs: Batch) -> Batch:
    """Return inputs without the columns that are padding in all rows."""
    columns = inputs["attention_mask"].any(0)
    return {
        name: tensor[:, columns] if tensor.shape[1:] == columns.shape else tensor for name, tensor in inputs.items()
    }
