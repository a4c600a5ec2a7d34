"""token-classification: a tag for each word, as in named entities and parts of speech.

Words come from the dataset, or are found in the user's own string, and are laid out with blanks between them in both:
the model is asked about what it learned from, and any fast tokenizer serves, whose offsets say which word a token is
of. The first token of a word carries its tag (Devlin et al., 2019, 5.3). Long rows are read in overlapping windows, and
each word is judged where it has the most context.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from datasets import Dataset
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from llmkit import metrics
from llmkit.data import labels as label_names
from llmkit.data.columns import Row, is_string, item_of
from llmkit.data.label_sets import declared_in, single_labels
from llmkit.data.labels import Labels, Matching, merged_probabilities, natural
from llmkit.errors import DataError, ModelError, OptionError, listing
from llmkit.metrics.observations import OUTSIDE, Floats, Observations, Spans, are_single, softmax, span_types, spans_of
from llmkit.options import AskOptions, TaskFlags
from llmkit.tasks.base.encoding import Collator
from llmkit.tasks.base.settings import TaskSettings
from llmkit.tasks.base.task import WholeTask
from llmkit.tasks.encoding import divergences
from llmkit.tasks.encoding.collation import IGNORED, pad_batch, pad_sequences
from llmkit.tasks.encoding.word_tags import first_fault, predicted_tags, tags_of
from llmkit.tasks.encoding.words import first_tokens, laid_out, words_in

TOKENS = ("tokens", "words")
TAGS = ("ner_tags", "ner", "tags", "labels", "pos_tags", "pos", "upos", "chunk_tags")
OTHER_MARKS = ("S-", "E-", "U-", "L-")  # of BIOES and BILOU: a span of one word, and the last word of a span


class TokenClassification(WholeTask):
    """Tags for words; measured by whole spans, as seqeval does, or by words where tags mark no spans."""

    name = "token-classification"
    auto_class = "AutoModelForTokenClassification"
    heads = ("ForTokenClassification",)
    roles = ("tokens", "tags", "text")
    input_roles = ("text",)
    required_roles = ("text",)
    column_names: ClassVar[Mapping[str, tuple[str, ...]]] = {"text": ("text", "sentence", "content")}
    commands = frozenset({"finetune", "eval", "classify"})
    base_model = "distilbert/distilbert-base-uncased"
    scores_prediction_files = True
    unusable_reason = "no words or no tags"
    overlong_rows = "read in windows that overlap"
    supports_distillation = True
    non_input_keys = frozenset({"labels", "words"})

    def can_finetune(self, config: PretrainedConfig) -> bool:
        from transformers import MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING

        return type(config) in MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING or self.supports(config)

    def requirement(self) -> str:
        return "a list of words (tokens) and a list of their tags"

    def match(self, dataset: Dataset, given: dict[str, str]) -> dict[str, str] | None:
        lists = [name for name, kind in dataset.features.items() if is_string(item_of(kind))]
        tokens = given.get("tokens") or next((name for name in TOKENS if name in lists), None)
        tags = given.get("tags") or next((name for name in TAGS if name in dataset.column_names), None)
        if tokens not in lists or tags is None or tokens is None:
            return None
        return {"tokens": tokens, "tags": tags}

    def labels(self, train: Dataset, validation: Dataset | None, columns: dict[str, str]) -> Labels:
        column = columns["tags"]
        found = label_names.found_in(single_labels(train, column), column)
        if validation is not None:
            label_names.refuse_others(found, tags_of(validation, column), "validation")
        return found

    def class_column(self, dataset: Dataset, columns: dict[str, str]) -> str | None:
        return columns["tags"]

    def match_labels(
        self, dataset: Dataset, columns: dict[str, str], config: PretrainedConfig, mapping: dict[str, str]
    ) -> Matching:
        return label_names.match(single_labels(dataset, columns["tags"]), columns["tags"], config, mapping)

    def prediction_labels(self, parts: Sequence[Dataset], columns: dict[str, str]) -> Labels:
        column = columns["tags"]
        names = sorted({tag for part in parts for tags in tags_of(part, column) for tag in tags}, key=natural)
        return Labels(tuple(declared_in(parts[0], column) or names))

    def has_labels(self, dataset: Dataset, columns: dict[str, str]) -> bool:
        return columns["tags"] in dataset.column_names and any(dataset[columns["tags"]][:])

    def resolve_settings(
        self, settings: TaskSettings, flags: TaskFlags, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase
    ) -> TaskSettings:
        if not tokenizer.is_fast:
            raise ModelError(f"{self.name} needs a fast tokenizer (a tokenizer.json), which says where tokens begin")
        if isinstance(flags, AskOptions) and flags.top is not None:
            raise OptionError(f"--top: {self.name} gives each word its likeliest tag alone")
        labels = Labels.of_model(config) if settings.labels is None else settings.labels
        ends = [name for name in labels.names if name.startswith(OTHER_MARKS) and f"B-{name[2:]}" in labels.names]
        if ends:
            raise DataError(
                f"tags such as {listing(map(repr, ends[:2]))} are BIOES or BILOU, and IOB2 is wanted: "
                "write B- for S- and U-, and I- for E- and L-"
            )
        return replace(settings, labels=labels)

    def remark(self, rows: Dataset, settings: TaskSettings) -> str | None:
        names = settings.labels.names if settings.labels else ()
        if not names or not all(name.isdecimal() for name in names):
            return None
        return "the tags are numbers without names, so words are measured one by one; B-PER and the like mark entities"

    def head_config(self, settings: TaskSettings) -> dict[str, Any]:
        if settings.labels is None:
            return {}
        return {key: value for key, value in settings.labels.config().items() if key != "problem_type"}

    def first_invalid_row(self, rows: Dataset, columns: dict[str, str]) -> tuple[int, str] | None:
        return first_fault(rows, columns["tokens"], columns["tags"]) if "tags" in columns else None

    def usable_rows(self, dataset: Dataset, columns: dict[str, str]) -> list[int]:
        pairs = zip(dataset[columns["tokens"]][:], dataset[columns["tags"]][:], strict=True)
        return [row for row, (words, tags) in enumerate(pairs) if words and tags]

    def encode(
        self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings, training: bool
    ) -> Dataset:
        texts = [laid_out(words) for words in _words(rows, settings.columns)]
        tags = tags_of(rows, settings.columns["tags"]) if "tags" in settings.columns else None
        overlap = max(0, min(settings.max_length // 4, settings.max_length - 8))
        encoded = tokenizer(
            [text for text, _ in texts],
            truncation=True,
            max_length=settings.max_length,
            stride=overlap,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        ids = {name: number for number, name in enumerate(settings.labels.names)} if settings.labels else {}
        columns: dict[str, list[Any]] = {name: [] for name in ("input_ids", "words", "row", "length")}
        if tags is not None:
            columns |= {"labels": [], "tags": []}
        for window, row in enumerate(encoded["overflow_to_sample_mapping"]):
            words = first_tokens(texts[row][1], encoded["offset_mapping"][window])
            if training and max(words, default=-1) < 0:
                continue  # without a tag, its loss would be no number
            columns["input_ids"].append(encoded["input_ids"][window])
            columns["words"].append(words)
            columns["row"].append(row)
            columns["length"].append(len(words))
            if tags is not None:
                columns["labels"].append([IGNORED if word < 0 else ids[tags[row][word]] for word in words])
                columns["tags"].append(tags[row])
        return Dataset.from_dict(columns)

    def supports_label_smoothing(self, settings: TaskSettings) -> bool:
        return True

    def class_counts(self, prepared: Dataset, settings: TaskSettings) -> list[int] | None:
        tags = np.concatenate([np.asarray(labels) for labels in prepared["labels"]])
        counts: list[int] = np.bincount(
            tags[tags >= 0], minlength=len(settings.labels.names if settings.labels else ())
        ).tolist()
        return counts

    def truncation_warning(self, prepared: Dataset) -> str | None:
        if "tags" not in prepared.column_names:
            return None
        sizes = dict(zip(prepared["row"], map(len, prepared["tags"]), strict=True))
        pairs = zip(prepared["row"], prepared["words"], strict=True)
        read = {(row, word) for row, words in pairs for word in words if word >= 0}
        lost = sum(sizes.values()) - len(read)
        if not lost:
            return None
        return f"{lost} of {sum(sizes.values())} words have no token: they teach nothing, and count as {OUTSIDE}"

    def collator(self, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings) -> Collator:
        def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
            batch = pad_batch([{"input_ids": row["input_ids"]} for row in rows], tokenizer)
            batch["words"] = pad_sequences([row["words"] for row in rows], -1)
            if "labels" in rows[0]:
                batch["labels"] = pad_sequences([row["labels"] for row in rows], IGNORED)
            return batch

        return collate

    def divergence(
        self, student: torch.Tensor, teacher: torch.Tensor, batch: dict[str, Any], temperature: float
    ) -> torch.Tensor:
        return divergences.of_tokens(student, teacher, batch["labels"] != IGNORED, temperature)

    def records(self, outputs: Any, batch: dict[str, Any]) -> list[Any]:
        """Return the logits (words, tags) of each window, flat: of the first token of each word."""
        pairs = zip(outputs.logits.float().cpu(), batch["words"].cpu(), strict=True)
        return [logits[words >= 0].reshape(-1).tolist() for logits, words in pairs]

    def evaluation_arrays(
        self, records: Sequence[Any], prepared: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings
    ) -> Observations:
        names = settings.labels.names if settings.labels else ()
        truth = {row: tuple(tags) for row, tags in zip(prepared["row"], prepared["tags"], strict=True)}
        found = []
        for row, judged in _judged(records, prepared, settings).items():
            guesses = {word: names[int(chances.argmax())] for word, chances in judged.items()}
            found.append(tuple(guesses.get(word, OUTSIDE) for word in range(len(truth[row]))))
        return Spans(tuple(truth.values()), tuple(found), span_types(names), are_single(names))

    def arrays_from_predictions(
        self, rows: Dataset, predictions: Sequence[Row], settings: TaskSettings
    ) -> Observations:
        column, names = settings.columns["tags"], settings.labels.names if settings.labels else ()
        truth, declared = tags_of(rows, column), declared_in(rows, column)
        found = [predicted_tags(row, len(tags), declared) for tags, row in zip(truth, predictions, strict=True)]
        own, theirs = span_types(names), span_types(tag for tags in found for tag in tags)
        if theirs and not set(own) & set(theirs):
            raise DataError(
                f"predictions: their tags are of {listing(map(repr, theirs))}, the dataset's of "
                f"{listing(map(repr, own))}, and none is the same"
            )
        return Spans(tuple(truth), tuple(found), tuple(dict.fromkeys((*own, *theirs))), are_single(names))

    def metric_names(self, labels: Labels | None) -> tuple[str, ...]:
        return metrics.names_for(Spans(((OUTSIDE,),), ((OUTSIDE,),), ()))

    def default_metrics(self, labels: Labels | None) -> tuple[str, ...]:
        single = labels is not None and are_single(labels.names)
        return ("accuracy", "f1_macro") if single else ("f1", "precision", "recall", "f1_macro", "accuracy")

    def headline_metric(self, settings: TaskSettings) -> str:
        return self.default_metrics(settings.labels)[0]

    def format(
        self,
        records: Sequence[Any],
        prepared: Dataset,
        rows: Dataset,
        tokenizer: PreTrainedTokenizerBase,
        settings: TaskSettings,
        top: int | None,
    ) -> list[dict[str, Any]]:
        """Return the entities of each text: their score is the mean probability of their words' tags."""
        judged, names = _judged(records, prepared, settings), settings.labels.names if settings.labels else ()
        made = []
        for row, text in enumerate(rows[settings.columns["text"]][:]):
            chances, bounds = judged.get(row, {}), words_in(text)
            tags = [names[int(chances[word].argmax())] if word in chances else OUTSIDE for word in range(len(bounds))]
            entities = []
            for kind, first, end in spans_of(tags, are_single(names)):
                start, stop = bounds[first][0], bounds[end - 1][1]
                score = float(np.mean([chances[word].max() for word in range(first, end)]))
                entities.append({"type": kind, "text": text[start:stop], "score": score, "start": start, "end": stop})
            made.append({"entities": entities})
        return made

    def empty(self, settings: TaskSettings) -> dict[str, Any]:
        return {"entities": None}

    def headings(self) -> list[str]:
        return ["text", "entity", "type", "score", "start", "end"]

    def cells(self, row: Mapping[str, Any], answer: Mapping[str, Any]) -> list[str]:
        found = answer["entities"] or []
        columns = [[entity[key] for entity in found] for key in ("text", "type", "score", "start", "end")]
        columns[2] = [f"{score:.4f}" for score in columns[2]]
        return [str(row["text"] or ""), *("\n".join(map(str, column)) for column in columns)]


