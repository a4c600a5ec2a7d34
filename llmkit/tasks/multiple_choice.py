r"""multiple-choice: which of several answers is right; by an encoder's choice head, or by a decoder's likelihoods.

A decoder reads "Question: ...\nAnswer:" and then each choice, as lm-evaluation-harness asks ARC and PIQA; `accuracy`
takes the likeliest choice, `accuracy_norm` the one that is likeliest per character.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from datasets import ClassLabel, Dataset
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from llmkit import metrics
from llmkit.data.columns import Row, is_label, is_string, item_of
from llmkit.data.label_sets import as_list
from llmkit.data.labels import Labels
from llmkit.errors import DataError, shortened
from llmkit.metrics.observations import Choices, Observations
from llmkit.models.config import is_decoder
from llmkit.options import TaskFlags
from llmkit.tasks.base.alternatives import ENCODED, AlternativesTask, chances, encode_continuations
from llmkit.tasks.base.settings import TaskSettings
from llmkit.tasks.text_classification import ranked

QUESTIONS = ("question", "question_stem", "goal", "query", "ctx", "startphrase", "premise", "sent1", "context")
LISTS = ("choices", "options", "endings", "candidates")
ANSWERS = ("answerKey", "answer", "label", "gold", "correct", "correct_answer", "answer_idx", "target")
NUMBERED = re.compile(r"(choice|ending|sol|option|opt|answer)[_ ]?([0-9]|[a-h])", re.IGNORECASE)
MOST = 10  # choices that stand in columns of their own
PROMPT = "Question: {}\nAnswer:"


class MultipleChoice(AlternativesTask):
    """The right one of several answers to a question."""

    name = "multiple-choice"
    auto_class = "AutoModelForMultipleChoice"
    heads = ("ForMultipleChoice",)
    roles = ("question", "choices", "answer", *(f"choice{number}" for number in range(MOST)))
    input_roles = ("question", "choices")
    required_roles = ("question", "choices")
    column_names: ClassVar[Mapping[str, tuple[str, ...]]] = {"question": QUESTIONS, "choices": LISTS}
    flags = frozenset({"template"})
    commands = frozenset({"finetune", "eval", "classify"})
    base_model = "distilbert/distilbert-base-uncased"
    scores_prediction_files = True
    unusable_reason = "no question or no answer"

    def supports(self, config: PretrainedConfig) -> bool:
        return super().supports(config) or is_decoder(config)

    def is_default_for(self, config: PretrainedConfig, verb: str) -> bool:
        return super().supports(config) or (is_decoder(config) and verb == "eval")  # elsewhere a decoder continues text

    def can_finetune(self, config: PretrainedConfig) -> bool:
        from transformers import MODEL_FOR_MULTIPLE_CHOICE_MAPPING

        return type(config) in MODEL_FOR_MULTIPLE_CHOICE_MAPPING or super().supports(config)

    def requirement(self) -> str:
        return "a question, its choices (a list, or columns such as ending0, ending1) and the answer"

    def match(self, dataset: Dataset, given: dict[str, str]) -> dict[str, str] | None:
        names = dataset.column_names
        answer = given.get("answer") or next((name for name in ANSWERS if name in names), None)
        choices = _choice_columns(dataset, given, answer)
        question = given.get("question") or next((name for name in QUESTIONS if name in names), None)
        if not choices or answer is None or question is None or not is_string(dataset.features[question]):
            return None
        if not is_label(dataset.features[answer]):
            return None
        return {"question": question, **choices, "answer": answer}

    def has_labels(self, dataset: Dataset, columns: dict[str, str]) -> bool:
        answers = dataset[columns["answer"]][:] if columns["answer"] in dataset.column_names else ()
        return any(answer not in (None, "", -1, "-1") for answer in answers)

    def targets(self, rows: Dataset, columns: dict[str, str]) -> list[Any]:
        feature = rows.features[columns["answer"]]
        found = [-1 if row[columns["answer"]] is None else answer_of(row, columns, feature) for row in rows]
        return [None if answer < 0 else answer for answer in found]

    def resolve_settings(
        self, settings: TaskSettings, flags: TaskFlags, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase
    ) -> TaskSettings:
        return replace(settings, template=flags.template or PROMPT, likelihood=True) if is_decoder(config) else settings

    def remark(self, rows: Dataset, settings: TaskSettings) -> str | None:
        return f"each choice by its likelihood after {settings.template!r}" if settings.likelihood else None

    def first_invalid_row(self, rows: Dataset, columns: dict[str, str]) -> tuple[int, str] | None:
        sizes: list[int] = []
        labelled = False
        for place, row in enumerate(rows):
            wrong = _wrong(row, columns)
            if wrong is not None:
                return place, wrong
            labelled = labelled or _names_of(row, columns) is not None
            sizes.append(len(choices_of(row, columns)))
        usual = Counter(sizes).most_common(1)[0][0] if sizes else 0
        other = next((place for place, size in enumerate(sizes) if size != usual), None)
        if other is None or labelled or "answer" not in columns:  # named choices (ARC's A, B, C) may vary in number
            return None
        return other, f"{sizes[other]} choices, and {usual} in the others"

    def usable_rows(self, dataset: Dataset, columns: dict[str, str]) -> list[int]:
        return [
            place
            for place, row in enumerate(dataset)
            if str(row[columns["question"]] or "").strip() and row[columns["answer"]] not in (None, "", -1, "-1")
        ]

    def encode(
        self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings, training: bool
    ) -> Dataset:
        made = []
        for row in rows:
            choices, question = choices_of(row, settings.columns), str(row[settings.columns["question"]])
            entry: dict[str, Any]
            if settings.likelihood:
                prompts = [settings.template.replace("{}", question)] * len(choices)
                ids, firsts = encode_continuations(
                    prompts, [f" {one}" for one in choices], tokenizer, settings.max_length
                )
                entry = {"input_ids": ids, "first": firsts}
            else:
                limits = {"truncation": True, "max_length": settings.max_length}
                encoded = tokenizer([question] * len(choices), choices, **limits)
                entry = {name: encoded[name] for name in ENCODED if name in encoded}
            entry |= {"length": max(map(len, entry["input_ids"])), "sizes": [len(one) for one in choices]}
            if "answer" in settings.columns:
                entry["labels"] = answer_of(row, settings.columns, rows.features[settings.columns["answer"]])
            made.append(entry)
        return Dataset.from_list(made)

    def head_scores(self, model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        scores: torch.Tensor = model(**inputs).logits
        return scores

    def evaluation_arrays(
        self, records: Sequence[Any], prepared: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings
    ) -> Observations:
        pairs = list(zip(map(np.asarray, records), map(np.asarray, prepared["sizes"]), strict=True))
        best = [int(scores.argmax()) for scores, _ in pairs]
        per_character = [int((scores / np.maximum(sizes, 1)).argmax()) for scores, sizes in pairs]
        normalised = np.array(per_character, dtype=np.int64) if settings.likelihood else None
        truth, guesses = np.array(prepared["labels"], dtype=np.int64), np.array(best, dtype=np.int64)
        return Choices(truth, guesses, normalised, tuple(tuple(chances(scores).tolist()) for scores, _ in pairs))

    def arrays_from_predictions(
        self, rows: Dataset, predictions: Sequence[Row], settings: TaskSettings
    ) -> Observations:
        feature, truth, guesses = rows.features[settings.columns["answer"]], [], []
        for row, predicted in zip(rows, predictions, strict=True):
            truth.append(answer_of(row, settings.columns, feature))
            guess = _number_of(
                predicted["prediction"], choices_of(row, settings.columns), _names_of(row, settings.columns)
            )
            if guess is None:
                where, shown = f"predictions, row {predicted['place']}", shortened(predicted["prediction"])
                raise DataError(f"{where}: {shown} is none of the choices, by text, name or number from 0")
            guesses.append(guess)
        return Choices(np.array(truth, dtype=np.int64), np.array(guesses, dtype=np.int64))

    def metric_names(self, labels: Labels | None) -> tuple[str, ...]:
        nothing = np.zeros(1, dtype=np.int64)
        return metrics.names_for(Choices(nothing, nothing, nothing))

    def default_metrics(self, labels: Labels | None) -> tuple[str, ...]:
        return ("accuracy",)

    def metrics_for(self, settings: TaskSettings) -> tuple[str, ...]:
        return ("accuracy", "accuracy_norm") if settings.likelihood else ("accuracy",)

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
        """Return the best choice of each row; scores are the softmax of logits, or of a decoder's log-likelihoods."""
        pairs = zip(records, rows, strict=True)
        return [ranked(chances(record), choices_of(row, settings.columns), top) for record, row in pairs]

    def sample_inputs(self, texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[dict[str, Any]]:
        return [{"question": text, "choices": [other for other in texts if other != text][:4]} for text in texts]

    def empty(self, settings: TaskSettings) -> dict[str, Any]:
        return {"label": None, "score": None, "scores": None}

    def headings(self) -> list[str]:
        return ["question", "choice", "score"]

    def cells(self, row: Mapping[str, Any], answer: Mapping[str, Any]) -> list[str]:
        scores = answer["scores"] or {}
        return [str(row["question"] or ""), "\n".join(scores), "\n".join(f"{score:.4f}" for score in scores.values())]


def choices_of(row: Mapping[str, Any], columns: Mapping[str, str]) -> list[str]:
    """Return the texts of the choices of a row."""
    if "choices" not in columns:
        return [str(row[columns[role]]) for role in _numbered(columns)]
    value = as_list(row[columns["choices"]])
    return [str(text) for text in (value["text"] if isinstance(value, dict) else value)]


def answer_of(row: Mapping[str, Any], columns: Mapping[str, str], feature: Any) -> int:
    """Return the number of the right choice, from 0; -1 where it is none."""
    answer = row[columns["answer"]]
    if isinstance(feature, ClassLabel):
        return int(answer)
    found = _number_of(answer, choices_of(row, columns), _names_of(row, columns))
    return -1 if found is None else found


def _names_of(row: Mapping[str, Any], columns: Mapping[str, str]) -> list[str] | None:
    """Return the names of the choices where the row gives them, as ARC's A, B, C, D."""
    value = as_list(row[columns["choices"]]) if "choices" in columns else None
    return [str(name) for name in value["label"]] if isinstance(value, dict) and value.get("label") else None


def _number_of(answer: Any, choices: Sequence[str], names: Sequence[str] | None) -> int | None:
    """Return the number of the choice that an answer names: by its name, its text, its letter, or its number from 0."""
    spelled = str(answer).strip()
    for several in (names, choices if isinstance(answer, str) else None):
        if several and spelled in several:
            return list(several).index(spelled)
    if re.fullmatch(r"\d+", spelled):
        number = int(spelled)
    elif re.fullmatch(r"[A-Ha-h]", spelled):
        number = ord(spelled.upper()) - ord("A")
    else:
        return None
    return number if number < len(choices) else None


def _wrong(row: Mapping[str, Any], columns: Mapping[str, str]) -> str | None:
    """Return what is wrong with the choices or the answer of a row, or None."""
    if "choices" in columns:
        value = as_list(row[columns["choices"]])
        texts = value.get("text") if isinstance(value, dict) else value
        if not isinstance(texts, list):
            return f"its choices are {shortened(value)}, and a list of texts is wanted"
    else:
        texts = [row[columns[role]] for role in _numbered(columns)]
    if len(texts) < 2:
        return f"{len(texts) or 'no'} choice{'' if texts else 's'}, and two or more are wanted"
    empty = next((number for number, text in enumerate(texts) if not str(text or "").strip()), None)
    if empty is not None:
        return f"choice {empty + 1} of {len(texts)} is empty"
    answer = row[columns["answer"]] if "answer" in columns else None
    if (
        answer in (None, "", -1, "-1")
        or _number_of(answer, choices_of(row, columns), _names_of(row, columns)) is not None
    ):
        return None
    return f"the answer {shortened(answer)} is none of the {len(texts)} choices: by name, text, or number from 0"


def _choice_columns(dataset: Dataset, given: Mapping[str, str], answer: str | None) -> dict[str, str]:
    """Return the column of lists of choices, or else those that hold one choice each, by role."""
    own = {role: name for role, name in given.items() if role.startswith("choice")}
    if own:
        return own
    for name in LISTS:
        kind = dataset.features.get(name)
        if kind is not None and (isinstance(kind, dict) or is_string(kind) or is_string(item_of(kind))):
            return {"choices": name}
    found = [name for name in dataset.column_names if NUMBERED.fullmatch(name) and is_string(dataset.features[name])]
    found = [name for name in found if name != answer][:MOST]
    return {f"choice{number}": name for number, name in enumerate(sorted(found))} if len(found) > 1 else {}


def _numbered(columns: Mapping[str, str]) -> Iterator[str]:
    return (role for role in columns if role.startswith("choice") and role != "choices")
