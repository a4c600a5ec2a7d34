"""conversational: answer as the assistant of a chat. Supervised finetuning on the assistant's tokens alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from llmkit.data.columns import Row
from llmkit.data.conversations import Conversation, conversation_of
from llmkit.data.conversions.chats import MIN_ROWS, require_few
from llmkit.data.evidence import Evidence
from llmkit.data.labels import Labels
from llmkit.data.turns import Message
from llmkit.errors import DataError, ModelError, OptionError
from llmkit.metrics.observations import Likelihoods, Observations
from llmkit.models.config import DECODER_HEADS, is_decoder
from llmkit.options import AskOptions, TaskFlags
from llmkit.tasks.base.answers import Answers, Prediction
from llmkit.tasks.base.candidates import Candidate
from llmkit.tasks.base.columns import Columns
from llmkit.tasks.base.encoding import Batch, Collator, EncodedRow, Encoding
from llmkit.tasks.base.language_modeling import likelihoods, score_tokens
from llmkit.tasks.base.settings import TaskSettings
from llmkit.tasks.base.task import Task
from llmkit.tasks.encoding.assistant_masks import encode_conversations, render
from llmkit.tasks.encoding.collation import collate_causal
from llmkit.tasks.encoding.packing import collate_packs, leaks, pack
from llmkit.tasks.matching.dialogues import conversation_candidates
from llmkit.tasks.matching.messages import with_messages_read

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
    from transformers.utils import ModelOutput

METRICS = ("perplexity", "loss", "accuracy")
MESSAGE_COLUMNS = ("messages", "conversations")
ENCODED_COLUMNS = ("input_ids", "labels", "length", "truncated", "target_tokens", "row")
ROWS_PER_BATCH = 1000  # that are tokenized at a time


@dataclass(frozen=True)
class ConversationalSettings:
    """How conversations are spelled, and whether several share a sequence."""

    chat_template: str = ""
    packing: bool = False
    skip_invalid: float | None = None  # the share of rows that can be left out because they are invalid


class ConversationalColumns(Columns):
    """A list of messages, or texts of the user and of the assistant."""

    roles = ("messages", "prompt", "completion", "input", "system", "history", "tools")
    optional_roles = frozenset({"input", "system", "history", "tools"})
    unusable_reason = "no answer of the assistant, or a blank turn"

    def requirement(self) -> str:
        return "a list of messages (or conversations), a prompt and its completion, or an instruction and its output"

    def candidates(self, evidence: Evidence, given: Mapping[str, str], flags: TaskFlags) -> list[Candidate]:
        found = conversation_candidates(evidence, given)
        return [replace(each, columns=self._in_order(each.columns)) for each in found]

    def refine(
        self, candidate: Candidate, evidence: Evidence, flags: TaskFlags, config: PretrainedConfig | None
    ) -> Candidate:
        return with_messages_read(candidate, evidence, flags)

    def _in_order(self, columns: dict[str, str]) -> dict[str, str]:
        return {role: columns[role] for role in self.roles if role in columns}

    def explicit_columns(self, dataset: Dataset, given: dict[str, str]) -> dict[str, str] | None:
        names = [name for name in MESSAGE_COLUMNS if name in dataset.features]
        return {"messages": names[0]} if names and not given else None

    def first_invalid_row(self, rows: Dataset, columns: dict[str, str]) -> tuple[int, str] | None:
        for index, row in enumerate(_rows_of(rows, columns)):
            try:
                conversation_of(row, columns)
            except DataError as error:
                return index, str(error)
        return None

    def usable_rows(self, dataset: Dataset, columns: dict[str, str]) -> list[int]:
        conversations = _conversations(dataset, columns)
        return [index for index, conversation in enumerate(conversations) if conversation is not None]


class ConversationalEncoding(Encoding):
    """Conversations in the model's chat template, with labels where the assistant writes."""

    default_max_length = 1024

    def first_unencodable_row(
        self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings
    ) -> tuple[int, str] | None:
        share, errors = settings.of(ConversationalSettings).skip_invalid, _errors(rows, tokenizer, settings.columns)
        if share is None:
            return next(errors, None)
        invalid = dict(errors)
        try:
            first = next(iter(invalid.values()), "")
            require_few(len(invalid), max(len(rows), MIN_ROWS), share, first)
        except DataError as error:
            return next(iter(invalid)), str(error)
        return None

    def unencodable_rows(
        self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings
    ) -> dict[int, str]:
        if settings.of(ConversationalSettings).skip_invalid is None:
            return {}
        return dict(_errors(rows, tokenizer, settings.columns))

    def encode(
        self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings, training: bool
    ) -> Dataset:
        """Turn conversations into ids, with the label -100 where the assistant does not write.

        Raises:
            DataError: the template cannot spell a row.
        """
        from datasets import Dataset

        numbered = enumerate(_conversations(rows, settings.columns))
        left_out = self.unencodable_rows(rows, tokenizer, settings)
        usable = [(row, found) for row, found in numbered if found is not None and row not in left_out]
        encoded: list[EncodedRow] = []
        for start in range(0, len(usable), ROWS_PER_BATCH):
            numbers, conversations = zip(*usable[start : start + ROWS_PER_BATCH], strict=True)
            encodings = encode_conversations(conversations, tokenizer, settings.max_length, settings.keeps_text)
            encoded += [{"row": row, **encoding} for row, encoding in zip(numbers, encodings, strict=True)]
        return Dataset.from_dict({name: [row[name] for row in encoded] for name in ENCODED_COLUMNS})

    def messages_of_rows(self, rows: Dataset, settings: TaskSettings) -> Iterator[Sequence[Message]]:
        conversations = _conversations(rows, settings.columns)
        return (conversation.messages for conversation in conversations if conversation is not None)

    def rows_without_targets(self, encoded: Dataset) -> list[int]:
        return [index for index, count in enumerate(encoded["target_tokens"][:]) if not count]

    def truncation_warning(self, encoded: Dataset) -> str | None:
        count = len(self.rows_without_targets(encoded))
        if not count:
            return None
        return f"{count} of {len(encoded)} conversations are cut off before the assistant writes, and count for nothing"

    def pack(self, encoded: Dataset, settings: TaskSettings) -> Dataset:
        return pack(encoded, settings.max_length) if settings.of(ConversationalSettings).packing else encoded

    def collator(self, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings) -> Collator:
        return _collate


