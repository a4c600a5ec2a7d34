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
from llmkit.tasks.base.sequence_classification import TEXTS
from llmkit.tasks.base.setup import Setup
from llmkit.tasks.text_classification import TextClassification, positive_class, ranked

HYPOTHESIS = "This example is {}."
PROMPT = "\nTopic: {}"
READER = TextClassification()  # labels and texts of a dataset are read in the same way


class ZeroShotClassification(AlternativesTask):
    """One of the labels that the user names, or that the dataset has, by entailment or by likelihood."""

    name = "zero-shot-classification"
    auto_class = "AutoModelForSequenceClassification"
    heads = ("ForSequenceClassification",)
    roles = ("text", "label")
    asks = ("text",)
    needs = ("text",)
    spellings: ClassVar[Mapping[str, tuple[str, ...]]] = {"text": TEXTS}
    flags = frozenset({"labels", "template"})
    verbs = frozenset({"eval", "classify"})

    def opens(self, config: PretrainedConfig) -> bool:
        return is_decoder(config) or (super().opens(config) and entailment_of(config) is not None)

    def claims(self, config: PretrainedConfig, verb: str) -> bool:
        return False  # labels to choose from say that it is wanted

    def wants(self) -> str:
        return READER.wants()

    def fits(self, dataset: Dataset, given: dict[str, str]) -> dict[str, str] | None:
        columns = READER.fits(dataset, given)
        return columns and {role: name for role, name in columns.items() if role in self.roles}

    def has_labels(self, dataset: Dataset, columns: dict[str, str]) -> bool:
        return READER.has_labels(dataset, columns)

    def truths(self, rows: Dataset, columns: dict[str, str]) -> list[Any]:
        return READER.truths(rows, columns)

    def class_column(self, dataset: Dataset, columns: dict[str, str]) -> str | None:
        return READER.class_column(dataset, columns)

    def match_labels(
        self, dataset: Dataset, columns: dict[str, str], config: PretrainedConfig, mapping: dict[str, str]
    ) -> Matching | None:
        if mapping:
            raise OptionError("--label-map is for a model's own labels; --labels names those of zero-shot, in order")
        return Matching(READER.file_labels([dataset], columns))

    def check(self, setup: Setup) -> None:
        READER.check(setup)

    def settle(
        self, setup: Setup, flags: TaskFlags, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase
    ) -> Setup:
        own = setup.labels.names if setup.labels else ()
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
        return replace(setup, labels=Labels(own or names), candidates=names, template=template, likelihood=likelihood)

    def remark(self, rows: Dataset, setup: Setup) -> str | None:
        how = "its likelihood beyond that without a text" if setup.likelihood else "entailment"
        return f"each label by {how}, as {setup.template!r}: {listing(setup.candidates)}"

    def usable(self, dataset: Dataset, columns: dict[str, str]) -> list[int]:
        return READER.usable(dataset, columns)

    def prepare(self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, setup: Setup, training: bool) -> Dataset:
        texts = [str(text) for text in rows[setup.columns["text"]][:]]
        truth = READER.label_ids(rows, setup) if "label" in setup.columns else None
        if setup.likelihood:
            texts.append("")  # the last prepared row is of no text: how likely the labels are anyway
        made = [_encoded(text, tokenizer, setup) for text in texts]
        columns = {name: [row[name] for row in made] for name in made[0]}
        columns["row"] = list(range(len(made)))
        if truth is not None:
            columns["label_id"] = truth + [-1] * (len(made) - len(truth))
        return Dataset.from_dict(columns)

    def head_scores(self, model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        rows, alternatives = inputs["input_ids"].shape[:2]
        entailment = entailment_of(model.config)
        scores: torch.Tensor = model(**flat(inputs)).logits[:, entailment].reshape(rows, alternatives)
        return scores

    def observe(
        self, records: Sequence[Any], prepared: Dataset, tokenizer: PreTrainedTokenizerBase, setup: Setup
    ) -> Observations:
        scores = _compared(records, setup)
        truth = np.array(prepared["label_id"][: len(scores)], dtype=np.int64)
        found = np.array([chances(some) for some in scores])
        names = setup.labels.names if setup.labels else ()
        return Classes(truth, found.argmax(-1), names, found, positive_class(setup))

    def unit_rows(self, prepared: Dataset, setup: Setup) -> list[int]:
        return list(range(len(prepared) - setup.likelihood))

    def metric_names(self, labels: Labels | None) -> tuple[str, ...]:
        return READER.metric_names(labels)

    def usual_metrics(self, labels: Labels | None) -> tuple[str, ...]:
        return READER.usual_metrics(labels)

    def headline(self, setup: Setup) -> str:
        return "accuracy"

    def answers(
        self,
        records: Sequence[Any],
        prepared: Dataset,
        rows: Dataset,
        tokenizer: PreTrainedTokenizerBase,
        setup: Setup,
        top: int | None,
    ) -> list[dict[str, Any]]:
        method = "likelihood" if setup.likelihood else "nli"
        scores = _compared(records, setup)
        return [{**ranked(chances(some), setup.candidates, top), "method": method} for some in scores]

    def nothing(self, setup: Setup) -> dict[str, Any]:
        return {"label": None, "score": None, "scores": None, "method": None}

    def headings(self) -> list[str]:
        return READER.headings()

    def cells(self, row: Mapping[str, Any], answer: Mapping[str, Any]) -> list[str]:
        return READER.cells(row, answer)


def entailment_of(config: PretrainedConfig) -> int | None:
    """Return the class of a model of natural language inference that says "the text entails it", or None."""
    found = [number for number, name in (config.id2label or {}).items() if str(name).lower().startswith("entail")]
    return int(found[0]) if found and len(config.id2label) > 1 else None


def _encoded(text: str, tokenizer: PreTrainedTokenizerBase, setup: Setup) -> dict[str, Any]:
    """Return the tokens of a text with each label; for a decoder also where the label begins."""
    names = setup.candidates
    if not setup.likelihood:
        sentences = [setup.template.replace("{}", name) for name in names]
        encoded = tokenizer([text] * len(names), sentences, truncation="only_first", max_length=setup.max_length)
        made = {name: encoded[name] for name in ENCODED if name in encoded}
        return {**made, "length": max(map(len, encoded["input_ids"]))}
    before, _, after = setup.template.partition("{}")
    contexts = [f"{text}{before}" for _ in names]
    ids, firsts = encode_continuations(contexts, [f"{name}{after}" for name in names], tokenizer, setup.max_length)
    return {"input_ids": ids, "first": firsts, "length": max(map(len, ids))}


def _compared(records: Sequence[Any], setup: Setup) -> list[Any]:
    """Return the scores of the labels of each text: of a decoder, beyond those that it gives them without a text."""
    if not setup.likelihood:
        return list(records)
    anyway = np.asarray(records[-1], dtype=np.float64)
    return [np.asarray(record, dtype=np.float64) - anyway for record in records[:-1]]
