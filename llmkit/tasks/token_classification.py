"""token-classification: a tag for each word, as in named entities and parts of speech.

Words come from the dataset, or from the user's own string (`WORD`). Tokens are assigned to words by their offsets in
the text, so that any fast tokenizer serves; the first token of a word carries its tag (Devlin et al., 2019, 5.3). Long
rows are read in overlapping windows, and each word is judged where it has the most context.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from datasets import ClassLabel, Dataset
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from llmkit import labels as label_names
from llmkit import metrics
from llmkit.errors import DataError, ModelError
from llmkit.labels import Labels, Matching, flattened, merged_probabilities
from llmkit.observations import OUTSIDE, Floats, Observations, Spans, are_single, softmax, span_types, spans_of
from llmkit.options import TaskFlags
from llmkit.predictions import shortened
from llmkit.tasks.base import Collator, Task
from llmkit.tasks.batches import pad_batch, pad_sequences
from llmkit.tasks.features import is_string, item_of
from llmkit.tasks.setup import Setup

TOKENS = ("tokens", "words")
TAGS = ("ner_tags", "ner", "tags", "labels", "pos_tags", "pos", "upos", "chunk_tags")
# a word: letters and digits, held together by an inner mark (U.S, don't, e-mail); a Chinese character; any other mark
WORD = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]|[^\\W_]+(?:[.'\u2019\\-_&@/][^\\W_]+)*|\\S")
Bounds = list[tuple[int, int]]


class TokenClassification(Task):
    """Tags for words; measured by whole spans, as seqeval does, or by words where tags mark no spans."""

    name = "token-classification"
    auto_class = "AutoModelForTokenClassification"
    heads = ("ForTokenClassification",)
    roles = ("tokens", "tags", "text")
    asks = ("text",)
    needs = ("text",)
    spellings: ClassVar[Mapping[str, tuple[str, ...]]] = {"text": ("text", "sentence", "content")}
    verbs = frozenset({"finetune", "eval", "classify"})
    base_model = "distilbert/distilbert-base-uncased"
    scores_files = True
    incomplete = "no words or no tags"
    aside = frozenset({"labels", "words"})

    def trains_on(self, config: PretrainedConfig) -> bool:
        from transformers import MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING

        return type(config) in MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING or self.opens(config)

    def wants(self) -> str:
        return "a list of words (tokens) and a list of their tags"

    def fits(self, dataset: Dataset, given: dict[str, str]) -> dict[str, str] | None:
        lists = [name for name, kind in dataset.features.items() if is_string(item_of(kind))]
        tokens = given.get("tokens") or next((name for name in TOKENS if name in lists), None)
        tags = given.get("tags") or next((name for name in TAGS if name in dataset.column_names), None)
        if tokens not in lists or tags is None or tokens is None:
            return None
        return {"tokens": tokens, "tags": tags}

    def labels(self, train: Dataset, validation: Dataset | None, columns: dict[str, str]) -> Labels:
        column = columns["tags"]
        found = label_names.found_in(flattened(train, column), column)
        if validation is not None:
            label_names.refuse_unseen(found, flattened(validation, column), column, "validation, tag by tag")
        return found

    def match_labels(
        self, dataset: Dataset, columns: dict[str, str], config: PretrainedConfig, mapping: dict[str, str]
    ) -> Matching:
        return label_names.match(flattened(dataset, columns["tags"]), columns["tags"], config, mapping)

    def file_labels(self, parts: Sequence[Dataset], columns: dict[str, str]) -> Labels:
        names = dict.fromkeys(name for part in parts for name in _all_tags(part, columns["tags"]))
        feature = item_of(parts[0].features[columns["tags"]])
        return Labels(tuple(feature.names) if isinstance(feature, ClassLabel) else tuple(names))

    def has_labels(self, dataset: Dataset, columns: dict[str, str]) -> bool:
        return columns["tags"] in dataset.column_names and any(dataset[columns["tags"]])

    def settle(
        self, setup: Setup, flags: TaskFlags, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase
    ) -> Setup:
        if not tokenizer.is_fast:
            raise ModelError(f"{self.name} needs a fast tokenizer (a tokenizer.json), which says where tokens begin")
        return setup if setup.labels is not None else replace(setup, labels=Labels.of_model(config))

    def head_config(self, setup: Setup) -> dict[str, Any]:
        if setup.labels is None:
            return {}
        return {key: value for key, value in setup.labels.config().items() if key != "problem_type"}

    def flaw(self, rows: Dataset, columns: dict[str, str]) -> tuple[int, str] | None:
        if "tags" not in columns:
            return None
        if item_of(rows.features[columns["tags"]]) is None:
            first = next((place for place, tags in enumerate(rows[columns["tags"]]) if tags is not None), 0)
            shown = shortened(rows[first][columns["tags"]])
            return first, f"its tags are {shown}, and a list with a tag for each word is wanted"
        feature = item_of(rows.features[columns["tags"]])
        known = len(feature.names) if isinstance(feature, ClassLabel) else None
        for place, (words, tags) in enumerate(zip(rows[columns["tokens"]], rows[columns["tags"]], strict=True)):
            if words is not None and tags is not None and len(words) != len(tags):
                return place, f"{len(words)} words and {len(tags)} tags"
            if None in (words or ()) or None in (tags or ()):
                return place, "a word or a tag is null"
            other = next((tag for tag in tags or () if known is not None and not 0 <= tag < known), None)
            if other is not None:
                return place, f"the tag {other} has no name; there are {known}, from 0"
        return None

    def usable(self, dataset: Dataset, columns: dict[str, str]) -> list[int]:
        pairs = zip(dataset[columns["tokens"]], dataset[columns["tags"]], strict=True)
        return [row for row, (words, tags) in enumerate(pairs) if words and tags]

    def prepare(self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, setup: Setup, training: bool) -> Dataset:
        texts = list(_worded(rows, setup.columns))
        tags = _tag_names(rows, setup.columns["tags"]) if "tags" in setup.columns else None
        overlap = max(0, min(setup.max_length // 4, setup.max_length - 8))
        encoded = tokenizer(
            [text for text, _ in texts], truncation=True, max_length=setup.max_length, stride=overlap,
            return_overflowing_tokens=True, return_offsets_mapping=True,
        )  # fmt: skip
        ids = {name: number for number, name in enumerate(setup.labels.names)} if setup.labels else {}
        columns: dict[str, list[Any]] = {name: [] for name in ("input_ids", "words", "row", "length")}
        if tags is not None:
            columns |= {"labels": [], "tags": []}
        for window, row in enumerate(encoded["overflow_to_sample_mapping"]):
            words = _first_tokens(texts[row], encoded["offset_mapping"][window])
            columns["input_ids"].append(encoded["input_ids"][window])
            columns["words"].append(words)
            columns["row"].append(row)
            columns["length"].append(len(words))
            if tags is not None:
                columns["labels"].append([-100 if word < 0 else ids[tags[row][word]] for word in words])
                columns["tags"].append(tags[row])
        return Dataset.from_dict(columns)

    def collator(self, tokenizer: PreTrainedTokenizerBase, setup: Setup) -> Collator:
        def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
            batch = pad_batch([{"input_ids": row["input_ids"]} for row in rows], tokenizer)
            batch["words"] = pad_sequences([row["words"] for row in rows], -1)
            if "labels" in rows[0]:
                batch["labels"] = pad_sequences([row["labels"] for row in rows], -100)
            return batch

        return collate

    def read(self, outputs: Any, batch: dict[str, Any]) -> list[Any]:
        """Return the logits (words, tags) of each window, flat: of the first token of each word."""
        pairs = zip(outputs.logits.float().cpu(), batch["words"].cpu(), strict=True)
        return [logits[words >= 0].reshape(-1).tolist() for logits, words in pairs]

    def observe(
        self, records: Sequence[Any], prepared: Dataset, tokenizer: PreTrainedTokenizerBase, setup: Setup
    ) -> Observations:
        names = setup.labels.names if setup.labels else ()
        truth = {row: tuple(tags) for row, tags in zip(prepared["row"], prepared["tags"], strict=True)}
        found = []
        for row, judged in _judged(records, prepared, setup).items():
            guesses = {word: names[int(chances.argmax())] for word, chances in judged.items()}
            found.append(tuple(guesses.get(word, OUTSIDE) for word in range(len(truth[row]))))
        return Spans(tuple(truth.values()), tuple(found), span_types(names), are_single(names))

    def observe_file(self, rows: Dataset, predictions: Sequence[dict[str, Any]], setup: Setup) -> Observations:
        names = setup.labels.names if setup.labels else ()
        truth, guesses = _tag_names(rows, setup.columns["tags"]), []
        for tags, row in zip(truth, predictions, strict=True):
            guess = row["prediction"].split() if isinstance(row["prediction"], str) else row["prediction"]
            if not isinstance(guess, list) or len(guess) != len(tags):
                raise DataError(f"predictions, row {row['place']}: a list of {len(tags)} tags is wanted, one for each "
                                f"word, not {shortened(row['prediction'])}")  # fmt: skip
            guesses.append(tuple(map(str, guess)))
        types = span_types((*names, *(tag for guess in guesses for tag in guess)))
        return Spans(tuple(map(tuple, truth)), tuple(guesses), types, are_single(names))

    def unit_rows(self, prepared: Dataset, setup: Setup) -> list[int]:
        return list(dict.fromkeys(prepared["row"]))

    def metric_names(self, labels: Labels | None) -> tuple[str, ...]:
        return metrics.names_for(Spans(((OUTSIDE,),), ((OUTSIDE,),), ()))

    def usual_metrics(self, labels: Labels | None) -> tuple[str, ...]:
        single = labels is not None and are_single(labels.names)
        return ("accuracy", "f1_macro") if single else ("f1", "precision", "recall", "f1_macro", "accuracy")

    def headline(self, setup: Setup) -> str:
        return self.usual_metrics(setup.labels)[0]

    def answers(
        self, records: Sequence[Any], prepared: Dataset, rows: Dataset, tokenizer: PreTrainedTokenizerBase,
        setup: Setup, top: int | None,
    ) -> list[dict[str, Any]]:  # fmt: skip
        """Return the entities of each text: their score is the mean probability of their words' tags."""
        judged, names = _judged(records, prepared, setup), setup.labels.names if setup.labels else ()
        made = []
        for row, (text, bounds) in enumerate(_worded(rows, setup.columns)):
            chances = judged.get(row, {})
            tags = [names[int(chances[word].argmax())] if word in chances else OUTSIDE for word in range(len(bounds))]
            entities = []
            for kind, first, end in spans_of(tags, are_single(names)):
                start, stop = bounds[first][0], bounds[end - 1][1]
                score = float(np.mean([chances[word].max() for word in range(first, end)]))
                entities.append({"type": kind, "text": text[start:stop], "score": score, "start": start, "end": stop})
            made.append({"entities": entities})
        return made

    def nothing(self, setup: Setup) -> dict[str, Any]:
        return {"entities": None}

    def headings(self) -> list[str]:
        return ["text", "entity", "type", "score", "start", "end"]

    def cells(self, row: Mapping[str, Any], answer: Mapping[str, Any]) -> list[str]:
        found = answer["entities"] or []
        columns = [[entity[key] for entity in found] for key in ("text", "type", "score", "start", "end")]
        columns[2] = [f"{score:.4f}" for score in columns[2]]
        return [str(row["text"] or ""), *("\n".join(map(str, column)) for column in columns)]