class ConversationalAnswers(Answers):
    """The likelihoods of what the assistant writes in each conversation."""

    continues_prompt = True

    def from_outputs(self, outputs: ModelOutput, batch: Batch) -> list[Prediction]:
        """Return for each row the summed negative log-likelihood, the number of scored tokens and of those guessed."""
        pairs = zip(outputs.logits[:, :-1], batch["labels"][:, 1:], strict=True)
        return [score_tokens(logits, labels) for logits, labels in pairs]

    def class_name(self, number: int, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> str:
        return str(tokenizer.decode([number]))

    def evaluation_arrays(
        self,
        predictions: Sequence[Prediction],
        encoded: Dataset,
        tokenizer: PreTrainedTokenizerBase,
        settings: TaskSettings,
    ) -> Observations:
        nll, tokens, hits = zip(*predictions, strict=True)
        return likelihoods(nll, tokens, [0] * len(tokens), hits)

    def counts(self, observations: Observations) -> dict[str, int]:
        if not isinstance(observations, Likelihoods):
            raise TypeError(f"conversations are measured by likelihoods, not {type(observations).__name__}")
        return {"tokens of the assistant": int(observations.tokens.sum()), "rows": len(observations)}


class Conversational(Task):
    """Conversations in the model's chat template; what the assistant writes is learned, and scored."""

    name = "conversational"
    pipeline_tag = "text-generation"
    auto_class = "AutoModelForCausalLM"
    heads = DECODER_HEADS
    base_model = "HuggingFaceTB/SmolLM2-135M-Instruct"
    flags = frozenset({"chat_template", "packing", "role", "merge_turns", "skip_invalid", "split_special_tokens"})
    commands = frozenset({"finetune", "eval", "generate"})
    eval_batch_size = 8
    invariance_rows = 2

    columns = ConversationalColumns(name)
    encoding = ConversationalEncoding(name)
    answers = ConversationalAnswers(name, encoding)

    def supports(self, config: PretrainedConfig) -> bool:
        return is_decoder(config)

    def is_default_for(self, config: PretrainedConfig, command: str) -> bool:
        return command == "eval" and self.supports(config)  # where the rows tell; else a decoder is a causal-lm

    def resolve_settings(
        self, settings: TaskSettings, flags: TaskFlags, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase
    ) -> TaskSettings:
        """Return the settings with the chat template, which a given one becomes of the tokenizer too."""
        if flags.packing and isinstance(flags, AskOptions):
            raise OptionError("--packing is for finetune; one prompt at a time is answered")
        if isinstance(flags, AskOptions) and (flags.role or flags.merge_turns or flags.skip_invalid):
            raise OptionError(
                "--role, --merge-turns and --skip-invalid are for rows to learn from, and not for prompts"
            )
        if flags.chat_template is not None:
            tokenizer.chat_template = _read_template(flags.chat_template)
        if not tokenizer.chat_template:
            raise ModelError(
                f"{self.name} wants a chat model, and the tokenizer of this {config.model_type} has no chat template: "
                "give one with --chat-template FILE, or name an -Instruct model with -m"
            )
        if not tokenizer.is_fast:
            raise ModelError(f"{self.name} wants a tokenizer that tells the characters of its tokens (tokenizer.json)")
        template = tokenizer.get_chat_template()
        return settings.with_specific(
            ConversationalSettings, chat_template=template, packing=bool(flags.packing), skip_invalid=flags.skip_invalid
        )

    def check_settings(self, settings: TaskSettings) -> None:
        super().check_settings(settings)
        if settings.of(ConversationalSettings).packing:
            raise OptionError("--packing is for finetune; each row is measured alone")

    def check_model(self, model: PreTrainedModel, settings: TaskSettings) -> None:
        if settings.of(ConversationalSettings).packing and leaks(model):
            raise ModelError(
                f"--packing: in a {model.config.model_type} the conversations of one sequence would see one another; "
                "train without it"
            )

    def metric_names(self, labels: Labels | None) -> tuple[str, ...]:
        return METRICS

    def default_metrics(self, labels: Labels | None) -> tuple[str, ...]:
        return METRICS

    def headline_metric(self, settings: TaskSettings) -> str:
        return "perplexity"


def _collate(rows: list[EncodedRow]) -> Batch:
    """Return input_ids and labels (rows, tokens), with an attention mask or, of packs, with positions."""
    return collate_packs(rows) if "position_ids" in rows[0] else collate_causal(rows)


def _rows_of(rows: Dataset, columns: dict[str, str]) -> Iterator[Row]:
    for batch in rows.select_columns(list(columns.values())).iter(ROWS_PER_BATCH):
        yield from (dict(zip(batch, cells, strict=True)) for cells in zip(*batch.values(), strict=True))


def _conversations(rows: Dataset, columns: dict[str, str]) -> Iterator[Conversation | None]:
    return (conversation_of(row, columns) for row in _rows_of(rows, columns))


def _errors(rows: Dataset, tokenizer: PreTrainedTokenizerBase, columns: dict[str, str]) -> Iterator[tuple[int, str]]:
    """Yield the rows that the chat template cannot spell, and why."""
    for index, conversation in enumerate(_conversations(rows, columns)):
        try:
            if conversation is not None:
                render(conversation, tokenizer)
        except DataError as error:
            yield index, str(error)


def _read_template(path: Path) -> str:
    try:
        template = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise OptionError(f"--chat-template {str(path)!r} cannot be read: {why}") from error
    if not template.strip():
        raise OptionError(f"--chat-template {str(path)!r} is empty; a Jinja template of messages is wanted")
    return template
