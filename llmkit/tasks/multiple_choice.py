r"""multiple-choice: which of several answers is right; by an encoder's choice head, or by a decoder's likelihoods.

A decoder reads "Question: ...\nAnswer:" and then each choice, as lm-evaluation-harness asks ARC and PIQA; `accuracy`
takes the likeliest choice, `accuracy_norm` the one that is likeliest per character.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from llmkit import metrics
from llmkit.data.columns import Row, text_of
from llmkit.data.conversions.questions.choice_answers import choice_number
from llmkit.data.evidence import Evidence
from llmkit.data.labels import Labels
from llmkit.errors import DataError, shortened
from llmkit.metrics.observations import ChoiceIds, Observations, softmax
from llmkit.models.config import is_decoder
from llmkit.options import TaskFlags
from llmkit.options.base import named_twice
from llmkit.tasks.base.alternatives import (
    TOKEN_COLUMNS,
    AlternativesAnswers,
    AlternativesEncoding,
    AlternativesSettings,
    AlternativesTask,
    encode_continuations,
)
from llmkit.tasks.base.answers import Answer, Prediction
from llmkit.tasks.base.candidates import Candidate
from llmkit.tasks.base.class_scores import ranked, score_cells
from llmkit.tasks.base.columns import Columns
from llmkit.tasks.base.encoding import Batch, EncodedRow
from llmkit.tasks.base.settings import TaskSettings
from llmkit.tasks.encoding.answer_choices import choice_names, choices_of, invalid_choices, right_choice
from llmkit.tasks.matching.questions import (
    LISTS_OF_CHOICES,
    MOST_CHOICES,
    QUESTIONS,
    choice_candidates,
    with_choices_read,
)

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

NO_ANSWER = (None, "", -1, "-1")
PROMPT_TEMPLATE = "Question: {}\nAnswer:"


class MultipleChoiceColumns(Columns):
    """A question, its choices in a list or in columns of their own, and the right one."""

    roles = ("question", "choices", "answer", *(f"choice{number}" for number in range(MOST_CHOICES)))
    input_roles = ("question", "choices")
    required_roles = ("question", "choices")
    list_roles = frozenset({"choices"})
    column_names: ClassVar[Mapping[str, tuple[str, ...]]] = {"question": QUESTIONS, "choices": LISTS_OF_CHOICES}
    unusable_reason = "no question or no answer"

    def requirement(self) -> str:
        return "a question, its choices (a list, or columns such as ending0, ending1) and the answer"

    def candidates(self, evidence: Evidence, given: Mapping[str, str], flags: TaskFlags) -> list[Candidate]:
        return choice_candidates(evidence, given)

    def refine(
        self, candidate: Candidate, evidence: Evidence, flags: TaskFlags, config: PretrainedConfig | None
    ) -> Candidate:
        return with_choices_read(candidate, evidence, flags.answers_from)

    def has_labels(self, dataset: Dataset, columns: dict[str, str]) -> bool:
        answers = dataset[columns["answer"]][:] if columns["answer"] in dataset.column_names else ()
        return any(answer not in NO_ANSWER for answer in answers)

    def targets(self, rows: Dataset, columns: dict[str, str]) -> Sequence[object]:
        feature = rows.features[columns["answer"]]
        numbers = [-1 if row[columns["answer"]] is None else right_choice(row, columns, feature) for row in rows]
        return [None if number < 0 else number for number in numbers]

    def first_invalid_row(self, rows: Dataset, columns: dict[str, str]) -> tuple[int, str] | None:
        sizes: list[int] = []
        named = False
        for index, row in enumerate(rows):
            problem = invalid_choices(row, columns)
            if problem is not None:
                return index, problem
            named = named or choice_names(row, columns) is not None
            sizes.append(len(choices_of(row, columns)))
        usual = Counter(sizes).most_common(1)[0][0] if sizes else 0
        odd = next((index for index, size in enumerate(sizes) if size != usual), None)
        if odd is None or named or "answer" not in columns:  # named choices (ARC's A, B, C) may vary in number
            return None
        return odd, f"{sizes[odd]} choices, and {usual} in the others"

    def usable_rows(self, dataset: Dataset, columns: dict[str, str]) -> list[int]:
        question, answer = columns["question"], columns["answer"]
        return [
            index
            for index, row in enumerate(dataset)
            if text_of(row[question]).strip() and row[answer] not in NO_ANSWER
        ]

    def sample_inputs(self, texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[dict[str, object]]:
        return [{"question": text, "choices": [choice for choice in texts if choice != text][:4]} for text in texts]


class MultipleChoiceEncoding(AlternativesEncoding):
    """The tokens of each choice after its question; `sizes` are the characters of the choices."""

    def first_unanswerable_row(
        self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings
    ) -> tuple[int, str] | None:
        for place, row in enumerate(rows):
            twice = named_twice(choices_of(row, settings.columns))
            if twice is not None:
                return place, f"two of its choices are {twice!r}; each once is wanted"
        return None

    def encode(
        self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings, training: bool
    ) -> Dataset:
        from datasets import Dataset

        columns, encoded_rows = settings.columns, []
        for row in rows:
            choices, question = choices_of(row, columns), text_of(row[columns["question"]])
            encoded = _encode_choices(question, choices, tokenizer, settings)
            encoded |= {"length": max(map(len, encoded["input_ids"])), "sizes": [len(choice) for choice in choices]}
            if "answer" in columns:
                encoded["labels"] = right_choice(row, columns, rows.features[columns["answer"]])
            encoded_rows.append(encoded)
        return Dataset.from_list(encoded_rows)


class MultipleChoiceAnswers(AlternativesAnswers):
    """The best choice, and how likely each is among them."""

    scores_prediction_files = True

    def head_scores(self, model: PreTrainedModel, inputs: Batch) -> torch.Tensor:
        scores: torch.Tensor = model(**inputs).logits
        return scores

    def evaluation_arrays(
        self,
        predictions: Sequence[Prediction],
        encoded: Dataset,
        tokenizer: PreTrainedTokenizerBase,
        settings: TaskSettings,
    ) -> Observations:
        pairs = list(zip(map(np.asarray, predictions), map(np.asarray, encoded["sizes"]), strict=True))
        best = [int(scores.argmax()) for scores, _ in pairs]
        per_character = [int((scores / np.maximum(sizes, 1)).argmax()) for scores, sizes in pairs]
        likelihood = settings.of(AlternativesSettings).likelihood
        normalised = np.array(per_character, dtype=np.int64) if likelihood else None
        truth, predicted = np.array(encoded["labels"], dtype=np.int64), np.array(best, dtype=np.int64)
        return ChoiceIds(truth, predicted, normalised, tuple(tuple(softmax(scores).tolist()) for scores, _ in pairs))

    def arrays_from_predictions(
        self, rows: Dataset, predictions: Sequence[Row], settings: TaskSettings
    ) -> Observations:
        columns, truth, predicted = settings.columns, [], []
        feature = rows.features[columns["answer"]]
        for row, prediction in zip(rows, predictions, strict=True):
            truth.append(right_choice(row, columns, feature))
            number = choice_number(prediction["prediction"], choices_of(row, columns), choice_names(row, columns))
            if number is None:
                where, text = f"predictions, row {prediction['place']}", shortened(prediction["prediction"])
                raise DataError(f"{where}: {text} is none of the choices, by text, name or number from 0")
            predicted.append(number)
        return ChoiceIds(np.array(truth, dtype=np.int64), np.array(predicted, dtype=np.int64))

    def format(
        self,
        predictions: Sequence[Prediction],
        encoded: Dataset,
        rows: Dataset,
        tokenizer: PreTrainedTokenizerBase,
        settings: TaskSettings,
        top: int | None,
    ) -> list[Answer]:
        """Return the best choice of each row; scores are the softmax of logits, or of a decoder's log-likelihoods."""
        pairs = zip(predictions, rows, strict=True)
        return [ranked(softmax(scores), choices_of(row, settings.columns), top) for scores, row in pairs]

    def empty(self, settings: TaskSettings) -> Answer:
        return {"label": None, "score": None, "scores": None}

    def headings(self) -> list[str]:
        return ["question", "choice", "score"]

    def cells(self, row: Row, answer: Answer) -> list[str]:
        return score_cells(text_of(row["question"]), answer)