def _worded(rows: Dataset, columns: Mapping[str, str]) -> Iterator[tuple[str, Bounds]]:
    """Yield the text of each row, and where its words begin and end in it."""
    if "tokens" not in columns:
        for text in rows[columns["text"]]:
            yield str(text), [match.span() for match in WORD.finditer(str(text))]
        return
    for words in rows[columns["tokens"]]:
        ends = np.cumsum([len(word) + 1 for word in words]).tolist()
        yield " ".join(words), [(end - len(word) - 1, end - 1) for word, end in zip(words, ends, strict=True)]


def _first_tokens(text: tuple[str, Bounds], offsets: Sequence[tuple[int, int]]) -> list[int]:
    """Return for each token the number of the word that it is the first token of, else -1."""
    letters, bounds = text
    starts = np.array([start for start, _ in bounds])
    found, last = [], -1
    for start, end in offsets:
        while start < end and letters[start].isspace():  # byte-level tokens hold the space before them
            start += 1
        word = int(np.searchsorted(starts, start, side="right")) - 1 if start < end else -1
        first = word > last and bool(bounds[word][0] <= start < bounds[word][1]) and start == bounds[word][0]
        found.append(word if first else -1)
        last = max(last, word)
    return found


def _judged(records: Sequence[Any], prepared: Dataset, setup: Setup) -> dict[int, dict[int, Floats]]:
    """Return the tags' probabilities of each word by row, from the window that shows the most of its context."""
    found: dict[int, dict[int, Floats]] = {}
    margins: dict[tuple[int, int], int] = {}
    for record, row, words in zip(records, prepared["row"], prepared["words"], strict=True):
        places = [place for place, word in enumerate(words) if word >= 0]
        judged = found.setdefault(row, {})
        if not places:
            continue
        chances = softmax(np.asarray(record, dtype=np.float64).reshape(len(places), -1))
        if setup.merge is not None and setup.labels is not None:
            chances = merged_probabilities(chances, setup.merge, len(setup.labels.names))
        for place, some in zip(places, chances, strict=True):
            word, margin = words[place], min(place, len(words) - 1 - place)
            if margin > margins.get((row, word), -1):
                judged[word], margins[row, word] = some, margin
    return found


def _tag_names(rows: Dataset, column: str) -> list[list[str]]:
    """Return the names of the tags of each row."""
    feature = item_of(rows.features[column])
    names = feature.names if isinstance(feature, ClassLabel) else None
    return [[str(tag) if names is None else names[tag] for tag in tags or ()] for tags in rows[column]]


def _all_tags(rows: Dataset, column: str) -> list[str]:
    return sorted({tag for tags in _tag_names(rows, column) for tag in tags})
