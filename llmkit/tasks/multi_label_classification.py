"""multi-label-classification: any number of labels, none included, for a text or a pair of texts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from llmkit import metrics
from llmkit.data import label_sets
from llmkit.data import labels as label_names
from llmkit.data.columns import Row, concatenated, dataset_of, text_of, usual_among
from llmkit.data.evidence import Evidence
from llmkit.data.labels import Labels, Matching
from llmkit.data.predictions import as_probabilities, as_sets, measured_in, remark_on_labels, with_predicted
from llmkit.errors import ModelError, OptionError
from llmkit.metrics.observations import Bools, Floats, LabelSets, Observations
from llmkit.metrics.thresholds import DEFAULT_THRESHOLD, best_threshold
from llmkit.models.config import MULTI_LABEL, output_names
from llmkit.options import TaskFlags
from llmkit.tasks.base.answers import Answer, Prediction
from llmkit.tasks.base.candidates import Candidate
from llmkit.tasks.base.class_scores import logits_of, probabilities_of
from llmkit.tasks.base.encoding import Batch, Collator
from llmkit.tasks.base.sequence_classification import (
    SequenceAnswers,
    SequenceColumns,
    SequenceEncoding,
    SequenceTask,
    over_windows,
    text_cell,
    tokenize_rows,
)
from llmkit.tasks.base.settings import TaskSettings
from llmkit.tasks.encoding import divergences
from llmkit.tasks.encoding.collation import pad_batch
from llmkit.tasks.encoding.merged_outputs import largest_probabilities
from llmkit.tasks.matching.classes import text_choices
from llmkit.tasks.matching.label_lists import LISTS, label_list_candidates, with_label_lists_read

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

PROBLEM_TYPE = MULTI_LABEL  # transformers chooses the loss by it: one sigmoid for each label
METRICS = ("f1_micro", "f1_macro", "precision_micro", "recall_micro", "exact_match", "average_precision", "roc_auc")


@dataclass(frozen=True)
class MultiLabelSettings:
    """What multi-label classification alone settles."""

    threshold: float = DEFAULT_THRESHOLD  # the probability from which on a label holds


class MultiLabelColumns(SequenceColumns):
    """A text or two and a list of the labels that hold."""

    roles = ("text", "pair", "labels")
    unusable_reason = "no text or no list of labels"

    def requirement(self) -> str:
        return 'a text (or two) and a list of labels (["price", "food"]; in a CSV as JSON)'

    def candidates(self, evidence: Evidence, given: Mapping[str, str], flags: TaskFlags) -> list[Candidate]:
        return label_list_candidates(evidence, given, flags.label_separator)

    def refine(
        self, candidate: Candidate, evidence: Evidence, flags: TaskFlags, config: PretrainedConfig | None
    ) -> Candidate:
        return with_label_lists_read(candidate, evidence, flags.label_separator)

    def explicit_columns(self, dataset: Dataset, given: dict[str, str]) -> dict[str, str] | None:
        usual = usual_among(dataset.column_names, LISTS)
        texts = text_choices(Evidence(dataset), given, usual[0]) if usual else []
        return {**texts[0], "labels": usual[0]} if texts else None

    def first_invalid_row(self, rows: Dataset, columns: dict[str, str]) -> tuple[int, str] | None:
        return label_sets.first_invalid_label_set(rows, columns["labels"]) if "labels" in columns else None

    def labels(self, train: Dataset, validation: Dataset | None, columns: dict[str, str]) -> Labels:
        column = columns["labels"]
        labels = label_names.found_in(label_sets.single_labels(train, column), column)
        if validation is not None:
            validation_labels = [names or () for names in label_sets.sets_of(validation, column)]
            label_names.refuse_others(labels, validation_labels, "validation")
        return labels

    def prediction_labels(self, parts: Sequence[Dataset], columns: dict[str, str]) -> Labels:
        column = columns["labels"]
        single = [label_sets.single_labels(part, column) for part in parts]
        return measured_in(concatenated(single), column)

    def match_labels(
        self, dataset: Dataset, columns: dict[str, str], config: PretrainedConfig, mapping: dict[str, str]
    ) -> Matching:
        column = columns["labels"]
        return label_names.match(
            label_sets.single_labels(dataset, column), column, Labels(output_names(config)), mapping
        )

    def class_column(self, dataset: Dataset, columns: dict[str, str]) -> str | None:
        return columns["labels"]

    def has_labels(self, dataset: Dataset, columns: dict[str, str]) -> bool:
        column = columns["labels"]
        return column in dataset.column_names and any(cell not in (None, "") for cell in dataset[column][:])

    def targets(self, rows: Dataset, columns: dict[str, str]) -> Sequence[object]:
        return [None if names is None else frozenset(names) for names in label_sets.sets_of(rows, columns["labels"])]

    def usable_rows(self, dataset: Dataset, columns: dict[str, str]) -> list[int]:
        texts, labels = dataset[columns["text"]][:], label_sets.sets_of(dataset, columns["labels"])
        return [index for index, text in enumerate(texts) if labels[index] is not None and text_of(text).strip()]


class MultiLabelEncoding(SequenceEncoding):
    """The tokens of a text or two; `labels` (rows, labels) are 1.0 where a label holds."""

    def encode(
        self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings, training: bool
    ) -> Dataset:
        columns = tokenize_rows(rows, tokenizer, settings)
        if "labels" in settings.columns and settings.labels is not None:
            truth = _multi_hot(rows, settings.columns["labels"], settings.labels.names)
            columns["labels"] = truth.astype(np.float64).tolist()
        return dataset_of(columns)

    def collator(self, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings) -> Collator:
        return lambda rows: pad_batch(rows, tokenizer, float)


class MultiLabelAnswers(SequenceAnswers):
    """The labels whose probability reaches the threshold, and the probability of each."""

    def pooled(self, windows: Sequence[Prediction], pooling: str, settings: TaskSettings) -> Prediction:
        return list(logits_of(over_windows(probabilities_of(windows), pooling)))

    def logits(self, model: PreTrainedModel, batch: Batch, index: int) -> torch.Tensor:
        """Return of each label two logits (labels, 2): that it does not hold, by the model's own threshold, or does."""
        import torch

        logits = super().logits(model, batch, index)
        threshold = config_threshold(model.config)
        return torch.stack([torch.full_like(logits, math.log(threshold / (1 - threshold))), logits], dim=-1)

    def class_name(self, number: int, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> str:
        return "holds" if number else "does not hold"

    has_margins = True

    def margins(self, predictions: Sequence[Prediction], settings: TaskSettings) -> Floats:
        threshold = settings.of(MultiLabelSettings).threshold
        nearest: Floats = np.abs(np.asarray(predictions) - math.log(threshold / (1 - threshold))).min(-1)
        return nearest

    def evaluation_arrays(
        self,
        predictions: Sequence[Prediction],
        encoded: Dataset,
        tokenizer: PreTrainedTokenizerBase,
        settings: TaskSettings,
    ) -> Observations:
        names, probabilities = settings.class_names, probabilities_of(predictions)
        if settings.merge is not None:
            probabilities = largest_probabilities(probabilities, settings.merge, len(names))
        truth = np.asarray(encoded["labels"], dtype=np.float64) > 0
        return LabelSets(truth, probabilities >= settings.of(MultiLabelSettings).threshold, names, probabilities)

    def arrays_from_predictions(
        self, rows: Dataset, predictions: Sequence[Row], settings: TaskSettings
    ) -> Observations:
        names, column = with_predicted(Labels(settings.class_names), predictions).names, settings.columns["labels"]
        places, by_id = [row["place"] for row in predictions], bool(label_sets.declared_in(rows, column))
        predicted = np.zeros((len(rows), len(names)), dtype=bool)
        for index, ids in enumerate(as_sets([row["prediction"] for row in predictions], names, places, by_id)):
            predicted[index, ids] = True
        scores = as_probabilities([row["scores"] for row in predictions], names, places, by_id, exclusive=False)
        probabilities = None if scores is None else np.asarray(scores)
        return LabelSets(_multi_hot(rows, column, names), predicted, names, probabilities)

    def remark_on_predictions(self, rows: Dataset, predictions: Sequence[Row], settings: TaskSettings) -> str | None:
        return remark_on_labels(settings.labels or Labels(()), predictions)

    def format(
        self,
        predictions: Sequence[Prediction],
        encoded: Dataset,
        rows: Dataset,
        tokenizer: PreTrainedTokenizerBase,
        settings: TaskSettings,
        top: int | None,
    ) -> list[Answer]:
        names, threshold = settings.class_names, settings.of(MultiLabelSettings).threshold
        answers: list[Answer] = []
        for probabilities in probabilities_of(predictions):
            scores = {names[i]: float(probabilities[i]) for i in np.argsort(-probabilities, kind="stable")}
            labels = [name for name, score in scores.items() if score >= threshold]
            answers.append({"labels": labels, "scores": dict(list(scores.items())[:top])})
        return answers

    def empty(self, settings: TaskSettings) -> Answer:
        return {"labels": None, "scores": None}

    def headings(self) -> list[str]:
        return ["text", "label", "score", "holds"]

    def cells(self, row: Row, answer: Answer) -> list[str]:
        scores = answer["scores"] or {}
        holds = ("yes" if name in answer["labels"] else "" for name in scores)
        numbers = (f"{score:.4f}" for score in scores.values())
        return [text_cell(row), "\n".join(scores), "\n".join(numbers), "\n".join(holds)]


class MultiLabelClassification(SequenceTask):
    """The labels whose probability reaches a threshold; each label has a probability of its own."""

    name = "multi-label-classification"
    pipeline_tag = "text-classification"  # the Hub has no name of its own for it
    flags = frozenset({"threshold", "label_separator"})
    columns = MultiLabelColumns(name)
    encoding = MultiLabelEncoding(name)
    answers = MultiLabelAnswers(name, encoding)
    supports_distillation = True

    def supports(self, config: PretrainedConfig) -> bool:
        return super().supports(config) and config.problem_type == PROBLEM_TYPE

    def check_settings(self, settings: TaskSettings) -> None:
        super().check_settings(settings)
        if settings.calibrate:
            raise OptionError("--threshold auto is for finetune, which tunes it on the validation rows; name a number")

    def resolve_settings(
        self, settings: TaskSettings, flags: TaskFlags, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase
    ) -> TaskSettings:
        labels = Labels(output_names(config)) if settings.labels is None else settings.labels
        threshold = config_threshold(config) if self.supports(config) else DEFAULT_THRESHOLD
        calibrate = flags.threshold == "auto"
        if flags.threshold is not None and not calibrate:
            threshold = float(flags.threshold)
        return replace(settings, labels=labels, calibrate=calibrate).with_specific(
            MultiLabelSettings, threshold=threshold
        )

    def head_config(self, settings: TaskSettings) -> dict[str, object]:
        labels = settings.labels.config() if settings.labels else {}
        return {**labels, "problem_type": PROBLEM_TYPE, "threshold": settings.of(MultiLabelSettings).threshold}

    def calibrated(self, settings: TaskSettings, observations: Observations) -> tuple[TaskSettings, str]:
        if not isinstance(observations, LabelSets) or observations.probabilities is None:
            raise TypeError(f"a threshold is tuned on sets of labels, not on {type(observations).__name__}")
        threshold = best_threshold(observations.truth, observations.probabilities)
        calibrated = replace(observations, predicted=observations.probabilities >= threshold)
        before, after = (metrics.value("f1_micro", arrays) for arrays in (observations, calibrated))
        how = (
            f"threshold: {threshold:g}, which gives the best f1_micro of the {len(observations)} validation rows, "
            f"{after:.4f} ({before:.4f} at {settings.of(MultiLabelSettings).threshold:g})"
        )
        return settings.with_specific(MultiLabelSettings, threshold=threshold), how

    def remark(self, rows: Dataset, settings: TaskSettings) -> str:
        counts = [len(names or ()) for names in label_sets.sets_of(rows, settings.columns["labels"])]
        threshold = f"of {settings.of(MultiLabelSettings).threshold:g}"
        reached = "that is tuned after training" if settings.calibrate else threshold
        per_row = f"{sum(counts) / max(1, len(counts)):.1f} labels a row, none in {counts.count(0)} rows"
        return f"{per_row}; a label is predicted from a probability {reached}"

    def metric_names(self, labels: Labels | None) -> tuple[str, ...]:
        none = np.zeros((1, len(labels.names) if labels else 1), dtype=bool)
        return metrics.names_for(LabelSets(none, none, labels.names if labels else ("",), none.astype(np.float64)))

    def default_metrics(self, labels: Labels | None) -> tuple[str, ...]:
        return METRICS

    def headline_metric(self, settings: TaskSettings) -> str:
        return "f1_micro"

    def divergence(
        self, student: torch.Tensor, teacher: torch.Tensor, batch: Batch, temperature: float
    ) -> torch.Tensor:
        return divergences.of_labels(student, teacher, temperature)


def config_threshold(config: PretrainedConfig) -> float:
    """Return the threshold that a model's config remembers, else 0.5.

    Raises:
        ModelError: it is no probability.
    """
    threshold = getattr(config, "threshold", DEFAULT_THRESHOLD)
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 < threshold < 1:
        raise ModelError(f"the model's config.json has the threshold {threshold!r}; a number between 0 and 1 is wanted")
    return float(threshold)


def _multi_hot(rows: Dataset, column: str, names: Sequence[str]) -> Bools:
    """Return which labels hold of each row (n, labels)."""
    ids = {name: number for number, name in enumerate(names)}
    truth = np.zeros((len(rows), len(names)), dtype=bool)
    for index, labels in enumerate(label_sets.sets_of(rows, column)):
        truth[index, [ids[name] for name in labels or ()]] = True
    return truth