class MultipleChoice(AlternativesTask):
    """The right one of several answers to a question."""

    name = "multiple-choice"
    auto_class = "AutoModelForMultipleChoice"
    heads = ("ForMultipleChoice",)
    flags = frozenset({"template", "answers_from"})
    commands = frozenset({"finetune", "eval", "classify"})
    base_model = "distilbert/distilbert-base-uncased"
    columns = MultipleChoiceColumns(name)
    encoding = MultipleChoiceEncoding(name)
    answers = MultipleChoiceAnswers(name, encoding)

    def supports(self, config: PretrainedConfig) -> bool:
        return super().supports(config) or is_decoder(config)

    def is_default_for(self, config: PretrainedConfig, command: str) -> bool:
        # in other commands than eval a decoder continues text
        return super().supports(config) or (is_decoder(config) and command == "eval")

    def can_finetune(self, config: PretrainedConfig) -> bool:
        from transformers import MODEL_FOR_MULTIPLE_CHOICE_MAPPING

        return type(config) in MODEL_FOR_MULTIPLE_CHOICE_MAPPING or super().supports(config)

    def resolve_settings(
        self, settings: TaskSettings, flags: TaskFlags, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase
    ) -> TaskSettings:
        if not is_decoder(config):
            return settings
        return settings.with_specific(AlternativesSettings, template=flags.template or PROMPT_TEMPLATE, likelihood=True)

    def remark(self, rows: Dataset, settings: TaskSettings) -> str | None:
        alternatives = settings.of(AlternativesSettings)
        return f"each choice by its likelihood after {alternatives.template!r}" if alternatives.likelihood else None

    def metric_names(self, labels: Labels | None) -> tuple[str, ...]:
        number = np.zeros(1, dtype=np.int64)
        return metrics.names_for(ChoiceIds(number, number, number))

    def default_metrics(self, labels: Labels | None) -> tuple[str, ...]:
        return ("accuracy",)

    def metrics_for(self, settings: TaskSettings) -> tuple[str, ...]:
        likelihood = settings.of(AlternativesSettings).likelihood
        return ("accuracy", "accuracy_norm") if likelihood else ("accuracy",)

    def headline_metric(self, settings: TaskSettings) -> str:
        return "accuracy"


def _encode_choices(
    question: str, choices: list[str], tokenizer: PreTrainedTokenizerBase, settings: TaskSettings
) -> EncodedRow:
    """Return the tokens of a question with each choice; for a decoder also where the choice begins."""
    alternatives = settings.of(AlternativesSettings)
    if alternatives.likelihood:
        prompts = [alternatives.template.replace("{}", question)] * len(choices)
        continuations = [f" {choice}" for choice in choices]
        ids, firsts, truncated = encode_continuations(prompts, continuations, tokenizer, settings.max_length)
        return {"input_ids": ids, "first": firsts, "truncated": truncated}
    questions = [question] * len(choices)
    encoded = tokenizer(questions, choices, truncation=True, max_length=settings.max_length)
    columns = {name: encoded[name] for name in TOKEN_COLUMNS if name in encoded}
    length = max(map(len, encoded["input_ids"]))
    whole = tokenizer(questions, choices)["input_ids"] if length == settings.max_length else [[]]
    return {**columns, "truncated": max(map(len, whole)) > length}
