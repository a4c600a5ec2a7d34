"""What translation and summarization share: a text in, a text out, by an encoder-decoder or by a chat model's answer.

A model is measured by what it writes: greedily, or with the beams that its own generation config asks for.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from datasets import Dataset, Value
from transformers import GenerationConfig, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from llmkit import metrics, models
from llmkit.data.columns import Row, is_string, item_of
from llmkit.data.labels import Labels
from llmkit.errors import DataError, ModelError, OptionError, shortened
from llmkit.metrics.observations import Observations, Texts
from llmkit.models.config import is_decoder
from llmkit.options import AskOptions, TaskFlags
from llmkit.tasks.base.encoding import Collator
from llmkit.tasks.base.settings import TaskSettings
from llmkit.tasks.base.task import WholeTask
from llmkit.tasks.encoding.chat_templates import chat_ids
from llmkit.tasks.encoding.collation import IGNORED, INPUTS, pad_sequences, truncated
from llmkit.tasks.encoding.language_codes import begin, first_tokens

PREFIXED = models.T5_FAMILIES  # told their task in words
FIRST = ("decoder_start_token_id", "forced_bos_token_id")  # how a language to write is told


class TextToText(WholeTask):
    """A source text and a target text, which is generated."""

    auto_class = "AutoModelForSeq2SeqLM"
    heads = ("ForConditionalGeneration", "WithLMHeadModel", "MTModel")
    roles = ("text", "target")
    input_roles = ("text",)
    required_roles = ("text",)
    commands = frozenset({"finetune", "eval", "generate"})
    continues_prompt = True
    scores_prediction_files = True
    base_model = "google-t5/t5-small"
    unusable_reason = "no text or no target"
    non_input_keys = frozenset({"labels", *FIRST})
    usual: ClassVar[tuple[str, ...]]  # the metrics that are shown, the headline first
    usual_target: ClassVar[int] = 128  # tokens

    def auto_class_for(self, config: PretrainedConfig) -> str:
        return self.auto_class if config.is_encoder_decoder else "AutoModelForCausalLM"

    def supports(self, config: PretrainedConfig) -> bool:
        told_in_words = is_decoder(config)  # where it has a chat template
        return told_in_words or (super().supports(config) and self.can_finetune(config))

    def supports_label_smoothing(self, settings: TaskSettings) -> bool:
        return True

    def can_finetune(self, config: PretrainedConfig) -> bool:
        from transformers import MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING

        return type(config) in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING

    def is_default_for(self, config: PretrainedConfig, verb: str) -> bool:
        kinds = task_params(config)
        ours = bool(kinds) and all(kind.startswith(self.name) for kind in kinds)
        return self.supports(config) and ours

    def resolve_settings(
        self, settings: TaskSettings, flags: TaskFlags, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase
    ) -> TaskSettings:
        if not isinstance(flags, AskOptions):  # it is to be measured
            metrics.value(self.usual[0], Texts(("a",), (("a",),)))  # needs a library, which is missed before any work
        settings = replace(self.oriented(settings, flags, config, tokenizer), chat=not config.is_encoder_decoder)
        if settings.chat and not tokenizer.chat_template:
            raise ModelError(
                f"{self.name} wants an encoder-decoder, as T5, or a chat model: a {config.model_type} without a chat "
                "template cannot be asked"
            )
        remembered = task_params(config).get(self.kind(settings), {})
        prefix = remembered.get("prefix") if flags.prefix is None else flags.prefix
        if prefix is None:
            prefix = self.instruction(settings) if settings.chat else self.usual_prefix(settings, config, tokenizer)
        context = models.context_length(config, tokenizer)
        length = _target_length(flags, int(remembered.get("max_length") or self.usual_target), context, settings.chat)
        most = min(settings.max_length, context - length) if settings.chat else settings.max_length
        return replace(settings, prefix=prefix, target_length=length, max_length=most)

    def oriented(
        self, settings: TaskSettings, flags: TaskFlags, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase
    ) -> TaskSettings:
        """Return the setup with the languages of source and target, where the task has them."""
        return settings

    @abstractmethod
    def kind(self, settings: TaskSettings) -> str:
        """Return what T5's `task_specific_params` call this task: summarization, translation_en_to_de."""

    @abstractmethod
    def usual_prefix(self, settings: TaskSettings, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> str:
        """Return what stands before a source text where neither a flag nor the model's config says."""

    @abstractmethod
    def instruction(self, settings: TaskSettings) -> str:
        """Return what a chat model is asked, before the source text."""

    def head_config(self, settings: TaskSettings) -> dict[str, Any]:
        params = {"prefix": settings.prefix, "max_length": settings.target_length}
        return {"task_specific_params": {self.kind(settings): params}}

    def prompt(self, text: str, settings: TaskSettings) -> str:
        return settings.prefix + text

    def forced_tokens(self, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings) -> dict[str, int]:
        return first_tokens(tokenizer, settings.source, settings.target)

    def first_invalid_row(self, rows: Dataset, columns: dict[str, str]) -> tuple[int, str] | None:
        for role in ("text", "target"):
            feature = rows.features[columns[role]] if role in columns else Value("string")
            empty = isinstance(feature, Value) and feature.dtype == "null"
            if not (is_string(feature) or empty or self.takes_list(role, feature)):
                cells = rows[columns[role]][:]
                first = next((place for place, cell in enumerate(cells) if cell is not None), 0)
                return first, f"its {columns[role]} is {shortened(cells[first])}, and a text is wanted"
        return None

    def takes_list(self, role: str, feature: Any) -> bool:
        """Tell whether a list of texts can stand in that role."""
        return False

    def usable_rows(self, dataset: Dataset, columns: dict[str, str]) -> list[int]:
        pairs = zip(dataset[columns["text"]][:], dataset[columns["target"]][:], strict=True)
        return [row for row, (text, target) in enumerate(pairs) if whole(text).strip() and _several(target)]

    def has_labels(self, dataset: Dataset, columns: dict[str, str]) -> bool:
        column = columns["target"]
        return column in dataset.column_names and any(_several(target) for target in dataset[column][:])

    def targets(self, rows: Dataset, columns: dict[str, str]) -> list[Any]:
        return [None] * len(rows)  # a text can be put in many words

    def encode(
        self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings, training: bool
    ) -> Dataset:
        first = self.forced_tokens(tokenizer, settings)
        columns = _sources([whole(text) for text in rows[settings.columns["text"]][:]], tokenizer, settings)
        if "target" in settings.columns:
            columns["references"] = [_several(target) for target in rows[settings.columns["target"]][:]]
        if "target" in settings.columns and not settings.chat:
            firsts = [several[0] for several in columns["references"]]  # what it learns to write
            encoded = tokenizer(text_target=firsts, truncation=True, max_length=settings.target_length)
            columns["labels"] = encoded["input_ids"]
        if not training:
            columns |= {name: [token] * len(rows) for name, token in first.items()}
        return Dataset.from_dict(columns)

    def collator(self, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings) -> Collator:
        def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
            """Return input_ids and attention_mask (rows, tokens) and labels (rows, target tokens)."""
            inputs = [{name: row[name] for name in INPUTS[:2]} for row in rows]
            side = "left" if settings.chat else "right"  # a decoder goes on from the end
            batch = dict(tokenizer.pad(inputs, padding_side=side, return_tensors="pt"))
            if "labels" in rows[0]:
                batch["labels"] = pad_sequences([row["labels"] for row in rows], IGNORED)
            return batch | {name: torch.tensor([row[name] for row in rows]) for name in FIRST if name in rows[0]}

        return collate

    def predict(self, model: PreTrainedModel, batch: dict[str, Any], settings: TaskSettings) -> list[Any]:
        """Return the tokens that the model writes for each row, the end token among them but no padding."""
        config = measured_config(model, settings.target_length)
        begin(config, {name: int(batch[name][0]) for name in FIRST if name in batch})
        made = model.generate(**self.model_inputs(batch), generation_config=config)
        start = batch["input_ids"].shape[1] if settings.chat else 1  # a decoder starts from a token of its own
        return [until_end(row[start:], config) for row in made.tolist()]

    def logits(self, model: PreTrainedModel, batch: dict[str, Any], place: int) -> torch.Tensor:
        """Return the logits (tokens, vocabulary) of a row: of its own target, or of the prompt of a chat model."""
        if "labels" not in batch:
            mask = batch["attention_mask"]
            places = (mask.cumsum(-1) - 1).clamp(min=0)
            found: torch.Tensor = model(**self.model_inputs(batch), position_ids=places).logits[place]
            return found[-int(mask[place].sum()) :]
        labels = batch["labels"]
        logits: torch.Tensor = model(**self.model_inputs(batch), labels=labels).logits[place]
        return logits[: int((labels[place] != IGNORED).sum())]

    def class_name(self, choice: int, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> str:
        return str(tokenizer.decode([choice]))

    def evaluation_arrays(
        self, records: Sequence[Any], prepared: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings
    ) -> Observations:
        texts = (tokenizer.decode([int(token) for token in record], skip_special_tokens=True) for record in records)
        return Texts(tuple(str(text).strip() for text in texts), tuple(map(tuple, prepared["references"])))

    def arrays_from_predictions(
        self, rows: Dataset, predictions: Sequence[Row], settings: TaskSettings
    ) -> Observations:
        for row in predictions:
            if not isinstance(row["prediction"], str | None):
                raise DataError(
                    f"predictions, row {row['place']}: a text is wanted, not {shortened(row['prediction'])}"
                )
        references = tuple(tuple(_several(target)) for target in rows[settings.columns["target"]][:])
        return Texts(tuple(row["prediction"] or "" for row in predictions), references)

    def metric_names(self, labels: Labels | None) -> tuple[str, ...]:
        return metrics.names_for(Texts(("",), (("",),)))

    def default_metrics(self, labels: Labels | None) -> tuple[str, ...]:
        return self.usual

    def headline_metric(self, settings: TaskSettings) -> str:
        return self.usual[0]


def task_params(config: PretrainedConfig) -> dict[str, dict[str, Any]]:
    """Return what a model's config says of the tasks that it was trained for, as T5's and BART's do."""
    params = getattr(config, "task_specific_params", None)
    return {kind: own for kind, own in params.items() if isinstance(own, dict)} if isinstance(params, dict) else {}


def measured_config(model: PreTrainedModel, length: int) -> GenerationConfig:
    """Return the model's own generation config without sampling, for at most `length` new tokens."""
    config = copy.deepcopy(model.generation_config)
    config.do_sample, config.max_length, config.max_new_tokens = False, None, length
    config.temperature = config.top_p = config.top_k = None
    config.num_return_sequences = 1
    return config


def until_end(tokens: list[int], config: GenerationConfig) -> list[int]:
    """Return the tokens up to and with the first that ends a text; what follows is padding."""
    ends = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    end = next((place for place, token in enumerate(tokens) if token in ends), len(tokens))
    return tokens[: end + 1]


def whole(cell: Any) -> str:
    """Return the text of a cell: sentences of a list are joined by a space."""
    return " ".join(map(str, cell)) if isinstance(cell, list) else "" if cell is None else str(cell)


def lists_texts(feature: Any) -> bool:
    """Tell whether a feature holds lists of strings."""
    return is_string(item_of(feature))


def _several(cell: Any) -> list[str]:
    """Return the references that a cell holds, without blank ones."""
    texts = cell if isinstance(cell, list) else [cell]
    return [str(text) for text in texts if str("" if text is None else text).strip()]


def _sources(texts: list[str], tokenizer: PreTrainedTokenizerBase, settings: TaskSettings) -> dict[str, list[Any]]:
    """Return the tokens of source texts behind the prefix, their `length`, and whether some were `truncated`."""
    if settings.chat:
        asked = [chat_ids(tokenizer, settings.prefix, text, settings.max_length) for text in texts]
        columns: dict[str, list[Any]] = {"input_ids": [ids for ids, _ in asked], "truncated": [cut for _, cut in asked]}
        columns["attention_mask"] = [[1] * len(ids) for ids in columns["input_ids"]]
    else:
        prompts = [settings.prefix + text for text in texts]
        encoded = tokenizer(prompts, truncation=True, max_length=settings.max_length)
        columns = {name: encoded[name] for name in INPUTS[:2]}
        lengths = list(map(len, encoded["input_ids"]))
        columns["truncated"] = truncated(
            lengths, settings.max_length, lambda rows: tokenizer([prompts[row] for row in rows])["input_ids"]
        )
    return columns | {"length": list(map(len, columns["input_ids"]))}


def _target_length(flags: TaskFlags, usual: int, context: int, chat: bool) -> int:
    """Return how many tokens a target has at most; of a chat model's context the prompt takes half, at least."""
    room = context // 2 if chat else context
    if flags.target_length is not None and flags.target_length > room:
        raise OptionError(f"--target-length {flags.target_length}: the model takes at most {room} tokens")
    return flags.target_length or min(usual, room)
