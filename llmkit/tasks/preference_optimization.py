"""preference-optimization: make preferred answers likelier than others, by DPO.

The reference model is the one that the training begins from: what it says of every pair is worked out once, before the
first step, so that no second copy is kept. A model with an adapter has its reference in itself, the adapter turned off.
Source: Rafailov et al., Direct Preference Optimization, 2023; padding and log-probabilities are TRL's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from llmkit.data.columns import is_string
from llmkit.data.conversions import converted, preferences
from llmkit.data.evidence import Evidence
from llmkit.data.labels import Labels
from llmkit.data.preferences import ANSWER_ROLES, preference_pair
from llmkit.data.turns import Message
from llmkit.errors import DataError, ModelError
from llmkit.errors.extras import require_extra
from llmkit.metrics.observations import Observations, Preferences
from llmkit.models import adapters
from llmkit.models.config import DECODER_HEADS, is_decoder
from llmkit.models.reference import reference_for
from llmkit.options import TaskFlags
from llmkit.tasks.base.answers import Answers, Prediction
from llmkit.tasks.base.candidates import Candidate
from llmkit.tasks.base.columns import Columns
from llmkit.tasks.base.encoding import Batch, Collator, EncodedRow, Encoding
from llmkit.tasks.base.settings import TaskSettings
from llmkit.tasks.base.task import Task
from llmkit.tasks.encoding.preference_pairs import encode_pair, needs_template
from llmkit.tasks.matching.dialogues import preference_candidates

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

AUTO_CLASS = "AutoModelForCausalLM"
ROWS_PER_BATCH = 1000  # that are read at a time
REWARD_METRICS = ("reward_accuracy", "reward_margin", "dpo_loss")  # of what has changed since the reference


@dataclass(frozen=True)
class PreferenceSettings:
    """How closely the model is held to its reference, and how a pair is spelled."""

    beta: float = 0.1
    chat: bool = False  # in the chat template, else as plain text
    are_messages: bool = False  # whether the rows that are trained on hold messages, which need a template


class PreferenceColumns(Columns):
    """A prompt and two answers to it; the prompt may stand at the beginning of both."""

    roles = ("prompt", *ANSWER_ROLES, "input", "system")
    optional_roles = frozenset({"input", "system"})
    alternative_roles = ANSWER_ROLES
    unusable_reason = "no prompt or no answers"

    def requirement(self) -> str:
        return "a prompt, a chosen and a rejected answer (texts or messages; the prompt may begin both)"

    def candidates(self, evidence: Evidence, given: Mapping[str, str], flags: TaskFlags) -> list[Candidate]:
        found = preference_candidates(evidence, given)
        return [replace(each, columns=self._in_order(each.columns)) for each in found]

    def refine(
        self, candidate: Candidate, evidence: Evidence, flags: TaskFlags, config: PretrainedConfig | None
    ) -> Candidate:
        conversion = preferences.find(converted(evidence.rows, candidate.conversions), candidate.columns, flags)
        if conversion is None:
            return candidate
        return replace(candidate, columns=conversion.columns, conversions=(*candidate.conversions, conversion))

    def _in_order(self, columns: dict[str, str]) -> dict[str, str]:
        return {role: columns[role] for role in self.roles if role in columns}

    def first_invalid_row(self, rows: Dataset, columns: dict[str, str]) -> tuple[int, str] | None:
        for index, row in enumerate(rows):
            if all(row[columns[role]] is None for role in ANSWER_ROLES):
                continue  # left out
            try:
                preference_pair(row, columns)
            except DataError as error:
                return index, str(error)
        return None

    def usable_rows(self, dataset: Dataset, columns: dict[str, str]) -> list[int]:
        answers = dataset.select_columns([columns[role] for role in ANSWER_ROLES]).with_format("arrow")
        tables = answers.iter(ROWS_PER_BATCH)
        pairs = (
            pair for table in tables for pair in zip(*(c.is_valid().to_pylist() for c in table.columns), strict=True)
        )
        return [place for place, pair in enumerate(pairs) if any(pair)]  # a row with one alone is refused

    def sample_inputs(self, texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[dict[str, str]]:
        following = [*texts[1:], *texts[:1]]
        return [
            {"prompt": text, "chosen": answer, "rejected": answer[::-1]}
            for text, answer in zip(texts, following, strict=True)
        ]


class PreferenceEncoding(Encoding):
    """Both answers of a pair after their prompt: tensors of shape (rows, 2, tokens), the chosen answer first."""

    non_input_keys = frozenset({"completion_mask", "is_real", "before", "beta"})

    def encode(
        self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings, training: bool
    ) -> Dataset:
        from datasets import Dataset

        encoded: list[EncodedRow] = []
        for row in rows:
            untruncated = encode_pair(preference_pair(row, settings.columns), tokenizer, settings.keeps_text)
            pair = untruncated.truncated(settings.max_length)
            chosen, rejected = pair.answers
            encoded.append(
                {
                    "prompt_ids": pair.prompt,
                    "chosen_ids": chosen,
                    "rejected_ids": rejected,
                    "input_ids": pair.prompt + chosen,
                    "truncated": pair != untruncated,
                    "length": len(pair.prompt) + max(len(chosen), len(rejected)),
                }
            )
        return Dataset.from_list(encoded)

    def messages_of_rows(self, rows: Dataset, settings: TaskSettings) -> Iterator[Sequence[Message]]:
        for row in rows:
            if all(row[settings.columns[role]] is None for role in ANSWER_ROLES):
                continue  # left out
            pair = preference_pair(row, settings.columns)
            yield [*pair.prompt, *pair.answers[0], *pair.answers[1]]

    def rows_without_targets(self, encoded: Dataset) -> list[int]:
        """Return the places of pairs whose answers are the same as far as they are read."""
        pairs = zip(encoded["chosen_ids"], encoded["rejected_ids"], strict=True)
        return [place for place, (chosen, rejected) in enumerate(pairs) if chosen == rejected]

    def truncation_warning(self, encoded: Dataset) -> str | None:
        count = len(self.rows_without_targets(encoded))
        if not count:
            return None
        return f"{count} of {len(encoded)} pairs have answers that are the same within --max-length, and tell nothing"

    def collator(self, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings) -> Collator:
        import torch
        from trl.trainer.dpo_trainer import DataCollatorForPreference

        pad = DataCollatorForPreference(pad_token_id=tokenizer.pad_token_id or 0)
        beta = settings.of(PreferenceSettings).beta

        def collate(rows: list[EncodedRow]) -> Batch:
            """Pad pairs; `before` (rows, 2) are the log-probabilities of the reference, where the rows have them."""
            stacked = pad(rows)  # the chosen answers of all rows, then the rejected ones
            batch: Batch = {name: torch.stack(value.chunk(2), dim=1) for name, value in stacked.items()}
            batch["is_real"] = torch.ones(len(rows), 2, dtype=torch.bool)
            batch["beta"] = torch.full((len(rows),), beta)
            if "before" in rows[0]:
                batch["before"] = torch.tensor([row["before"] for row in rows])
            return batch

        return collate


class PreferenceAnswers(Answers):
    """How likely both answers of each pair are, and how likely they were to the reference."""

    def predict(self, model: PreTrainedModel, batch: Batch, settings: TaskSettings) -> list[Prediction]:
        """Return the log-probabilities of both answers of each pair; then the reference's, where there is one."""
        import torch

        outputs = [log_probabilities(model, batch)]
        if "before" in batch:
            outputs.append(batch["before"])
        elif settings.reference is not None and adapters.is_active(model):
            with adapters.turned_off(model):
                outputs.append(log_probabilities(model, batch))
        elif settings.reference is not None:
            outputs.append(log_probabilities(reference_for(model, settings.reference, AUTO_CLASS), batch))
        predictions: list[Prediction] = torch.cat([pairs.float() for pairs in outputs], dim=1).tolist()
        return predictions

    def logits(self, model: PreTrainedModel, batch: Batch, index: int) -> torch.Tensor:
        return log_probabilities(model, batch)[index]

    def class_name(self, number: int, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> str:
        return ANSWER_ROLES[number]

    def evaluation_arrays(
        self,
        predictions: Sequence[Prediction],
        encoded: Dataset,
        tokenizer: PreTrainedTokenizerBase,
        settings: TaskSettings,
    ) -> Observations:
        pairs = np.asarray(predictions, dtype=np.float64)
        reference_margins = pairs[:, 2] - pairs[:, 3] if pairs.shape[1] > 2 else None
        return Preferences(pairs[:, 0] - pairs[:, 1], reference_margins, settings.of(PreferenceSettings).beta)


class PreferenceOptimization(Task):
    """The preferred one of two answers to a prompt."""

    name = "preference-optimization"
    auto_class = AUTO_CLASS
    heads = DECODER_HEADS
    base_model = "HuggingFaceTB/SmolLM2-135M-Instruct"
    flags = frozenset({"beta", "role", "merge_turns", "skip_invalid", "split_special_tokens"})
    commands = frozenset({"finetune", "eval"})
    logged_metrics = REWARD_METRICS
    needs_reference_outputs = True
    eval_batch_size = 4  # pairs: the logits of two answers are large
    invariance_rows = 2
    default_batch_size = 8
    default_epochs = 1.0
    lr_multiplier = 0.05  # 2e-6 for 135 million weights, 2e-5 for an adapter: TRL's own is 1e-6

    columns = PreferenceColumns(name)
    encoding = PreferenceEncoding(name)
    answers = PreferenceAnswers(name, encoding)

    def supports(self, config: PretrainedConfig) -> bool:
        return is_decoder(config)

    def is_default_for(self, config: PretrainedConfig, command: str) -> bool:
        return is_decoder(config) and command == "eval"  # elsewhere a decoder continues text

    def resolve_settings(
        self, settings: TaskSettings, flags: TaskFlags, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase
    ) -> TaskSettings:
        require_extra(self.name, "dpo", "trl", error=ModelError)
        reference = settings.reference
        default = reference.beta if reference else PreferenceSettings.beta
        beta = flags.beta if flags.beta is not None else default
        settings = replace(settings, reference=replace(reference, beta=beta) if reference else None)
        if settings.of(PreferenceSettings).are_messages and not tokenizer.chat_template:
            raise ModelError(needs_template(tokenizer))
        return settings.with_specific(PreferenceSettings, beta=beta, chat=bool(tokenizer.chat_template))

    def with_training_statistics(self, settings: TaskSettings, train: Dataset) -> TaskSettings:
        features = [train.features[settings.columns[role]] for role in ANSWER_ROLES]
        return settings.with_specific(PreferenceSettings, are_messages=not all(map(is_string, features)))

    def remark(self, rows: Dataset, settings: TaskSettings) -> str | None:
        preference = settings.of(PreferenceSettings)
        form = "answers in the chat template" if preference.chat else "answers as plain text"
        if settings.reference is None:
            return f"{form}; no reference model, so the answer that is likelier as a whole counts as preferred"
        return f"{form}; reference {settings.reference.name}, beta {preference.beta:g}"

    def loss(self, model: PreTrainedModel, batch: Batch) -> torch.Tensor:
        """Return the DPO loss of a batch; where it holds no reference, the model is its own, as at its first step."""
        import torch

        margins = _margins(log_probabilities(model, batch))
        reference_margins = _margins(batch["before"]) if "before" in batch else margins.detach()
        return -torch.nn.functional.logsigmoid(batch["beta"] * (margins - reference_margins)).mean()

    def metric_names(self, labels: Labels | None) -> tuple[str, ...]:
        return ("accuracy", "margin", *REWARD_METRICS)

    def default_metrics(self, labels: Labels | None) -> tuple[str, ...]:
        return (*REWARD_METRICS, "accuracy", "margin")

    def metrics_for(self, settings: TaskSettings) -> tuple[str, ...]:
        return ("accuracy", "margin") if settings.reference is None else self.default_metrics(settings.labels)

    def headline_metric(self, settings: TaskSettings) -> str:
        return "accuracy" if settings.reference is None else "reward_accuracy"


def log_probabilities(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """Return the summed log-probability in nats of the answers of each pair, (rows, 2), the chosen one first."""
    from trl.trainer.utils import selective_log_softmax

    names = ("input_ids", "attention_mask", "completion_mask")
    ids, mask, answer_mask = (batch[name].flatten(0, 1) for name in names)
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
    log_probs = selective_log_softmax(logits.float(), ids[:, 1:])
    sums: torch.Tensor = (log_probs * answer_mask[:, 1:]).sum(-1)
    return sums.reshape(len(batch["input_ids"]), 2)


def _margins(pairs: torch.Tensor) -> torch.Tensor:
    """Return by how much the first number of each pair is larger than the second."""
    return pairs[:, 0] - pairs[:, 1]
