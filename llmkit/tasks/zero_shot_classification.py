"""zero-shot-classification: labels that no model was trained on, given at the command line.

With a model of natural language inference, the label is taken whose sentence ("This example is sport.") the text
entails the most, as transformers' own pipeline does (Yin et al., 2019). With a decoder, the label is taken that the
text makes likelier than it is anyway: log P(label | text) - log P(label | no text) (Holtzman et al., 2021, PMI_DC).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from llmkit.data.columns import Row, text_of
from llmkit.data.evidence import Evidence
from llmkit.data.labels import Labels, Matching
from llmkit.errors import OptionError, listing
from llmkit.metrics.observations import Classes, Floats, Observations, softmax
from llmkit.models.config import is_decoder
from llmkit.options import TaskFlags
from llmkit.tasks.base.alternatives import (
    TOKEN_COLUMNS,
    AlternativesAnswers,
    AlternativesEncoding,
    AlternativesSettings,
    AlternativesTask,
    encode_continuations,
    flatten_alternatives,
)
from llmkit.tasks.base.answers import Answer, Prediction
from llmkit.tasks.base.candidates import Candidate
from llmkit.tasks.base.class_scores import ranked, score_cells
from llmkit.tasks.base.columns import Columns
from llmkit.tasks.base.encoding import Batch, EncodedRow
from llmkit.tasks.base.sequence_classification import TEXT_COLUMNS, text_cell
from llmkit.tasks.base.settings import TaskSettings
from llmkit.tasks.matching.classes import with_labels_read
from llmkit.tasks.text_classification import ClassColumns, TextClassification, label_ids, positive_class

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

HYPOTHESIS_TEMPLATE = "This example is {}."
PROMPT_TEMPLATE = "\nTopic: {}"


@dataclass(frozen=True)
class ZeroShotSettings(AlternativesSettings):
    """What zero-shot classification alone settles; the template is that of a sentence that a label completes."""

    candidates: tuple[str, ...] = ()  # the labels to choose from


class ZeroShotColumns(ClassColumns):
    """Texts and labels as text classification finds them, without pairs; the labels need not be the model's."""

    roles = ("text", "label")
    input_roles = ("text",)
    column_names: ClassVar[Mapping[str, tuple[str, ...]]] = {"text": TEXT_COLUMNS}

    def candidates(self, evidence: Evidence, given: Mapping[str, str], flags: TaskFlags) -> list[Candidate]:
        found = super().candidates(evidence, given, flags)
        return [replace(each, columns=self._of_one_text(each.columns)) for each in found]

    def refine(
        self, candidate: Candidate, evidence: Evidence, flags: TaskFlags, config: PretrainedConfig | None
    ) -> Candidate:
        return with_labels_read(candidate, evidence, regression=False)

    def _of_one_text(self, columns: dict[str, str]) -> dict[str, str]:
        return {role: name for role, name in columns.items() if role in self.roles}

    def match_file(self, rows: Sequence[Row], given: dict[str, str]) -> dict[str, str]:
        return Columns.match_file(self, rows, given)

    def match_labels(
        self, dataset: Dataset, columns: dict[str, str], config: PretrainedConfig, mapping: dict[str, str]
    ) -> Matching:
        if mapping:
            raise OptionError("--label-map is for a model's own labels; --labels names those of zero-shot, in order")
        return Matching(self.prediction_labels([dataset], columns))


class ZeroShotEncoding(AlternativesEncoding):
    """The tokens of each text with each label; of a decoder, also of no text with each label."""

    def encode(
        self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings, training: bool
    ) -> Dataset:
        from datasets import Dataset

        texts = [text_of(text) for text in rows[settings.columns["text"]][:]]
        if settings.of(ZeroShotSettings).likelihood:
            texts.append("")  # the last encoded row is of no text: how likely the labels are anyway
        encoded = [_encode_text(text, tokenizer, settings) for text in texts]
        columns = {name: [row[name] for row in encoded] for name in encoded[0]}
        columns["row"] = list(range(len(encoded)))
        if "label" in settings.columns:
            truth = label_ids(rows, settings.columns["label"], settings.labels or Labels(()))
            columns["label_id"] = [*truth, *[-1] * (len(encoded) - len(truth))]
        return Dataset.from_dict(columns)


class ZeroShotAnswers(AlternativesAnswers):
    """The best of the candidates, and how likely each is among them."""

    def head_scores(self, model: PreTrainedModel, inputs: Batch) -> torch.Tensor:
        rows, alternatives = inputs["input_ids"].shape[:2]
        entailment = entailment_of(model.config)
        scores: torch.Tensor = model(**flatten_alternatives(inputs)).logits[:, entailment].reshape(rows, alternatives)
        return scores

    def evaluation_arrays(
        self,
        predictions: Sequence[Prediction],
        encoded: Dataset,
        tokenizer: PreTrainedTokenizerBase,
        settings: TaskSettings,
    ) -> Observations:
        scores = _label_scores(predictions, settings)
        truth = np.array(encoded["label_id"][: len(scores)], dtype=np.int64)
        probabilities = np.array([softmax(row_scores) for row_scores in scores])
        predicted = probabilities.argmax(-1)
        return Classes(truth, predicted, settings.class_names, probabilities, positive_class(settings))

    def unit_rows(self, encoded: Dataset, settings: TaskSettings) -> list[int]:
        return list(range(len(encoded) - settings.of(ZeroShotSettings).likelihood))

    def format(
        self,
        predictions: Sequence[Prediction],
        encoded: Dataset,
        rows: Dataset,
        tokenizer: PreTrainedTokenizerBase,
        settings: TaskSettings,
        top: int | None,
    ) -> list[Answer]:
        zero_shot = settings.of(ZeroShotSettings)
        method = "likelihood" if zero_shot.likelihood else "nli"
        scores = _label_scores(predictions, settings)
        return [{**ranked(softmax(row_scores), zero_shot.candidates, top), "method": method} for row_scores in scores]

    def empty(self, settings: TaskSettings) -> Answer:
        return {"label": None, "score": None, "scores": None, "method": None}

    def cells(self, row: Row, answer: Answer) -> list[str]:
        return score_cells(text_cell(row), answer)


