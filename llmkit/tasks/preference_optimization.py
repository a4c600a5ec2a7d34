"""preference-optimization: make preferred answers likelier than others, by DPO.

The reference model is the one that the training begins from: what it says of every pair is worked out once, before the
first step, so that no second copy is kept. A model with an adapter has its reference in itself, the adapter turned off.
Source: Rafailov et al., Direct Preference Optimization, 2023; padding and log-probabilities are TRL's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from llmkit.data.columns import is_string
from llmkit.data.labels import Labels
from llmkit.errors import DataError, ModelError
from llmkit.errors.extras import require_extra
from llmkit.metrics.observations import Observations, Preferences
from llmkit.models import adapters
from llmkit.models.config import is_decoder
from llmkit.models.reference import reference_for
from llmkit.options import TaskFlags
from llmkit.tasks.base.encoding import Collator
from llmkit.tasks.base.settings import TaskSettings
from llmkit.tasks.base.task import WholeTask
from llmkit.tasks.causal_lm import CausalLM
from llmkit.tasks.encoding.preference_pairs import ANSWERS, encode, pair_of

BETA = 0.1
REWARDS = ("reward_accuracy", "reward_margin", "dpo_loss")  # of what has changed since the reference


class PreferenceOptimization(WholeTask):
    """The preferred one of two answers to a prompt."""

    name = "preference-optimization"
    auto_class = CausalLM.auto_class
    heads = CausalLM.heads
    roles = ("prompt", *ANSWERS)
    flags = frozenset({"beta"})
    commands = frozenset({"finetune", "eval"})
    base_model = "HuggingFaceTB/SmolLM2-135M-Instruct"
    eval_batch_size = 4  # pairs: the logits of two answers are large
    invariance_rows = 2
    non_input_keys = frozenset({"completion_mask", "is_real", "before", "beta"})
    unusable_reason = "no prompt or no answers"
    logged_metrics = REWARDS
    alternative_roles = ANSWERS
    needs_reference_outputs = True
    default_batch_size = 8
    default_epochs = 1.0
    lr_multiplier = 0.05  # 2e-6 for 135 million weights, 2e-5 for an adapter: TRL's own is 1e-6

    def supports(self, config: PretrainedConfig) -> bool:
        return is_decoder(config)

    def is_default_for(self, config: PretrainedConfig, verb: str) -> bool:
        return is_decoder(config) and verb == "eval"  # elsewhere a decoder continues text

    def requirement(self) -> str:
        return "a prompt, a chosen and a rejected answer (texts or messages; the prompt may begin both)"

    def match(self, dataset: Dataset, given: dict[str, str]) -> dict[str, str] | None:
        found = {role: given.get(role, role) for role in self.roles}
        found = {role: name for role, name in found.items() if name in dataset.column_names}
        if not set(ANSWERS) <= set(found) or not all(_holds_answers(dataset.features[name]) for name in found.values()):
            return None
        whole = not any(is_string(dataset.features[found[role]]) for role in ANSWERS)
        return found if "prompt" in found or whole else None

    def resolve_settings(
        self, settings: TaskSettings, flags: TaskFlags, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase
    ) -> TaskSettings:
        require_extra(self.name, "dpo", "trl", error=ModelError)
        known = settings.reference
        beta = flags.beta if flags.beta is not None else known.beta if known else BETA
        reference = replace(known, beta=beta) if known else None
        return replace(settings, beta=beta, reference=reference, chat=bool(tokenizer.chat_template))

    def remark(self, rows: Dataset, settings: TaskSettings) -> str | None:
        form = "answers in the chat template" if settings.chat else "answers as plain text"
        if settings.reference is None:
            return f"{form}; no reference model, so the answer that is likelier as a whole counts as preferred"
        return f"{form}; reference {settings.reference.name}, beta {settings.beta:g}"

    def first_invalid_row(self, rows: Dataset, columns: dict[str, str]) -> tuple[int, str] | None:
        for place, row in enumerate(rows):
            try:
                pair_of(row, columns)
            except DataError as error:
                return place, str(error)
        return None

    def usable_rows(self, dataset: Dataset, columns: dict[str, str]) -> list[int]:
        return list(range(len(dataset)))  # a row without an answer is refused: see `flaw`

    def encode(
        self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings, training: bool
    ) -> Dataset:
        made = []
        for row in rows:
            whole = encode(pair_of(row, settings.columns), tokenizer)
            pair = whole.cut(settings.max_length)
            chosen, rejected = pair.answers
            made.append(
                {
                    "prompt_ids": pair.prompt,
                    "chosen_ids": chosen,
                    "rejected_ids": rejected,
                    "input_ids": pair.prompt + chosen,
                    "truncated": pair != whole,
                    "length": len(pair.prompt) + max(len(chosen), len(rejected)),
                }
            )
        return Dataset.from_list(made)

    def collator(self, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings) -> Collator:
        from trl.trainer.dpo_trainer import DataCollatorForPreference

        pad = DataCollatorForPreference(pad_token_id=tokenizer.pad_token_id or 0)

        def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
            stacked = pad(rows)  # the chosen answers of all rows, then the rejected ones
            batch = {name: torch.stack(value.chunk(2), dim=1) for name, value in stacked.items()}
            batch["is_real"] = torch.ones(len(rows), 2, dtype=torch.bool)
            batch["beta"] = torch.full((len(rows),), settings.beta)
            if "before" in rows[0]:
                batch["before"] = torch.tensor([row["before"] for row in rows])
            return batch

        return collate

    def loss(self, model: PreTrainedModel, batch: dict[str, Any]) -> torch.Tensor:
        """Return the DPO loss of a batch; what remembers no reference is its own, as a model at its first step is."""
        margins = _margins(log_probabilities(model, batch))
        before = _margins(batch["before"]) if "before" in batch else margins.detach()
        return -torch.nn.functional.logsigmoid(batch["beta"] * (margins - before)).mean()

    def predict(self, model: PreTrainedModel, batch: dict[str, Any], settings: TaskSettings) -> list[Any]:
        """Return the log-probabilities of both answers of each pair; then the reference's, where there is one."""
        found = [log_probabilities(model, batch)]
        if "before" in batch:
            found.append(batch["before"])
        elif settings.reference is not None and adapters.is_active(model):
            with adapters.turned_off(model):
                found.append(log_probabilities(model, batch))
        elif settings.reference is not None:
            found.append(log_probabilities(reference_for(model, settings.reference, self.auto_class), batch))
        records: list[Any] = torch.cat([some.float() for some in found], dim=1).tolist()
        return records

    def logits(self, model: PreTrainedModel, batch: dict[str, Any], place: int) -> torch.Tensor:
        return log_probabilities(model, batch)[place]

    def class_name(self, choice: int, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> str:
        return ANSWERS[choice]

    def evaluation_arrays(
        self, records: Sequence[Any], prepared: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings
    ) -> Observations:
        found = np.asarray(records, dtype=np.float64)
        before = found[:, 2] - found[:, 3] if found.shape[1] > 2 else None
        return Preferences(found[:, 0] - found[:, 1], before, settings.beta)

    def metric_names(self, labels: Labels | None) -> tuple[str, ...]:
        return ("accuracy", "margin", *REWARDS)

    def default_metrics(self, labels: Labels | None) -> tuple[str, ...]:
        return (*REWARDS, "accuracy", "margin")

    def metrics_for(self, settings: TaskSettings) -> tuple[str, ...]:
        return ("accuracy", "margin") if settings.reference is None else self.default_metrics(settings.labels)

    def headline_metric(self, settings: TaskSettings) -> str:
        return "accuracy" if settings.reference is None else "reward_accuracy"

    def sample_inputs(self, texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[dict[str, Any]]:
        following = [*texts[1:], *texts[:1]]
        return [
            {"prompt": text, "chosen": other, "rejected": other[::-1]}
            for text, other in zip(texts, following, strict=True)
        ]


def log_probabilities(model: PreTrainedModel, batch: dict[str, Any]) -> torch.Tensor:
    """Return the summed log-probability in nats of the answers of each pair, (rows, 2), the chosen one first."""
    from trl.trainer.utils import selective_log_softmax

    names = ("input_ids", "attention_mask", "completion_mask")
    ids, mask, learned = (batch[name].flatten(0, 1) for name in names)
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
    found = selective_log_softmax(logits.float(), ids[:, 1:])
    sums: torch.Tensor = (found * learned[:, 1:]).sum(-1)
    return sums.reshape(len(batch["input_ids"]), 2)


def _margins(pairs: torch.Tensor) -> torch.Tensor:
    """Return by how much the first number of each pair is larger than the second."""
    return pairs[:, 0] - pairs[:, 1]


def _holds_answers(feature: Any) -> bool:
    item = getattr(feature, "feature", None)
    return is_string(feature) or isinstance(item, dict)
