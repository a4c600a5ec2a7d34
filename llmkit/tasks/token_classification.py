"""token-classification: a tag for each word, as in named entities and parts of speech.

Words come from the dataset, or are found in the user's own string, and are laid out with blanks between them in both:
the model is asked in the form that it was trained on, and any fast tokenizer serves, whose offsets say which word a
token is of. The first token of a word carries its tag (Devlin et al., 2019, 5.3). Long rows are read in overlapping
windows, and each word is judged where it has the most context.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from llmkit import metrics
from llmkit.data import labels as label_names
from llmkit.data.columns import Row, text_of
from llmkit.data.conversions.tagging.word_bounds import word_bounds, words_in
from llmkit.data.evidence import Evidence
from llmkit.data.label_sets import UNLABELLED, declared_in, single_labels
from llmkit.data.labels import Labels, Matching, natural
from llmkit.errors import ModelError, OptionError
from llmkit.metrics.observations import OUTSIDE, Observations, Spans, are_single, span_types, spans_of
from llmkit.models.config import output_names
from llmkit.options import AskOptions, TaskFlags
from llmkit.tasks.base.answers import Answer, Answers, Prediction
from llmkit.tasks.base.candidates import Candidate
from llmkit.tasks.base.columns import Columns
from llmkit.tasks.base.encoding import Batch, Collator, EncodedRow, Encoding
from llmkit.tasks.base.settings import TaskSettings
from llmkit.tasks.base.task import Task
from llmkit.tasks.encoding import divergences
from llmkit.tasks.encoding.collation import IGNORED, pad_batch, pad_sequences
from llmkit.tasks.encoding.word_tags import (
    first_invalid_tags,
    found_tags,
    labels_of,
    require_iob2,
    scored_tags,
    tags_of,
    without_unlabelled,
)
from llmkit.tasks.encoding.word_windows import judged_words, tag_probabilities, word_windows
from llmkit.tasks.matching.word_tags import tag_candidates, with_tags_read

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from transformers import PretrainedConfig, PreTrainedTokenizerBase
    from transformers.modeling_outputs import TokenClassifierOutput


class WordColumns(Columns):
    """Lists of words and of their tags; a text where words are to be found in it."""

    roles = ("tokens", "tags", "text")
    input_roles = ("text",)
    required_roles = ("text",)
    column_names: ClassVar[Mapping[str, tuple[str, ...]]] = {"text": ("text", "sentence", "content")}
    unusable_reason = "no words or no tags"

    def requirement(self) -> str:
        return "a list of words (tokens) and a list of their tags"

    def candidates(self, evidence: Evidence, given: Mapping[str, str], flags: TaskFlags) -> list[Candidate]:
        return tag_candidates(evidence, given)

    def refine(
        self, candidate: Candidate, evidence: Evidence, flags: TaskFlags, config: PretrainedConfig | None
    ) -> Candidate:
        return with_tags_read(candidate, evidence)

    def labels(self, train: Dataset, validation: Dataset | None, columns: dict[str, str]) -> Labels:
        column = columns["tags"]
        labels = found_tags(train, column)
        if validation is not None:
            label_names.refuse_others(labels, labels_of(validation, column), "validation")
        return labels

    def class_column(self, dataset: Dataset, columns: dict[str, str]) -> str | None:
        return columns["tags"]

    def match_labels(
        self, dataset: Dataset, columns: dict[str, str], config: PretrainedConfig, mapping: dict[str, str]
    ) -> Matching:
        model = Labels(output_names(config))
        return label_names.match(single_labels(dataset, columns["tags"]), columns["tags"], model, mapping)

    def prediction_labels(self, parts: Sequence[Dataset], columns: dict[str, str]) -> Labels:
        column = columns["tags"]
        names = {tag for part in parts for tags in labels_of(part, column) for tag in tags}
        return Labels(tuple(declared_in(parts[0], column) or sorted(names, key=natural)))

    def has_labels(self, dataset: Dataset, columns: dict[str, str]) -> bool:
        return columns["tags"] in dataset.column_names and any(dataset[columns["tags"]][:])

    def first_invalid_row(self, rows: Dataset, columns: dict[str, str]) -> tuple[int, str] | None:
        return first_invalid_tags(rows, columns["tokens"], columns["tags"]) if "tags" in columns else None

    def usable_rows(self, dataset: Dataset, columns: dict[str, str]) -> list[int]:
        pairs = zip(dataset[columns["tokens"]][:], labels_of(dataset, columns["tags"]), strict=True)
        return [row for row, (words, labels) in enumerate(pairs) if words and labels]


class WordEncoding(Encoding):
    """Windows of words; `words` says which tokens are judged."""

    overlong_rows = "read in windows that overlap"
    non_input_keys = frozenset({"labels", "words"})

    def encode(
        self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings, training: bool
    ) -> Dataset:
        from datasets import Dataset

        tags = tags_of(rows, settings.columns["tags"]) if "tags" in settings.columns else None
        ids = {name: number for number, name in enumerate(settings.class_names)} | {UNLABELLED: IGNORED}
        columns: dict[str, list[object]] = {name: [] for name in ("input_ids", "words", "row", "length")}
        if tags is not None:
            columns |= {"labels": [], "tags": []}
        column = settings.columns.get("tokens")  # where there is none, words are found in a text
        words = rows[column][:] if column else [words_in(text) for text in rows[settings.columns["text"]][:]]
        for window in word_windows(words, tokenizer, settings.max_length):
            of_row = None if tags is None else tags[window.row]
            labels = [IGNORED if word < 0 or of_row is None else ids[of_row[word]] for word in window.words]
            if training and max(labels, default=IGNORED) < 0:
                continue  # without a tag, its loss would be no number
            columns["input_ids"].append(window.input_ids)
            columns["words"].append(window.words)
            columns["row"].append(window.row)
            columns["length"].append(len(window.words))
            if of_row is not None:
                columns["labels"].append(labels)
                columns["tags"].append(of_row)
        return Dataset.from_dict(columns)

    def collator(self, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings) -> Collator:
        def collate(rows: list[EncodedRow]) -> Batch:
            """Return inputs, `words` and `labels`, each (rows, tokens)."""
            batch = pad_batch([{"input_ids": row["input_ids"]} for row in rows], tokenizer)
            batch["words"] = pad_sequences([row["words"] for row in rows], -1)
            if "labels" in rows[0]:
                batch["labels"] = pad_sequences([row["labels"] for row in rows], IGNORED)
            return batch

        return collate

    def rows_without_targets(self, encoded: Dataset) -> list[int]:
        return [place for place, words in enumerate(encoded["words"]) if max(words, default=-1) < 0]

    def nothing_to_score(self, encoded: Dataset, settings: TaskSettings) -> str:
        return "no word has a token: all are blank, or of characters that the tokenizer leaves out"

    def truncation_warning(self, encoded: Dataset) -> str | None:
        if "tags" not in encoded.column_names:
            return None
        words = sum(dict(zip(encoded["row"], map(len, encoded["tags"]), strict=True)).values())
        lost = words - judged_words(encoded)
        return f"{lost} of {words} words have no token: they teach nothing, and count as {OUTSIDE}" if lost else None


class WordTags(Answers):
    """The likeliest tag of each word; the spans that they mark are what a person sees."""

    scores_prediction_files = True

    def from_outputs(self, outputs: TokenClassifierOutput, batch: Batch) -> list[Prediction]:
        """Return the logits (words, tags) of each window, flat: of the first token of each word."""
        windows = zip(outputs.logits.float().cpu(), batch["words"].cpu(), strict=True)
        return [logits[words >= 0].reshape(-1).tolist() for logits, words in windows]

    def evaluation_arrays(
        self,
        predictions: Sequence[Prediction],
        encoded: Dataset,
        tokenizer: PreTrainedTokenizerBase,
        settings: TaskSettings,
    ) -> Observations:
        names = settings.class_names
        truth = {row: tuple(tags) for row, tags in zip(encoded["row"], encoded["tags"], strict=True)}
        probabilities = tag_probabilities(predictions, encoded, settings.merge, len(names))
        predicted = []
        for row, of_row in probabilities.items():
            tags = {word: names[int(of_word.argmax())] for word, of_word in of_row.items()}
            predicted.append(tuple(tags.get(word, OUTSIDE) for word in range(len(truth[row]))))
        return Spans(*without_unlabelled(truth.values(), predicted), span_types(names), are_single(names))

    def arrays_from_predictions(
        self, rows: Dataset, predictions: Sequence[Row], settings: TaskSettings
    ) -> Observations:
        read = scored_tags(rows, settings.columns["tags"], predictions, settings.class_names)
        return Spans(*without_unlabelled(read.truth, read.predicted), read.types, are_single(read.names))

    def remark_on_predictions(self, rows: Dataset, predictions: Sequence[Row], settings: TaskSettings) -> str | None:
        return scored_tags(rows, settings.columns["tags"], predictions, settings.class_names).sentence

    def format(
        self,
        predictions: Sequence[Prediction],
        encoded: Dataset,
        rows: Dataset,
        tokenizer: PreTrainedTokenizerBase,
        settings: TaskSettings,
        top: int | None,
    ) -> list[Answer]:
        """Return the entities of each text: their score is the mean probability of their words' tags."""
        names, answers = settings.class_names, []
        probabilities = tag_probabilities(predictions, encoded, settings.merge, len(names))
        for row, text in enumerate(rows[settings.columns["text"]][:]):
            of_row, bounds = probabilities.get(row, {}), word_bounds(text)
            tags = [names[int(of_row[word].argmax())] if word in of_row else OUTSIDE for word in range(len(bounds))]
            entities = []
            for kind, first, end in spans_of(tags, are_single(names)):
                start, stop = bounds[first][0], bounds[end - 1][1]
                score = float(np.mean([of_row[word].max() for word in range(first, end)]))
                entities.append({"type": kind, "text": text[start:stop], "score": score, "start": start, "end": stop})
            answers.append({"entities": entities})
        return answers

    def empty(self, settings: TaskSettings) -> Answer:
        return {"entities": None}

    def headings(self) -> list[str]:
        return ["text", "entity", "type", "score", "start", "end"]

    def cells(self, row: Row, answer: Answer) -> list[str]:
        entities = answer["entities"] or []
        columns = [[entity[key] for entity in entities] for key in ("text", "type", "score", "start", "end")]
        columns[2] = [f"{score:.4f}" for score in columns[2]]
        return [text_of(row["text"]), *("\n".join(map(str, column)) for column in columns)]