def _words(rows: Dataset, columns: Mapping[str, str]) -> list[list[str]]:
    """Return the words of each row: those of the dataset, or those of a text."""
    if "tokens" in columns:
        return list(rows[columns["tokens"]][:])
    return [[text[start:end] for start, end in words_in(text)] for text in rows[columns["text"]][:]]


def _judged(records: Sequence[Any], prepared: Dataset, settings: TaskSettings) -> dict[int, dict[int, Floats]]:
    """Return the tags' probabilities of each word by row, from the window that shows the most of its context."""
    found: dict[int, dict[int, Floats]] = {}
    margins: dict[tuple[int, int], int] = {}
    for record, row, words in zip(records, prepared["row"], prepared["words"], strict=True):
        places = [place for place, word in enumerate(words) if word >= 0]
        judged = found.setdefault(row, {})
        if not places:
            continue
        chances = softmax(np.asarray(record, dtype=np.float64).reshape(len(places), -1))
        if settings.merge is not None and settings.labels is not None:
            chances = merged_probabilities(chances, settings.merge, len(settings.labels.names))
        for place, some in zip(places, chances, strict=True):
            word, margin = words[place], min(place, len(words) - 1 - place)
            if margin > margins.get((row, word), -1):
                judged[word], margins[row, word] = some, margin
    return found
