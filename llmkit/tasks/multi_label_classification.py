"""multi-label-classification: any number of labels, none included, for a text or a pair of texts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from datasets import Dataset, concatenate_datasets
from scipy.special import expit
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from llmkit import metrics
from llmkit.data import label_sets
from llmkit.data import labels as label_names
from llmkit.data.columns import Row, usual_among
from llmkit.data.labels import Labels, Matching
from llmkit.data.predictions import as_probabilities, as_sets
from llmkit.errors import ModelError, OptionError
from llmkit.metrics.observations import Bools, Floats, LabelSets, Observations
from llmkit.options import TaskFlags
from llmkit.tasks.base.encoding import Collator
from llmkit.tasks.base.sequence_classification import SequenceTask, model_inputs, text_columns
from llmkit.tasks.base.settings import TaskSettings
from llmkit.tasks.encoding import divergences
from llmkit.tasks.encoding.collation import pad_batch

PROBLEM = "multi_label_classification"  # as transformers calls it, whose loss it chooses: one sigmoid for each label
LABELS = ("labels", "label", "topics", "categories", "classes", "genres", "tags", "标签", "类别")
METRICS = ("f1_micro", "f1_macro", "precision_micro", "recall_micro", "exact_match", "average_precision", "roc_auc")


class MultiLabelClassification(SequenceTask):
    """The labels whose probability reaches a threshold; each label has a probability of its own."""

    name = "multi-label-classification"
    pipeline_tag = "text-classification"  # the Hub has no name of its own for it
    supports_distillation = True
    roles = ("text", "pair", "labels")
    flags = frozenset({"threshold"})
    unusable_reason = "no text or no list of labels"

    def supports(self, config: PretrainedConfig) -> bool:
        return super().supports(config) and config.problem_type == PROBLEM

    def requirement(self) -> str:
        return 'a text (or two) and a list of labels (["price", "food"]; in a CSV as JSON)'

    def match(self, dataset: Dataset, given: dict[str, str]) -> dict[str, str] | None:
        named = usual_among(dataset.column_names, LABELS)
        return _columns(dataset, given, [name for name in named if label_sets.holds_sets(dataset, name)])

    def explicit_columns(self, dataset: Dataset, given: dict[str, str]) -> dict[str, str] | None:
        return _columns(dataset, given, usual_among(dataset.column_names, LABELS))

    def first_invalid_row(self, rows: Dataset, columns: dict[str, str]) -> tuple[int, str] | None:
        return label_sets.first_invalid_label_set(rows, columns["labels"]) if "labels" in columns else None

    def labels(self, train: Dataset, validation: Dataset | None, columns: dict[str, str]) -> Labels:
        column = columns["labels"]
        found = label_names.found_in(label_sets.single_labels(train, column), column)
        if validation is not None:
            held = [names or () for names in label_sets.sets_of(validation, column)]
            label_names.refuse_others(found, held, "validation")
        return found

    def class_column(self, dataset: Dataset, columns: dict[str, str]) -> str | None:
        return columns["labels"]

    def match_labels(
        self, dataset: Dataset, columns: dict[str, str], config: PretrainedConfig, mapping: dict[str, str]
    ) -> Matching:
        column = columns["labels"]
        return label_names.match(label_sets.single_labels(dataset, column), column, config, mapping)

    def has_labels(self, dataset: Dataset, columns: dict[str, str]) -> bool:
        column = columns["labels"]
        return column in dataset.column_names and any(cell not in (None, "") for cell in dataset[column][:])

    def targets(self, rows: Dataset, columns: dict[str, str]) -> list[Any]:
        return [None if held is None else frozenset(held) for held in label_sets.sets_of(rows, columns["labels"])]

    def check_settings(self, settings: TaskSettings) -> None:
        super().check_settings(settings)
        if settings.calibrate:
            raise OptionError("--threshold auto is for finetune, which tunes it on the validation rows; name a number")

    def resolve_settings(
        self, settings: TaskSettings, flags: TaskFlags, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase
    ) -> TaskSettings:
        labels = Labels.of_model(config) if settings.labels is None else settings.labels
        kept = kept_threshold(config) if self.supports(config) else TaskSettings.threshold
        tune = flags.threshold == "auto"
        threshold = kept if tune or flags.threshold is None else float(flags.threshold)
        return replace(settings, labels=labels, threshold=threshold, calibrate=tune)

    def head_config(self, settings: TaskSettings) -> dict[str, Any]:
        labels = settings.labels.config() if settings.labels else {}
        return {**labels, "problem_type": PROBLEM, "threshold": settings.threshold}

    def remark(self, rows: Dataset, settings: TaskSettings) -> str:
        counts = [len(held or ()) for held in label_sets.sets_of(rows, settings.columns["labels"])]
        reached = "that is tuned after training" if settings.calibrate else f"of {settings.threshold:g}"
        per_row = f"{sum(counts) / max(1, len(counts)):.1f} labels a row, none in {counts.count(0)} rows"
        return f"{per_row}; a label is predicted from a probability {reached}"

    def usable_rows(self, dataset: Dataset, columns: dict[str, str]) -> list[int]:
        texts = dataset[columns["text"]][:]
        held = label_sets.sets_of(dataset, columns["labels"])
        return [row for row, text in enumerate(texts) if held[row] is not None and str(text or "").strip()]

    def encode(
        self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings, training: bool
    ) -> Dataset:
        columns = model_inputs(rows, tokenizer, settings)
        if "labels" in settings.columns and settings.labels is not None:
            columns["labels"] = (
                _truth(rows, settings.columns["labels"], settings.labels.names).astype(np.float64).tolist()
            )
        return Dataset.from_dict(columns)

    def collator(self, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings) -> Collator:
        return lambda rows: pad_batch(rows, tokenizer, float)

    def divergence(
        self, student: torch.Tensor, teacher: torch.Tensor, batch: dict[str, Any], temperature: float
    ) -> torch.Tensor:
        return divergences.of_labels(student, teacher, temperature)

    def logits(self, model: PreTrainedModel, batch: dict[str, Any], place: int) -> torch.Tensor:
        """Return of each label two logits (labels, 2): that it does not hold, by the model's own threshold, or does."""
        held = super().logits(model, batch, place)
        threshold = kept_threshold(model.config)
        return torch.stack([torch.full_like(held, math.log(threshold / (1 - threshold))), held], dim=-1)

    def class_name(self, choice: int, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> str:
        return "holds" if choice else "does not hold"

    def evaluation_arrays(
        self, records: Sequence[Any], prepared: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings
    ) -> Observations:
        names = settings.labels.names if settings.labels else ()
        chances = expit(np.asarray(records, dtype=np.float64))
        if settings.merge is not None:
            chances = _merged(chances, settings.merge, len(names))
        truth = np.asarray(prepared["labels"], dtype=np.float64) > 0
        return LabelSets(truth, chances >= settings.threshold, names, chances)

    def calibrated(self, settings: TaskSettings, observations: Observations) -> tuple[TaskSettings, str]:
        if not isinstance(observations, LabelSets) or observations.probabilities is None:
            raise TypeError(f"a threshold is tuned on sets of labels, not on {type(observations).__name__}")
        threshold = best_threshold(observations.truth, observations.probabilities)
        then = replace(observations, predicted=observations.probabilities >= threshold)
        before, after = (metrics.value("f1_micro", some) for some in (observations, then))
        how = (
            f"threshold: {threshold:g}, which gives the best f1_micro of the {len(observations)} validation rows, "
            f"{after:.4f} ({before:.4f} at {settings.threshold:g})"
        )
        return replace(settings, threshold=threshold), how

    def format(
        self,
        records: Sequence[Any],
        prepared: Dataset,
        rows: Dataset,
        tokenizer: PreTrainedTokenizerBase,
        settings: TaskSettings,
        top: int | None,
    ) -> list[dict[str, Any]]:
        names = settings.labels.names if settings.labels else ()
        made = []
        for chances in expit(np.asarray(records, dtype=np.float64)):
            scores = {names[i]: float(chances[i]) for i in np.argsort(-chances, kind="stable")}
            held = [name for name, chance in scores.items() if chance >= settings.threshold]
            made.append({"labels": held, "scores": dict(list(scores.items())[:top])})
        return made

    def empty(self, settings: TaskSettings) -> dict[str, Any]:
        return {"labels": None, "scores": None}

    def headings(self) -> list[str]:
        return ["text", "label", "score", "holds"]

    def cells(self, row: Mapping[str, Any], answer: Mapping[str, Any]) -> list[str]:
        text = "\n".join(str(row[role]) for role in self.input_roles if role in row)
        scores = answer["scores"] or {}
        holds = ("yes" if name in answer["labels"] else "" for name in scores)
        return [text, "\n".join(scores), "\n".join(f"{score:.4f}" for score in scores.values()), "\n".join(holds)]

    def prediction_labels(self, parts: Sequence[Dataset], columns: dict[str, str]) -> Labels:
        column = columns["labels"]
        single = [label_sets.single_labels(part, column) for part in parts]
        return label_names.found_in(concatenate_datasets(single), column)

    def arrays_from_predictions(
        self, rows: Dataset, predictions: Sequence[Row], settings: TaskSettings
    ) -> Observations:
        names, column = settings.labels.names if settings.labels else (), settings.columns["labels"]
        places, by_id = [row["place"] for row in predictions], bool(label_sets.declared_in(rows, column))
        guesses = np.zeros((len(rows), len(names)), dtype=bool)
        for row, ids in enumerate(as_sets([row["prediction"] for row in predictions], names, places, by_id)):
            guesses[row, ids] = True
        given = [row["scores"] for row in predictions]
        scores = as_probabilities(given, names, places, by_id, exclusive=False)
        return LabelSets(_truth(rows, column, names), guesses, names, None if scores is None else np.asarray(scores))

    def metric_names(self, labels: Labels | None) -> tuple[str, ...]:
        none = np.zeros((1, len(labels.names) if labels else 1), dtype=bool)
        return metrics.names_for(LabelSets(none, none, labels.names if labels else ("",), none.astype(np.float64)))

    def default_metrics(self, labels: Labels | None) -> tuple[str, ...]:
        return METRICS

    def headline_metric(self, settings: TaskSettings) -> str:
        return "f1_micro"


def kept_threshold(config: PretrainedConfig) -> float:
    """Return the threshold that a model's config remembers, else 0.5.

    Raises:
        ModelError: it is no probability.
    """
    threshold = getattr(config, "threshold", TaskSettings.threshold)
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 < threshold < 1:
        raise ModelError(f"the model's config.json has the threshold {threshold!r}; a number between 0 and 1 is wanted")
    return float(threshold)


def best_threshold(truth: Bools, chances: Floats) -> float:
    """Return the threshold with the best micro F1 of probabilities (n, labels), rounded where that changes nothing.

    One for all labels: for the micro average the best threshold of true probabilities is the same for each (half of
    the F1 that it reaches), and one for each label would be tuned to the few rows that a rare label has. Of equals the
    nearest to 0.5; 0.5 where no label holds. Source: Lipton, Elkan, Narayanaswamy, Optimal Thresholding of Classifiers
    to Maximize F1 Measure, 2014.
    """
    order = np.argsort(-chances, axis=None, kind="stable")
    ranked, right = chances.ravel()[order], np.cumsum(truth.ravel()[order])
    ends = np.flatnonzero(np.append(np.diff(ranked) != 0, True))  # those of equal probability are taken together
    if not right[-1]:
        return TaskSettings.threshold
    scores = 2 * right[ends] / (ends + 1 + right[-1])
    above, below = ranked[ends], np.append(ranked[ends[1:]], 0.0)
    best = np.flatnonzero(scores == scores.max())
    middles = (above[best] + below[best]) / 2
    nearest = int(np.argmin(np.abs(middles - TaskSettings.threshold)))
    low, high, middle = below[best][nearest], above[best][nearest], float(middles[nearest])
    rounded = (round(middle, digits) for digits in range(2, 17))
    margin = (high - low) / 4  # the last digits of a probability depend on the batch
    return next((one for one in rounded if low + margin <= one <= high - margin), middle)


def _columns(dataset: Dataset, given: dict[str, str], lists: Sequence[str]) -> dict[str, str] | None:
    column = given.get("labels") or next(iter(lists), None)
    texts = text_columns(dataset, given, column) if column else {}
    return {**texts, "labels": column} if texts and column else None


def _merged(chances: Floats, merge: Sequence[int], labels: int) -> Floats:
    """Return the probability of each label (n, labels): the largest of those of the outputs that count towards it."""
    found = np.zeros((len(chances), labels))
    for output, number in enumerate(merge):
        found[:, number] = np.maximum(found[:, number], chances[:, output])
    return found


def _truth(rows: Dataset, column: str, names: Sequence[str]) -> Bools:
    """Return which labels hold of each row (n, labels)."""
    numbers = {name: number for number, name in enumerate(names)}
    truth = np.zeros((len(rows), len(names)), dtype=bool)
    for row, held in enumerate(label_sets.sets_of(rows, column)):
        truth[row, [numbers[name] for name in held or ()]] = True
    return truth
