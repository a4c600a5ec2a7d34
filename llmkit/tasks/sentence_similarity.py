"""sentence-similarity: how alike two texts are, by the cosine of their vectors; no head and no training for it.

Source: Agirre et al., SemEval-2012 Task 6, 2012; Cer et al., SemEval-2017 Task 1 (STS-B), 2017.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llmkit import metrics
from llmkit.data.columns import text_of
from llmkit.data.evidence import Evidence
from llmkit.data.labels import Labels
from llmkit.metrics.observations import Numbers, Observations
from llmkit.models.pooling import MODES, Pooling, pooled, read_pooling
from llmkit.options import TaskFlags
from llmkit.tasks.base.answers import Answers, Prediction
from llmkit.tasks.base.candidates import Candidate
from llmkit.tasks.base.columns import Columns
from llmkit.tasks.base.encoding import Batch, Collator, EncodedRow, Encoding
from llmkit.tasks.base.sequence_classification import EncodedColumns, tokenize_rows
from llmkit.tasks.base.settings import TaskSettings
from llmkit.tasks.base.task import Task
from llmkit.tasks.encoding.collation import INPUTS, pad_batch
from llmkit.tasks.matching.classes import class_candidates, with_labels_read

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

HEAD_SUFFIXES = ("HeadModel", "HeadsModel")  # the names of bare models end in Model alone
PAIR_PREFIX = "pair_"  # begins the names of the second text's columns


@dataclass(frozen=True)
class SimilaritySettings:
    """What sentence similarity alone settles."""

    pooling: Pooling | None = None  # how a text becomes a vector; None until `resolve_settings` has read it


class SimilarityColumns(Columns):
    """Two texts and a number."""

    roles = ("text", "pair", "label")
    unusable_reason = "a blank text or no number"

    def sample_inputs(self, texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[dict[str, Any]]:
        """Return each text with the one that follows it."""
        return [{"text": text, "pair": pair} for text, pair in zip(texts, [*texts[1:], *texts[:1]], strict=True)]

    def requirement(self) -> str:
        return "two texts and a number of how alike they are (a model without a head does no more: finetune it first)"

    def candidates(self, evidence: Evidence, given: Mapping[str, str], flags: TaskFlags) -> list[Candidate]:
        found = class_candidates(evidence, given)
        features = evidence.features
        return [each for each in found if "pair" in each.columns and _is_number(features[each.columns["label"]])]

    def refine(
        self, candidate: Candidate, evidence: Evidence, flags: TaskFlags, config: PretrainedConfig | None
    ) -> Candidate:
        return with_labels_read(candidate, evidence, regression=True)

    def has_labels(self, dataset: Dataset, columns: dict[str, str]) -> bool:
        if columns["label"] not in dataset.column_names:
            return False
        values = {value for value in dataset[columns["label"]][:] if value is not None}
        return bool(values) and values != {-1}  # GLUE hides test labels as -1

    def usable_rows(self, dataset: Dataset, columns: dict[str, str]) -> list[int]:
        rows = zip(*(dataset[columns[role]][:] for role in self.roles), strict=True)
        return [
            index
            for index, (*texts, label) in enumerate(rows)
            if label is not None and isfinite(label) and all(text_of(text).strip() for text in texts)
        ]


class SimilarityEncoding(Encoding):
    """The tokens of both texts, those of the second in columns of their own."""

    def encode(
        self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings, training: bool
    ) -> Dataset:
        from datasets import Dataset

        first, second = (_tokenize(rows[settings.columns[role]][:], tokenizer, settings) for role in ("text", "pair"))
        pairs = {name: list(zip(first.pop(name), second.pop(name), strict=True)) for name in ("length", "truncated")}
        columns = {
            **first,
            **{f"{PAIR_PREFIX}{name}": values for name, values in second.items()},
            "length": list(map(max, pairs["length"])),
            "truncated": list(map(any, pairs["truncated"])),
        }
        if "label" in settings.columns:
            columns["labels"] = [float(label) for label in rows[settings.columns["label"]][:]]
        return Dataset.from_dict(columns)

    def collator(self, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings) -> Collator:
        """Return the function to batches in which `pooling` (rows,) holds the place of the mode in MODES."""
        import torch

        mode = list(MODES).index(_pooling(settings).mode)

        def collate(rows: list[EncodedRow]) -> Batch:
            second = pad_batch([_second_text(row) for row in rows], tokenizer)
            batch = pad_batch(rows, tokenizer, float) | {f"{PAIR_PREFIX}{name}": ids for name, ids in second.items()}
            return {**batch, "pooling": torch.full((len(rows),), mode)}

        return collate


class SimilarityAnswers(Answers):
    """The cosine of the vectors of two texts."""

    def predict(self, model: PreTrainedModel, batch: Batch, settings: TaskSettings) -> list[Prediction]:
        return [[float(cosine)] for cosine in _cosines(model, batch)]

    def logits(self, model: PreTrainedModel, batch: Batch, index: int) -> torch.Tensor:
        """Return the cosine of one row of a batch: (1,)."""
        return _cosines(model, batch)[index : index + 1]

    def evaluation_arrays(
        self,
        predictions: Sequence[Prediction],
        encoded: Dataset,
        tokenizer: PreTrainedTokenizerBase,
        settings: TaskSettings,
    ) -> Observations:
        cosines = np.asarray(predictions, dtype=np.float64)[:, 0]
        return Numbers(np.asarray(encoded["labels"][:], dtype=np.float64), cosines)


class SentenceSimilarity(Task):
    """Pairs of texts with a number, of any scale, that the cosine of their vectors should follow."""

    name = "sentence-similarity"
    auto_class = "AutoModel"
    heads = ("Model",)
    commands = frozenset({"eval", "embed"})
    columns = SimilarityColumns(name)
    encoding = SimilarityEncoding(name)
    answers = SimilarityAnswers(name, encoding)

    def supports(self, config: PretrainedConfig) -> bool:
        """Tell that any model will do: all have hidden states."""
        return True

    def is_default_for(self, config: PretrainedConfig, command: str) -> bool:
        names = config.architectures or ()
        return any(name.endswith(self.heads) and not name.endswith(HEAD_SUFFIXES) for name in names)

    def resolve_settings(
        self, settings: TaskSettings, flags: TaskFlags, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase
    ) -> TaskSettings:
        pooling = read_pooling(Path(tokenizer.name_or_path))
        max_length = min(settings.max_length, pooling.max_length or settings.max_length)
        return replace(settings, max_length=max_length).with_specific(SimilaritySettings, pooling=pooling)

    def metric_names(self, labels: Labels | None) -> tuple[str, ...]:
        return metrics.names_for(Numbers(np.zeros(1), np.zeros(1)))

    def default_metrics(self, labels: Labels | None) -> tuple[str, ...]:
        return ("pearson", "spearman")  # and no error: cosines and labels are of two scales

    def headline_metric(self, settings: TaskSettings) -> str:
        return "spearman"


def _is_number(feature: object) -> bool:
    from datasets import Value

    return isinstance(feature, Value) and feature.dtype.startswith(("float", "int", "uint"))


def _pooling(settings: TaskSettings) -> Pooling:
    pooling = settings.of(SimilaritySettings).pooling
    if pooling is None:
        raise TypeError("the settings of sentence-similarity are made by `resolve_settings`")
    return pooling


def _tokenize(texts: Sequence[object], tokenizer: PreTrainedTokenizerBase, settings: TaskSettings) -> EncodedColumns:
    from datasets import Dataset

    spelled = Dataset.from_dict({"text": [_pooling(settings).with_prompt(str(text)) for text in texts]})
    return tokenize_rows(spelled, tokenizer, replace(settings, columns={"text": "text"}))


def _second_text(row: EncodedRow) -> EncodedRow:
    return {name.removeprefix(PAIR_PREFIX): value for name, value in row.items() if name.startswith(PAIR_PREFIX)}


def _cosines(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """Return the cosine of the two vectors of each row, (rows,)."""
    import torch

    mode = list(MODES)[int(batch["pooling"][0])]
    first, second = (
        pooled(model, {name: batch[f"{prefix}{name}"] for name in INPUTS if f"{prefix}{name}" in batch}, mode)
        for prefix in ("", PAIR_PREFIX)
    )
    return torch.nn.functional.cosine_similarity(first, second)
