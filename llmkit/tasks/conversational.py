"""conversational: answer as the assistant of a chat. Supervised finetuning on the assistant's tokens alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from llmkit.data.columns import is_string, item_of
from llmkit.data.conversations import ROLE_AND_CONTENT_KEYS, Conversation, conversation_of
from llmkit.data.labels import Labels
from llmkit.errors import DataError, ModelError, OptionError
from llmkit.metrics.observations import Likelihoods, Observations
from llmkit.models.config import is_decoder
from llmkit.options import AskOptions, TaskFlags
from llmkit.tasks.base.encoding import Collator
from llmkit.tasks.base.language_modeling import likelihoods, tally
from llmkit.tasks.base.settings import TaskSettings
from llmkit.tasks.base.task import WholeTask
from llmkit.tasks.causal_lm import CausalLM, collate
from llmkit.tasks.encoding.assistant_masks import render
from llmkit.tasks.encoding.collation import IGNORED
from llmkit.tasks.encoding.packing import collate_packs, leaks, pack

METRICS = ("perplexity", "loss", "accuracy")
LISTS = ("messages", "conversations")
TEXTS = (  # the usual columns by their roles; of Alpaca's, the input can be blank
    {"prompt": "prompt", "completion": "completion", "system": "system"},
    {"prompt": "instruction", "completion": "output", "input": "input", "system": "system"},
)
PREPARED = ("input_ids", "labels", "length", "truncated", "learned", "row")  # of a row
SLICE = 1000  # rows that are tokenized at a time


class Conversational(WholeTask):
    """Conversations in the model's chat template; what the assistant writes is learned, and scored."""

    name = "conversational"
    pipeline_tag = "text-generation"
    auto_class = "AutoModelForCausalLM"
    heads = CausalLM.heads
    roles = ("messages", "prompt", "completion", "input", "system")
    optional_roles = frozenset({"input", "system"})
    flags = frozenset({"chat_template", "packing"})
    commands = frozenset({"finetune", "eval", "generate"})
    base_model = "HuggingFaceTB/SmolLM2-135M-Instruct"
    continues_prompt = True
    eval_batch_size = 8
    invariance_rows = 2
    default_max_length = 1024
    unusable_reason = "no answer of the assistant, or a blank turn"

    def supports(self, config: PretrainedConfig) -> bool:
        return is_decoder(config)

    def is_default_for(self, config: PretrainedConfig, verb: str) -> bool:
        return verb == "eval" and self.supports(config)  # where the rows tell; else a decoder is a causal-lm

    def requirement(self) -> str:
        return "a list of messages (or conversations), a prompt and its completion, or an instruction and its output"

    def match(self, dataset: Dataset, given: dict[str, str]) -> dict[str, str] | None:
        if "messages" in given:
            return given if len(given) == 1 else None
        kinds = dataset.features
        lists = [name for name in LISTS if name in kinds and _lists_messages(kinds[name])]
        if lists and not given:
            return {"messages": lists[0]}
        for usual in TEXTS:
            there = {role: name for role, name in usual.items() if name in kinds and _spells(role, kinds[name])}
            found = there | given
            if {"prompt", "completion"} <= set(found):
                return {role: found[role] for role in self.roles if role in found}
        return None

    def explicit_columns(self, dataset: Dataset, given: dict[str, str]) -> dict[str, str] | None:
        names = [name for name in LISTS if name in dataset.features]
        return {"messages": names[0]} if names and not given else None

    def first_invalid_row(self, rows: Dataset, columns: dict[str, str]) -> tuple[int, str] | None:
        for place, row in enumerate(_cells(rows, columns)):
            try:
                conversation_of(row, columns)
            except DataError as error:
                return place, str(error)
        return None

    def usable_rows(self, dataset: Dataset, columns: dict[str, str]) -> list[int]:
        return [place for place, found in enumerate(_conversations(dataset, columns)) if found is not None]

    def resolve_settings(
        self, settings: TaskSettings, flags: TaskFlags, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase
    ) -> TaskSettings:
        """Return the setup with the chat template, which a given one becomes of the tokenizer too."""
        if flags.packing and isinstance(flags, AskOptions):
            raise OptionError("--packing is for finetune; one prompt at a time is answered")
        if flags.chat_template is not None:
            tokenizer.chat_template = _read_template(flags.chat_template)
        if not tokenizer.chat_template:
            raise ModelError(
                f"{self.name} wants a chat model, and the tokenizer of this {config.model_type} has no chat template: "
                "give one with --chat-template FILE, or name an -Instruct model with -m"
            )
        if not tokenizer.is_fast:
            raise ModelError(f"{self.name} wants a tokenizer that tells the characters of its tokens (tokenizer.json)")
        return replace(settings, chat_template=tokenizer.get_chat_template(), packing=bool(flags.packing))

    def check_settings(self, settings: TaskSettings) -> None:
        super().check_settings(settings)
        if settings.packing:
            raise OptionError("--packing is for finetune; each row is measured alone")

    def first_unencodable_row(
        self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings
    ) -> tuple[int, str] | None:
        for place, conversation in enumerate(_conversations(rows, settings.columns)):
            try:
                if conversation is not None:
                    render(conversation, tokenizer)
            except DataError as error:
                return place, str(error)
        return None

    def encode(
        self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings, training: bool
    ) -> Dataset:
        """Turn conversations into ids, with the label -100 where the assistant does not write.

        Raises:
            DataError: the template cannot spell a row.
        """
        told = [(row, one) for row, one in enumerate(_conversations(rows, settings.columns)) if one is not None]
        slices = (told[start : start + SLICE] for start in range(0, len(told), SLICE))
        encoded = [row for some in slices for row in _encoded(some, tokenizer, settings.max_length)]
        return Dataset.from_dict({name: [row[name] for row in encoded] for name in PREPARED})

    def rows_without_targets(self, prepared: Dataset) -> list[int]:
        return [place for place, tokens in enumerate(prepared["learned"][:]) if not tokens]

    def pack(self, prepared: Dataset, settings: TaskSettings) -> Dataset:
        return pack(prepared, settings.max_length) if settings.packing else prepared

    def check_model(self, model: PreTrainedModel, settings: TaskSettings) -> None:
        if settings.packing and leaks(model):
            raise ModelError(
                f"--packing: in a {model.config.model_type} the conversations of one sequence would see one another; "
                "train without it"
            )

    def truncation_warning(self, prepared: Dataset) -> str | None:
        silent = len(self.rows_without_targets(prepared))
        if not silent:
            return None
        return (
            f"{silent} of {len(prepared)} conversations are cut off before the assistant writes, and count for nothing"
        )

    def collator(self, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings) -> Collator:
        def collate_rows(rows: list[dict[str, Any]]) -> dict[str, Any]:
            """Return input_ids and labels (rows, tokens), with an attention mask or, of packs, with positions."""
            return collate_packs(rows) if "position_ids" in rows[0] else collate(rows)

        return collate_rows

    def records(self, outputs: Any, batch: dict[str, Any]) -> list[Any]:
        pairs = zip(outputs.logits[:, :-1], batch["labels"][:, 1:], strict=True)
        return [tally(logits, labels) for logits, labels in pairs]

    def class_name(self, choice: int, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> str:
        return str(tokenizer.decode([choice]))

    def evaluation_arrays(
        self, records: Sequence[Any], prepared: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings
    ) -> Observations:
        nll, tokens, hits = zip(*records, strict=True)
        return likelihoods(nll, tokens, [0] * len(tokens), hits)

    def counts(self, observations: Observations) -> dict[str, int]:
        if not isinstance(observations, Likelihoods):
            raise TypeError(f"conversations are measured by likelihoods, not {type(observations).__name__}")
        return {"tokens of the assistant": int(observations.tokens.sum()), "rows": len(observations)}

    def metric_names(self, labels: Labels | None) -> tuple[str, ...]:
        return METRICS

    def default_metrics(self, labels: Labels | None) -> tuple[str, ...]:
        return METRICS

    def headline_metric(self, settings: TaskSettings) -> str:
        return "perplexity"


def _encoded(
    conversations: Sequence[tuple[int, Conversation]], tokenizer: PreTrainedTokenizerBase, most: int
) -> Iterator[dict[str, Any]]:
    """Yield the rows that are prepared of some conversations, each beside the number of its row."""
    renderings = [render(conversation, tokenizer) for _, conversation in conversations]
    encoded = tokenizer(
        [one.text for one in renderings],
        add_special_tokens=False,
        return_attention_mask=False,
        return_offsets_mapping=True,
    )
    for place, (row, _) in enumerate(conversations):
        ids, learned = encoded["input_ids"][place], renderings[place].learned(encoded["offset_mapping"][place])
        learned[0] = False  # nothing predicts the first token
        labels = [token if own else IGNORED for token, own in zip(ids, learned, strict=True)][:most]
        yield {
            "input_ids": ids[:most],
            "labels": labels,
            "length": len(labels),
            "truncated": len(ids) > most,
            "learned": sum(learned[:most]),
            "row": row,
        }


def _cells(rows: Dataset, columns: dict[str, str]) -> Iterator[dict[str, Any]]:
    for batch in rows.select_columns(list(columns.values())).iter(SLICE):
        yield from (dict(zip(batch, cells, strict=True)) for cells in zip(*batch.values(), strict=True))


def _conversations(rows: Dataset, columns: dict[str, str]) -> Iterator[Conversation | None]:
    return (conversation_of(row, columns) for row in _cells(rows, columns))


def _lists_messages(feature: Any) -> bool:
    item = item_of(feature)
    return isinstance(item, dict) and any(set(keys) <= set(item) for keys in ROLE_AND_CONTENT_KEYS)


def _spells(role: str, feature: Any) -> bool:
    return is_string(feature) or (role in {"prompt", "completion"} and _lists_messages(feature))


def _read_template(path: Path) -> str:
    try:
        template = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise OptionError(f"--chat-template {str(path)!r} cannot be read: {why}") from error
    if not template.strip():
        raise OptionError(f"--chat-template {str(path)!r} is empty; a Jinja template of messages is wanted")
    return template