class ZeroShotClassification(AlternativesTask):
    """One of the labels that the user names, or that the dataset has, by entailment or by likelihood."""

    name = "zero-shot-classification"
    auto_class = "AutoModelForSequenceClassification"
    heads = ("ForSequenceClassification",)
    flags = frozenset({"labels", "template"})
    commands = frozenset({"eval", "classify"})
    columns = ZeroShotColumns(name)
    encoding = ZeroShotEncoding(name)
    answers = ZeroShotAnswers(name, encoding)
    classification: ClassVar[TextClassification] = TextClassification()  # has the same metrics and limits

    def supports(self, config: PretrainedConfig) -> bool:
        return is_decoder(config) or (super().supports(config) and entailment_of(config) is not None)

    def is_default_for(self, config: PretrainedConfig, command: str) -> bool:
        return False  # labels to choose from say that it is wanted

    def check_settings(self, settings: TaskSettings) -> None:
        self.classification.check_settings(settings)

    def resolve_settings(
        self, settings: TaskSettings, flags: TaskFlags, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase
    ) -> TaskSettings:
        dataset_names = settings.class_names
        names = flags.label_names or dataset_names
        if not names:
            raise OptionError(f'{self.name} needs labels to choose from: --labels "sport,politics"')
        if dataset_names and len(dataset_names) != len(names):
            raise OptionError(
                f"--labels names {len(names)} labels, and the dataset has {len(dataset_names)}: "
                f"{listing(dataset_names)}; one for each, in this order, is wanted"
            )
        decoder = is_decoder(config)
        return replace(settings, labels=Labels(dataset_names or names)).with_specific(
            ZeroShotSettings,
            candidates=names,
            template=flags.template or (PROMPT_TEMPLATE if decoder else HYPOTHESIS_TEMPLATE),
            likelihood=decoder,
        )

    def remark(self, rows: Dataset, settings: TaskSettings) -> str | None:
        zero_shot = settings.of(ZeroShotSettings)
        how = "its likelihood beyond that without a text" if zero_shot.likelihood else "entailment"
        return f"each label by {how}, as {zero_shot.template!r}: {listing(zero_shot.candidates)}"

    def metric_names(self, labels: Labels | None) -> tuple[str, ...]:
        return self.classification.metric_names(labels)

    def default_metrics(self, labels: Labels | None) -> tuple[str, ...]:
        return self.classification.default_metrics(labels)

    def headline_metric(self, settings: TaskSettings) -> str:
        return "accuracy"


def entailment_of(config: PretrainedConfig) -> int | None:
    """Return the class of a model of natural language inference that says "the text entails it", or None."""
    classes = [number for number, name in (config.id2label or {}).items() if str(name).lower().startswith("entail")]
    return int(classes[0]) if classes and len(config.id2label) > 1 else None


def _encode_text(text: str, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings) -> EncodedRow:
    """Return the tokens of a text with each label; for a decoder also where the label begins."""
    zero_shot = settings.of(ZeroShotSettings)
    names = zero_shot.candidates
    if not zero_shot.likelihood:
        sentences = [zero_shot.template.replace("{}", name) for name in names]
        encoded = tokenizer([text] * len(names), sentences, truncation="only_first", max_length=settings.max_length)
        columns = {name: encoded[name] for name in TOKEN_COLUMNS if name in encoded}
        length = max(map(len, encoded["input_ids"]))
        whole = tokenizer([text] * len(names), sentences)["input_ids"] if length == settings.max_length else [[]]
        return {**columns, "length": length, "truncated": max(map(len, whole)) > length}
    before, _, after = zero_shot.template.partition("{}")
    contexts = [f"{text}{before}" for _ in names]
    continuations = [f"{name}{after}" for name in names]
    ids, firsts, truncated = encode_continuations(contexts, continuations, tokenizer, settings.max_length)
    return {"input_ids": ids, "first": firsts, "length": max(map(len, ids)), "truncated": truncated}


def _label_scores(predictions: Sequence[Prediction], settings: TaskSettings) -> list[Floats]:
    """Return the scores of the labels of each text: of a decoder, beyond those that it gives them without a text."""
    scores = [np.asarray(prediction, dtype=np.float64) for prediction in predictions]
    if not settings.of(ZeroShotSettings).likelihood:
        return scores
    *of_texts, without_text = scores
    return [row_scores - without_text for row_scores in of_texts]
