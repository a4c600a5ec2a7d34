"""What translation and summarization share: a text in, a text out, by an encoder-decoder or by a chat model's answer.

A model is measured by what it writes: greedily, or with the beams that its own generation config asks for.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from llmkit import metrics, models
from llmkit.data.columns import is_string
from llmkit.data.labels import Labels
from llmkit.data.turns import Message
from llmkit.errors import ModelError, OptionError, shortened
from llmkit.metrics.observations import Texts
from llmkit.models.config import is_decoder
from llmkit.models.text.ends import tokenizer_ends
from llmkit.options import AskOptions, TaskFlags
from llmkit.tasks.base.columns import Columns
from llmkit.tasks.base.encoding import Batch, Collator, EncodedRow, Encoding
from llmkit.tasks.base.generated_texts import FORCED_TOKENS, TextToTextSettings
from llmkit.tasks.base.settings import TaskSettings
from llmkit.tasks.base.task import Task
from llmkit.tasks.encoding.collation import IGNORED, pad_inputs, pad_sequences
from llmkit.tasks.encoding.language_codes import forced_tokens
from llmkit.tasks.encoding.source_texts import (
    encode_chats,
    encode_cut,
    encode_prefixed,
    holds_text_lists,
    joined_text,
    references_in,
)

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

PREFIXED_FAMILIES = models.T5_FAMILIES  # a prefix in words tells them what to do


class PairColumns(Columns):
    """A text and its target, which may have several wordings: a list of texts."""

    roles = ("text", "target")
    input_roles = ("text",)
    required_roles = ("text",)
    unusable_reason = "no text or no target"
    takes_lists: ClassVar[bool] = False  # whether cells can be lists of texts

    def first_invalid_row(self, rows: Dataset, columns: dict[str, str]) -> tuple[int, str] | None:
        from datasets import Value

        for column in (columns[role] for role in self.roles if role in columns):
            feature = rows.features[column]
            blank = isinstance(feature, Value) and feature.dtype == "null"
            if not (is_string(feature) or blank or (self.takes_lists and holds_text_lists(feature))):
                cells = rows[column][:]
                first = next((place for place, cell in enumerate(cells) if cell is not None), 0)
                return first, f"its {column} is {shortened(cells[first])}, and a text is wanted"
        return None

    def usable_rows(self, dataset: Dataset, columns: dict[str, str]) -> list[int]:
        pairs = zip(dataset[columns["text"]][:], dataset[columns["target"]][:], strict=True)
        return [row for row, (text, target) in enumerate(pairs) if joined_text(text).strip() and references_in(target)]

    def has_labels(self, dataset: Dataset, columns: dict[str, str]) -> bool:
        column = columns["target"]
        return column in dataset.column_names and any(references_in(target) for target in dataset[column][:])

    def targets(self, rows: Dataset, columns: dict[str, str]) -> list[None]:
        return [None] * len(rows)  # a text can be put in many words


class TextToTextEncoding(Encoding):
    """Texts behind a prefix, or in a chat template; their targets are `labels` and `references`."""

    non_input_keys = frozenset({"labels", *FORCED_TOKENS})

    def encode(
        self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings, training: bool
    ) -> Dataset:
        from datasets import Dataset

        text_settings = settings.of(TextToTextSettings)
        forced = self.forced_tokens(tokenizer, settings)  # from here on the tokenizer knows its languages
        texts = [joined_text(text) for text in rows[settings.columns["text"]][:]]
        encode_sources = encode_chats if text_settings.chat else encode_prefixed
        split = settings.keeps_text
        columns = encode_sources(text_settings.prefix, texts, tokenizer, settings.max_length, split)
        if "target" in settings.columns:
            references = [references_in(target) for target in rows[settings.columns["target"]][:]]
            columns["references"] = references
            if not text_settings.chat:
                first_references = [wordings[0] for wordings in references]
                encoded = encode_cut(first_references, tokenizer, text_settings.target_length, split, target=True)
                columns["labels"] = [ids for ids, _ in encoded]
        if not training:
            columns |= {name: [token] * len(rows) for name, token in forced.items()}
        return Dataset.from_dict(columns)

    def messages_of_rows(self, rows: Dataset, settings: TaskSettings) -> Iterator[Sequence[Message]]:
        columns = [settings.columns[role] for role in ("text", "target") if role in settings.columns]
        for cells in zip(*(rows[column][:] for column in columns), strict=True):
            yield [{"role": "user", "content": text} for cell in cells for text in references_in(cell)]

    def collator(self, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings) -> Collator:
        import torch

        chat = settings.of(TextToTextSettings).chat

        def collate(rows: list[EncodedRow]) -> Batch:
            """Return input_ids and attention_mask (rows, tokens) and labels (rows, target tokens)."""
            inputs = [row["input_ids"] for row in rows]
            batch = pad_inputs(inputs, tokenizer.pad_token_id or 0, "left" if chat else "right")
            if "labels" in rows[0]:
                batch["labels"] = pad_sequences([row["labels"] for row in rows], IGNORED)
            return batch | {
                name: torch.tensor([row[name] for row in rows]) for name in FORCED_TOKENS if name in rows[0]
            }

        return collate

    def forced_tokens(self, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings) -> dict[str, int]:
        text_settings = settings.of(TextToTextSettings)
        return forced_tokens(tokenizer, text_settings.source, text_settings.target)


class TextToText(Task):
    """A source text and a target text, which is generated."""

    auto_class = "AutoModelForSeq2SeqLM"
    heads = ("ForConditionalGeneration", "WithLMHeadModel", "MTModel")
    base_model = "google-t5/t5-small"
    commands = frozenset({"finetune", "eval", "generate"})
    metrics_shown: ClassVar[tuple[str, ...]]  # the headline first
    default_target_length: ClassVar[int] = 128  # tokens

    def auto_class_for(self, config: PretrainedConfig) -> str:
        return self.auto_class if config.is_encoder_decoder else "AutoModelForCausalLM"

    def supports(self, config: PretrainedConfig) -> bool:
        # a decoder, where it has a chat template: `resolve_settings`
        return is_decoder(config) or (super().supports(config) and self.can_finetune(config))

    def is_default_for(self, config: PretrainedConfig, command: str) -> bool:
        names = task_params(config)
        return self.supports(config) and bool(names) and all(name.startswith(self.name) for name in names)

    def can_finetune(self, config: PretrainedConfig) -> bool:
        from transformers import MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING

        return type(config) in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING

    def supports_label_smoothing(self, settings: TaskSettings) -> bool:
        return True

    def resolve_settings(
        self, settings: TaskSettings, flags: TaskFlags, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase
    ) -> TaskSettings:
        if not isinstance(flags, AskOptions):  # it is to be measured
            metrics.value(self.metrics_shown[0], Texts(("a",), (("a",),)))  # fails before any work without its library
        settings, chat = self.with_languages(settings, flags, config, tokenizer), not config.is_encoder_decoder
        if chat and not tokenizer.chat_template:
            raise ModelError(
                f"{self.name} wants an encoder-decoder, as T5, or a chat model: a {config.model_type} without a chat "
                "template cannot be asked"
            )
        params = task_params(config).get(_params_key(self.name, settings), {})
        prefix = params.get("prefix") if flags.prefix is None else flags.prefix
        if prefix is None:
            prefix = self.default_prefix(settings, config, tokenizer)
        context = models.context_length(config, tokenizer)
        default = int(params.get("max_length") or self.default_target_length)
        length = _target_length(flags, default, context // 2 if chat else context)  # of a chat the prompt takes half
        limit = min(settings.max_length, context - length) if chat else settings.max_length
        settings = settings.with_specific(
            TextToTextSettings,
            prefix=prefix,
            target_length=length,
            chat=chat,
            end_tokens=tokenizer_ends(tokenizer, chat),
        )
        return replace(settings, max_length=limit)

    def with_languages(
        self, settings: TaskSettings, flags: TaskFlags, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase
    ) -> TaskSettings:
        """Return the settings with the languages of source and target, where the task has them."""
        return settings

    @abstractmethod
    def instruction(self, settings: TaskSettings, flags: TaskFlags) -> str:
        """Return what stands before a source text where nothing but its columns and flags says what is wanted."""

    @abstractmethod
    def default_prefix(
        self, settings: TaskSettings, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase
    ) -> str:
        """Return what stands before a source text where neither a flag nor the model's config says.

        A decoder is a chat model, which is asked by an instruction.
        """

    def head_config(self, settings: TaskSettings) -> dict[str, object]:
        text_settings = settings.of(TextToTextSettings)
        params = {"prefix": text_settings.prefix, "max_length": text_settings.target_length}
        return {"task_specific_params": {_params_key(self.name, settings): params}}

    def metric_names(self, labels: Labels | None) -> tuple[str, ...]:
        return metrics.names_for(Texts(("",), (("",),)))

    def default_metrics(self, labels: Labels | None) -> tuple[str, ...]:
        return self.metrics_shown

    def headline_metric(self, settings: TaskSettings) -> str:
        return self.metrics_shown[0]


def task_params(config: PretrainedConfig) -> dict[str, dict[str, Any]]:
    """Return what a model's config says of the tasks that it was trained for, as T5's and BART's do."""
    tasks = getattr(config, "task_specific_params", None)
    if not isinstance(tasks, dict):
        return {}
    return {name: params for name, params in tasks.items() if isinstance(params, dict)}


def _target_length(flags: TaskFlags, default: int, limit: int) -> int:
    """Return how many tokens a target has at most: as many as are asked for, else the default within the limit."""
    if flags.target_length is not None and flags.target_length > limit:
        raise OptionError(f"--target-length {flags.target_length}: the model takes at most {limit} tokens")
    return flags.target_length or min(default, limit)


def asked_in_words(task: TextToText, settings: TaskSettings, flags: TaskFlags) -> TaskSettings:
    """Return the settings of a task for a chat model of which nothing is known: a server's.

    Raises:
        ModelError, OptionError: what it is to be asked cannot be told.
    """
    prefix = task.instruction(settings, flags) if flags.prefix is None else flags.prefix
    length = flags.target_length or task.default_target_length
    return settings.with_specific(TextToTextSettings, prefix=prefix, target_length=length, chat=True)


def _params_key(name: str, settings: TaskSettings) -> str:
    """Return what T5's `task_specific_params` call a task: summarization, translation_en_to_de."""
    languages = settings.of(TextToTextSettings)
    known = languages.source is not None and languages.target is not None
    return f"{name}_{languages.source}_to_{languages.target}" if known else name
