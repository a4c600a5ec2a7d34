"""sentence-similarity: how alike two texts are, by the cosine of their vectors; no head and no training for it.

Source: Agirre et al., SemEval-2012 Task 6, 2012; Cer et al., SemEval-2017 Task 1 (STS-B), 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset, Value
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from llmkit import metrics
from llmkit.data.labels import Labels
from llmkit.metrics.observations import Numbers, Observations
from llmkit.models.pooling import MODES, Pooling, pooled, read_pooling
from llmkit.options import TaskFlags
from llmkit.tasks.base.encoding import Collator
from llmkit.tasks.base.sequence_classification import model_inputs, text_columns
from llmkit.tasks.base.settings import TaskSettings
from llmkit.tasks.base.task import WholeTask
from llmkit.tasks.encoding.collation import INPUTS, pad_batch

LABELS = ("label", "score", "similarity", "similarity_score", "relatedness_score", "labels")
HEADED = ("HeadModel", "HeadsModel")  # the names of bare models end in Model alone
PAIR = "pair_"  # begins the names of the second text's columns


class SentenceSimilarity(WholeTask):
    """Pairs of texts with a number, of any scale, that the cosine of their vectors should follow."""

    name = "sentence-similarity"
    auto_class = "AutoModel"
    heads = ("Model",)
    roles = ("text", "pair", "label")
    commands = frozenset({"eval", "embed"})
    unusable_reason = "a blank text or no number"

    def supports(self, config: PretrainedConfig) -> bool:
        """Tell that any model will do: all have hidden states."""
        return True

    def is_default_for(self, config: PretrainedConfig, verb: str) -> bool:
        return any(name.endswith(self.heads) and not name.endswith(HEADED) for name in config.architectures or ())

    def requirement(self) -> str:
        return "two texts and a number of how alike they are (a model without a head does no more: finetune it first)"

    def match(self, dataset: Dataset, given: dict[str, str]) -> dict[str, str] | None:
        label = given.get("label") or next((name for name in LABELS if name in dataset.column_names), None)
        if label is None or not _is_number(dataset.features[label]):
            return None
        texts = text_columns(dataset, given, label)
        return {**texts, "label": label} if "pair" in texts else None

    def has_labels(self, dataset: Dataset, columns: dict[str, str]) -> bool:
        if columns["label"] not in dataset.column_names:
            return False
        values = {value for value in dataset[columns["label"]][:] if value is not None}
        return bool(values) and values != {-1}  # GLUE hides test labels as -1

    def usable_rows(self, dataset: Dataset, columns: dict[str, str]) -> list[int]:
        rows = zip(*(dataset[columns[role]][:] for role in self.roles), strict=True)
        return [
            number
            for number, (*texts, label) in enumerate(rows)
            if label is not None and isfinite(label) and all(str(text or "").strip() for text in texts)
        ]

    def resolve_settings(
        self, settings: TaskSettings, flags: TaskFlags, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase
    ) -> TaskSettings:
        pooling = read_pooling(Path(tokenizer.name_or_path))
        length = min(settings.max_length, pooling.max_length or settings.max_length)
        return replace(settings, pooling=pooling, max_length=length)

    def encode(
        self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings, training: bool
    ) -> Dataset:
        first, second = (_inputs(rows[settings.columns[role]][:], tokenizer, settings) for role in ("text", "pair"))
        pairs = {name: list(zip(first.pop(name), second.pop(name), strict=True)) for name in ("length", "truncated")}
        columns = {
            **first,
            **{f"{PAIR}{name}": values for name, values in second.items()},
            "length": list(map(max, pairs["length"])),
            "truncated": list(map(any, pairs["truncated"])),
        }
        if "label" in settings.columns:
            columns["labels"] = [float(label) for label in rows[settings.columns["label"]][:]]
        return Dataset.from_dict(columns)

    def collator(self, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings) -> Collator:
        mode = list(MODES).index(_pooling(settings).mode)

        def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
            second = pad_batch([_without_prefix(row) for row in rows], tokenizer)
            batch = pad_batch(rows, tokenizer, float) | {f"{PAIR}{name}": value for name, value in second.items()}
            return {**batch, "pooling": torch.full((len(rows),), mode)}

        return collate

    def predict(self, model: PreTrainedModel, batch: dict[str, Any], settings: TaskSettings) -> list[Any]:
        return [[float(cosine)] for cosine in _cosines(model, batch)]

    def logits(self, model: PreTrainedModel, batch: dict[str, Any], place: int) -> torch.Tensor:
        """Return the cosine of one row of a batch: (1,)."""
        return _cosines(model, batch)[place : place + 1]

    def evaluation_arrays(
        self, records: Sequence[Any], prepared: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings
    ) -> Observations:
        return Numbers(np.asarray(prepared["labels"], dtype=np.float64), np.asarray(records, dtype=np.float64)[:, 0])

    def metric_names(self, labels: Labels | None) -> tuple[str, ...]:
        return metrics.names_for(Numbers(np.zeros(1), np.zeros(1)))

    def default_metrics(self, labels: Labels | None) -> tuple[str, ...]:
        return ("pearson", "spearman")  # and no error: cosines and labels are of two scales

    def headline_metric(self, settings: TaskSettings) -> str:
        return "spearman"


def _is_number(feature: Any) -> bool:
    return isinstance(feature, Value) and feature.dtype.startswith(("float", "int", "uint"))


def _pooling(settings: TaskSettings) -> Pooling:
    if settings.pooling is None:
        raise TypeError("the setup of sentence-similarity is made by `settle`")
    return settings.pooling


def _inputs(texts: Sequence[Any], tokenizer: PreTrainedTokenizerBase, settings: TaskSettings) -> dict[str, list[Any]]:
    spelled = Dataset.from_dict({"text": [_pooling(settings).with_prompt(str(text)) for text in texts]})
    return model_inputs(spelled, tokenizer, replace(settings, columns={"text": "text"}))


def _without_prefix(row: dict[str, Any]) -> dict[str, Any]:
    return {name.removeprefix(PAIR): value for name, value in row.items() if name.startswith(PAIR)}


def _cosines(model: PreTrainedModel, batch: dict[str, Any]) -> torch.Tensor:
    mode = list(MODES)[int(batch["pooling"][0])]
    first, second = (
        pooled(model, {name: batch[f"{prefix}{name}"] for name in INPUTS if f"{prefix}{name}" in batch}, mode)
        for prefix in ("", PAIR)
    )
    return torch.nn.functional.cosine_similarity(first, second)