class TokenClassification(Task):
    """Tags for words; measured by whole spans, as seqeval does, or by words where tags mark no spans."""

    name = "token-classification"
    auto_class = "AutoModelForTokenClassification"
    heads = ("ForTokenClassification",)
    base_model = "distilbert/distilbert-base-uncased"
    commands = frozenset({"finetune", "eval", "classify"})
    supports_distillation = True

    columns = WordColumns(name)
    encoding = WordEncoding(name)
    answers = WordTags(name, encoding)

    def can_finetune(self, config: PretrainedConfig) -> bool:
        from transformers import MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING

        return type(config) in MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING or self.supports(config)

    def resolve_settings(
        self, settings: TaskSettings, flags: TaskFlags, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase
    ) -> TaskSettings:
        if not tokenizer.is_fast:
            raise ModelError(f"{self.name} needs a fast tokenizer (a tokenizer.json), which says where tokens begin")
        if isinstance(flags, AskOptions) and flags.top is not None:
            raise OptionError(f"--top: {self.name} gives each word its likeliest tag alone")
        labels = Labels(output_names(config)) if settings.labels is None else settings.labels
        require_iob2(labels.names)
        return replace(settings, labels=labels)

    def remark(self, rows: Dataset, settings: TaskSettings) -> str | None:
        names = settings.class_names
        if names and all(name.isdecimal() for name in names):
            return "the tags are numbers without names, so words are measured one by one; B-PER and such mark entities"
        if OUTSIDE in names and span_types(names) == tuple(name for name in names if name != OUTSIDE):
            return "no tag begins with B- or I-, so words side by side with the same tag are one entity"
        return None

    def head_config(self, settings: TaskSettings) -> dict[str, object]:
        labels = settings.labels.config() if settings.labels else {}
        return {key: value for key, value in labels.items() if key != "problem_type"}

    def supports_label_smoothing(self, settings: TaskSettings) -> bool:
        return True

    def class_counts(self, encoded: Dataset, settings: TaskSettings) -> list[int] | None:
        tags = np.concatenate([np.asarray(labels) for labels in encoded["labels"]])
        return [int(count) for count in np.bincount(tags[tags >= 0], minlength=len(settings.class_names))]

    def divergence(
        self, student: torch.Tensor, teacher: torch.Tensor, batch: Batch, temperature: float
    ) -> torch.Tensor:
        return divergences.of_tokens(student, teacher, batch["labels"] != IGNORED, temperature)

    def metric_names(self, labels: Labels | None) -> tuple[str, ...]:
        return metrics.names_for(Spans(((OUTSIDE,),), ((OUTSIDE,),), ()))

    def default_metrics(self, labels: Labels | None) -> tuple[str, ...]:
        single = labels is not None and are_single(labels.names)
        return ("accuracy", "f1_macro") if single else ("f1", "precision", "recall", "f1_macro", "accuracy")

    def headline_metric(self, settings: TaskSettings) -> str:
        return self.default_metrics(settings.labels)[0]
