"""zero-shot-classification: labels that no model was trained on, told at the command line.

With a model of natural language inference, the label is taken whose sentence ("This example is sport.") the text
entails the most, as transformers' own pipeline does (Yin et al., 2019). With a decoder, the label is taken that the
text makes likelier than it is anyway: log P(label | text) - log P(label | no text) (Holtzman et al., 2021, PMI_DC).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from datasets import Dataset
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from llmkit.data.labels import Labels, Matching
from llmkit.errors import OptionError, listing
from llmkit.metrics.observations import Classes, Observations
from llmkit.models.config import is_decoder
from llmkit.options import TaskFlags
from llmkit.tasks.base.alternatives import ENCODED, AlternativesTask, chances, encode_continuations, flat
from llmkit.tasks.base.sequence_classification import TEXT_COLUMNS
from llmkit.tasks.base.settings import TaskSettings
from llmkit.tasks.text_classification import TextClassification, label_ids, positive_class, ranked

HYPOTHESIS = "This example is {}."
PROMPT = "\nTopic: {}"
READER = TextClassification()  # labels and texts of a dataset are read in the same way


class ZeroShotClassification(AlternativesTask):
    """One of the labels that the user names, or that the dataset has, by entailment or by likelihood."""

    name = "zero-shot-classification"
    auto_class = "AutoModelForSequenceClassification"
    heads = ("ForSequenceClassification",)
    roles = ("text", "label")
    input_roles = ("text",)
    required_roles = ("text",)
    column_names: ClassVar[Mapping[str, tuple[str, ...]]] = {"text": TEXT_COLUMNS}
    flags = frozenset({"labels", "template"})
    commands = frozenset({"eval", "classify"})

    def supports(self, config: PretrainedConfig) -> bool:
        return is_decoder(config) or (super().supports(config) and entailment_of(config) is not None)

    def is_default_for(self, config: PretrainedConfig, verb: str) -> bool:
        return False  # labels to choose from say that it is wanted

    def requirement(self) -> str:
        return READER.columns.requirement()

    def match(self, dataset: Dataset, given: dict[str, str]) -> dict[str, str] | None:
        columns = READER.columns.match(dataset, given)
        return columns and {role: name for role, name in columns.items() if role in self.roles}

    def has_labels(self, dataset: Dataset, columns: dict[str, str]) -> bool:
        return READER.columns.has_labels(dataset, columns)

    def targets(self, rows: Dataset, columns: dict[str, str]) -> Sequence[object]:
        return READER.columns.targets(rows, columns)

    def class_column(self, dataset: Dataset, columns: dict[str, str]) -> str | None:
        return READER.columns.class_column(dataset, columns)

    def match_labels(
        self, dataset: Dataset, columns: dict[str, str], config: PretrainedConfig, mapping: dict[str, str]
    ) -> Matching | None:
        if mapping:
            raise OptionError("--label-map is for a model's own labels; --labels names those of zero-shot, in order")
        return Matching(READER.columns.prediction_labels([dataset], columns) or Labels(()))

    def check_settings(self, settings: TaskSettings) -> None:
        READER.check_settings(settings)

    def resolve_settings(
        self, settings: TaskSettings, flags: TaskFlags, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase
    ) -> TaskSettings:
        own = settings.labels.names if settings.labels else ()
        names = flags.label_names or own
        if not names:
            raise OptionError(f'{self.name} needs labels to choose from: --labels "sport,politics"')
        if own and len(own) != len(names):
            raise OptionError(
                f"--labels names {len(names)} labels, and the dataset has {len(own)}: {listing(own)}; one for each, "
                "in this order, is wanted"
            )
        template = flags.template or (PROMPT if is_decoder(config) else HYPOTHESIS)
        likelihood = is_decoder(config)
        return replace(
            settings, labels=Labels(own or names), candidates=names, template=template, likelihood=likelihood
        )

    def remark(self, rows: Dataset, settings: TaskSettings) -> str | None:
        how = "its likelihood beyond that without a text" if settings.likelihood else "entailment"
        return f"each label by {how}, as {settings.template!r}: {listing(settings.candidates)}"

    def usable_rows(self, dataset: Dataset, columns: dict[str, str]) -> list[int]:
        return READER.columns.usable_rows(dataset, columns)

    def encode(
        self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings, training: bool
    ) -> Dataset:
        texts = [str(text) for text in rows[settings.columns["text"]][:]]
        truth = (
            label_ids(rows, settings.columns["label"], settings.labels or Labels(()))
            if "label" in settings.columns
            else None
        )
        if settings.likelihood:
            texts.append("")  # the last prepared row is of no text: how likely the labels are anyway
        made = [_encoded(text, tokenizer, settings) for text in texts]
        columns = {name: [row[name] for row in made] for name in made[0]}
        columns["row"] = list(range(len(made)))
        if truth is not None:
            columns["label_id"] = [*truth, *[-1] * (len(made) - len(truth))]
        return Dataset.from_dict(columns)

    def head_scores(self, model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        rows, alternatives = inputs["input_ids"].shape[:2]
        entailment = entailment_of(model.config)
        scores: torch.Tensor = model(**flat(inputs)).logits[:, entailment].reshape(rows, alternatives)
        return scores

    def evaluation_arrays(
        self, records: Sequence[Any], prepared: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings
    ) -> Observations:
        scores = _compared(records, settings)
        truth = np.array(prepared["label_id"][: len(scores)], dtype=np.int64)
        found = np.array([chances(some) for some in scores])
        names = settings.labels.names if settings.labels else ()
        return Classes(truth, found.argmax(-1), names, found, positive_class(settings))

    def unit_rows(self, prepared: Dataset, settings: TaskSettings) -> list[int]:
        return list(range(len(prepared) - settings.likelihood))

    def metric_names(self, labels: Labels | None) -> tuple[str, ...]:
        return READER.metric_names(labels)

    def default_metrics(self, labels: Labels | None) -> tuple[str, ...]:
        return READER.default_metrics(labels)

    def headline_metric(self, settings: TaskSettings) -> str:
        return "accuracy"

    def format(
        self,
        records: Sequence[Any],
        prepared: Dataset,
        rows: Dataset,
        tokenizer: PreTrainedTokenizerBase,
        settings: TaskSettings,
        top: int | None,
    ) -> list[dict[str, Any]]:
        method = "likelihood" if settings.likelihood else "nli"
        scores = _compared(records, settings)
        return [{**ranked(chances(some), settings.candidates, top), "method": method} for some in scores]

    def empty(self, settings: TaskSettings) -> dict[str, Any]:
        return {"label": None, "score": None, "scores": None, "method": None}

    def headings(self) -> list[str]:
        return READER.answers.headings()

    def cells(self, row: Mapping[str, Any], answer: dict[str, Any]) -> list[str]:
        return READER.answers.cells(row, answer)


def entailment_of(config: PretrainedConfig) -> int | None:
    """Return the class of a model of natural language inference that says "the text entails it", or None."""
    found = [number for number, name in (config.id2label or {}).items() if str(name).lower().startswith("entail")]
    return int(found[0]) if found and len(config.id2label) > 1 else None


def _encoded(text: str, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings) -> dict[str, Any]:
    """Return the tokens of a text with each label; for a decoder also where the label begins."""
    names = settings.candidates
    if not settings.likelihood:
        sentences = [settings.template.replace("{}", name) for name in names]
        encoded = tokenizer([text] * len(names), sentences, truncation="only_first", max_length=settings.max_length)
        made = {name: encoded[name] for name in ENCODED if name in encoded}
        return {**made, "length": max(map(len, encoded["input_ids"]))}
    before, _, after = settings.template.partition("{}")
    contexts = [f"{text}{before}" for _ in names]
    ids, firsts = encode_continuations(contexts, [f"{name}{after}" for name in names], tokenizer, settings.max_length)
    return {"input_ids": ids, "first": firsts, "length": max(map(len, ids))}


def _compared(records: Sequence[Any], settings: TaskSettings) -> list[Any]:
    """Return the scores of the labels of each text: of a decoder, beyond those that it gives them without a text."""
    if not settings.likelihood:
        return list(records)
    anyway = np.asarray(records[-1], dtype=np.float64)
    return [np.asarray(record, dtype=np.float64) - anyway for record in records[:-1]]
