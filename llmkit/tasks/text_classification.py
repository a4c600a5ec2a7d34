"""text-classification: one label for a text or a pair of texts, or a number (regression)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from llmkit import metrics
from llmkit.data import labels as label_names
from llmkit.data.columns import Row, are_blank, concatenated, dataset_of
from llmkit.data.evidence import Evidence
from llmkit.data.labels import Labels, Matching
from llmkit.data.predictions import (
    as_classes,
    as_numbers,
    as_probabilities,
    measured_in,
    remark_on_labels,
    with_predicted,
)
from llmkit.errors import OptionError, did_you_mean, listing
from llmkit.metrics.observations import Classes, Floats, Numbers, Observations, softmax
from llmkit.models.config import is_regression, output_names
from llmkit.options import AskOptions, TaskFlags
from llmkit.tasks.base.answers import Answer, Prediction
from llmkit.tasks.base.candidates import Candidate
from llmkit.tasks.base.class_scores import ranked, score_cells
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
from llmkit.tasks.encoding.merged_outputs import merged_probabilities
from llmkit.tasks.matching.classes import class_candidates, with_labels_read

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

# https://gluebenchmark.com/tasks: the first of each is the headline here
GLUE_METRICS = {
    "glue/cola": ("matthews_correlation",),
    "glue/stsb": ("pearson", "spearman"),
    "glue/mrpc": ("f1", "accuracy"),
    "glue/qqp": ("f1", "accuracy"),
    **{f"glue/{name}": ("accuracy",) for name in ("sst2", "mnli", "qnli", "rte", "wnli", "ax")},
}
CLASS_METRICS = ("accuracy", "precision", "recall", "f1", "matthews_correlation", "brier", "ece")
REGRESSION_METRICS = ("pearson", "spearman", "mse")


class ClassColumns(SequenceColumns):
    """A text or two and a label: a class, or a float."""

    roles: ClassVar[tuple[str, ...]] = ("text", "pair", "label")

    def requirement(self) -> str:
        return "a text (or two) and a label"

    def candidates(self, evidence: Evidence, given: Mapping[str, str], flags: TaskFlags) -> list[Candidate]:
        return class_candidates(evidence, given)

    def refine(
        self, candidate: Candidate, evidence: Evidence, flags: TaskFlags, config: PretrainedConfig | None
    ) -> Candidate:
        if flags.regression is not None or config is None:
            return with_labels_read(candidate, evidence, flags.regression)
        label = evidence.columns.get(candidate.columns["label"])
        of_model = is_regression(config)
        could_be = label is not None and (label.is_number or label.pattern == "number")
        is_whole = label is not None and not label.has_fractions
        settled = could_be and (of_model or is_whole)  # else what the labels are, which is refused then
        return with_labels_read(candidate, evidence, of_model if settled else None)

    def labels(self, train: Dataset, validation: Dataset | None, columns: dict[str, str]) -> Labels:
        labels = label_names.found_in(train, columns["label"])
        if validation is not None:
            label_names.refuse_unseen(labels, validation, columns["label"], "validation")
        return labels

    def prediction_labels(self, parts: Sequence[Dataset], columns: dict[str, str]) -> Labels:
        column = columns["label"]
        return measured_in(concatenated([part.select_columns([column]) for part in parts]), column)

    def match_labels(
        self, dataset: Dataset, columns: dict[str, str], config: PretrainedConfig, mapping: dict[str, str]
    ) -> Matching:
        return label_names.match(dataset, columns["label"], Labels(output_names(config)), mapping)

    def class_column(self, dataset: Dataset, columns: dict[str, str]) -> str | None:
        return None if label_names.is_number(dataset, columns["label"]) else columns["label"]

    def has_labels(self, dataset: Dataset, columns: dict[str, str]) -> bool:
        column = columns["label"]
        if column not in dataset.column_names:
            return False
        if label_names.is_number(dataset, column):
            values = [value for value in dataset[column][:] if value is not None]
            return bool(values) and set(values) != {-1.0}  # GLUE hides test labels as -1
        names = set(label_names.names_of(dataset, column))
        return bool(names - {None}) and names != {"-1"}

    def targets(self, rows: Dataset, columns: dict[str, str]) -> Sequence[object]:
        is_number = label_names.is_number(rows, columns["label"])
        return super().targets(rows, columns) if is_number else label_names.names_of(rows, columns["label"])

    def usable_rows(self, dataset: Dataset, columns: dict[str, str]) -> list[int]:
        usable = ~are_blank(dataset, columns["text"])
        if "label" in columns:
            usable &= [name is not None for name in label_names.names_of(dataset, columns["label"])]
        return [int(place) for place in np.flatnonzero(usable)]


class ClassEncoding(SequenceEncoding):
    """The tokens of a text or two; `labels` are the ids of classes, or numbers."""

    def encode(
        self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings, training: bool
    ) -> Dataset:
        columns = tokenize_rows(rows, tokenizer, settings)
        if "label" in settings.columns and settings.labels is not None:
            columns["labels"] = label_ids(rows, settings.columns["label"], settings.labels)
        return dataset_of(columns)

    def collator(self, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings) -> Collator:
        label_type = float if settings.labels and settings.labels.regression else int
        return lambda rows: pad_batch(rows, tokenizer, label_type)


class ClassAnswers(SequenceAnswers):
    """The best label and the probability of each, or a number."""

    def pooled(self, windows: Sequence[Prediction], pooling: str, settings: TaskSettings) -> Prediction:
        logits = np.asarray(windows, dtype=np.float64)
        if not settings.class_names:
            return list(over_windows(logits, pooling))
        probabilities = over_windows(softmax(logits), pooling)
        return list(np.log(np.maximum(probabilities, np.finfo(np.float64).tiny)))  # softmax makes them add up to 1

    has_margins = True

    def margins(self, predictions: Sequence[Prediction], settings: TaskSettings) -> Floats:
        ordered = np.sort(np.asarray(predictions, dtype=np.float64), axis=-1)
        return ordered[:, -1] - ordered[:, -2]

    def evaluation_arrays(
        self,
        predictions: Sequence[Prediction],
        encoded: Dataset,
        tokenizer: PreTrainedTokenizerBase,
        settings: TaskSettings,
    ) -> Observations:
        logits, names = np.asarray(predictions, dtype=np.float64), settings.class_names
        if not names:
            return Numbers(np.asarray(encoded["labels"][:], dtype=np.float64), logits[:, 0])
        probabilities = softmax(logits)
        if settings.merge is not None:
            probabilities = merged_probabilities(probabilities, settings.merge, len(names))
        predicted = (logits if settings.merge is None else probabilities).argmax(-1)
        truth = np.asarray(encoded["labels"][:], dtype=np.int64)
        return Classes(truth, predicted, names, probabilities, positive_class(settings))

    def arrays_from_predictions(
        self, rows: Dataset, predictions: Sequence[Row], settings: TaskSettings
    ) -> Observations:
        from datasets import ClassLabel

        column, labels = settings.columns["label"], with_predicted(settings.labels or Labels(()), predictions)
        values, places = [row["prediction"] for row in predictions], [row["place"] for row in predictions]
        truth = label_ids(rows, column, labels)
        if labels.regression:
            return Numbers(np.asarray(truth, dtype=np.float64), np.asarray(as_numbers(values, places)))
        by_id = isinstance(rows.features[column], ClassLabel)
        scores = as_probabilities([row["scores"] for row in predictions], labels.names, places, by_id)
        return Classes(
            np.asarray(truth, dtype=np.int64),
            np.asarray(as_classes(values, labels.names, places, by_id), dtype=np.int64),
            labels.names,
            None if scores is None else np.asarray(scores),
            positive_class(replace(settings, labels=labels)),
        )

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
        if not settings.class_names:
            return [{"score": float(logits[0])} for logits in predictions]
        return [ranked(softmax(logits), settings.class_names, top) for logits in predictions]

    def empty(self, settings: TaskSettings) -> Answer:
        return {"label": None, "score": None, "scores": None} if settings.class_names else {"score": None}

    def cells(self, row: Row, answer: Answer) -> list[str]:
        return score_cells(text_cell(row), answer)


class TextClassification(SequenceTask):
    """Labels for texts and pairs; F1, precision and recall are of the positive class when there are two."""

    name = "text-classification"
    columns = ClassColumns(name)
    encoding = ClassEncoding(name)
    answers = ClassAnswers(name, encoding)
    flags = frozenset({"regression"})
    supports_distillation = True

    def supports(self, config: PretrainedConfig) -> bool:
        return super().supports(config) and config.problem_type != "multi_label_classification"

    def check_settings(self, settings: TaskSettings) -> None:
        if settings.positive is None or (settings.labels is not None and settings.labels.regression):
            super().check_settings(settings)
        else:
            super().check_settings(replace(settings, positive=None))
            positive_class(settings)

    def resolve_settings(
        self, settings: TaskSettings, flags: TaskFlags, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase
    ) -> TaskSettings:
        if flags.regression is not None and isinstance(flags, AskOptions):
            raise OptionError(
                "--regression and --classes are about the labels of rows, and a text to classify has none"
            )
        return settings if settings.labels is not None else replace(settings, labels=Labels(output_names(config)))

    def head_config(self, settings: TaskSettings) -> dict[str, object]:
        return settings.labels.config() if settings.labels else {}

    def metric_names(self, labels: Labels | None) -> tuple[str, ...]:
        number, label_id = np.zeros(1), np.zeros(1, dtype=np.int64)
        if labels is None or labels.regression:
            return metrics.names_for(Numbers(number, number))
        names = labels.names if len(labels.names) > 1 else (*labels.names, "")  # a second can turn up in predictions
        return metrics.names_for(Classes(label_id, label_id, names, np.ones((1, len(names)))))

    def default_metrics(self, labels: Labels | None) -> tuple[str, ...]:
        return REGRESSION_METRICS if labels is None or labels.regression else CLASS_METRICS

    def headline_metric(self, settings: TaskSettings) -> str:
        if settings.labels is not None and settings.labels.regression:
            return "pearson"
        metric = GLUE_METRICS.get(settings.benchmark or "", ("f1",))[0]
        return metric if metric in CLASS_METRICS else "f1"

    def divergence(
        self, student: torch.Tensor, teacher: torch.Tensor, batch: Batch, temperature: float
    ) -> torch.Tensor:
        if batch["labels"].is_floating_point():
            return divergences.of_numbers(student, teacher)
        return divergences.of_classes(student, teacher, temperature)

    def supports_label_smoothing(self, settings: TaskSettings) -> bool:
        return bool(settings.class_names)

    def class_counts(self, encoded: Dataset, settings: TaskSettings) -> list[int] | None:
        if not settings.class_names:
            return None
        counts: list[int] = np.bincount(encoded["labels"][:], minlength=len(settings.class_names)).tolist()
        return counts


def positive_class(settings: TaskSettings) -> int | None:
    """Return the id of the class that F1 is of: the one named, else 1 of two; None means the mean over the classes.

    Raises:
        OptionError: the named class is not among the labels.
    """
    names = settings.class_names
    if settings.positive is None:
        return 1 if len(names) == 2 else None
    if settings.positive not in names:
        near = did_you_mean(settings.positive, names)
        raise OptionError(f"--positive: there is no label {settings.positive!r}{near}; there are {listing(names)}")
    return names.index(settings.positive)


def label_ids(rows: Dataset, column: str, labels: Labels) -> list[int] | list[float]:
    """Return the id among the labels of each row that has one, or the number of each row in a regression."""
    if labels.regression:
        return [float(value) for value in rows[column][:]]
    ids = {name: number for number, name in enumerate(labels.names)}
    return [ids[name] for name in label_names.names_of(rows, column) if name is not None]
