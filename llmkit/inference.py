"""Batched prediction: prepared rows through a model, records back in the rows' order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from llmkit import models, runs, tasks
from llmkit.answers import Answers
from llmkit.errors import OptionError, Stopped
from llmkit.labels import Labels
from llmkit.observations import softmax
from llmkit.options import ModelOptions
from llmkit.report import Report
from llmkit.rowfiles import column_for
from llmkit.tasks import Setup, Task
from llmkit.tasks.text_classification import PAIRS, TEXTS, encode


def predict(
    task: Task,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prepared: Dataset,
    setup: Setup,
    batch_size: int,
    report: Report | None = None,
    answers: Answers | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> list[Any]:
    """Return the task's record of each prepared row, in order. Batches hold rows of like length, longest first.

    Batches whose records `answers` holds are not run again; the others are the same batches as in a run from the start.

    Raises:
        Stopped: `stopping` asked for it after a batch, and `answers` keeps what was done.
    """
    collate = task.collator(tokenizer, setup)
    answers = answers or Answers()
    inputs = prepared.to_list()  # once: picking rows out of Arrow for each batch costs more than a small model
    was_training = model.training
    model.eval()
    with (report or Report()).progress("measuring", len(prepared)) as advance, torch.inference_mode():
        for rows in batches(prepared["length"], batch_size):
            if not all(row in answers.done for row in rows):
                batch = on_device(collate([inputs[row] for row in rows]), model)
                labels = batch.pop("labels", None)
                outputs = model(**batch)
                answers.add(rows, task.read(outputs, {**batch, "labels": labels}))
            advance(len(rows))
            if stopping() and len(answers.done) < len(prepared):
                raise Stopped(
                    f"stopped after {len(answers.done)} of {len(prepared)} rows: the same command goes on from there"
                )
    model.train(was_training)
    return [answers.done[row] for row in range(len(prepared))]


def batches(lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """Yield the numbers of the rows of each batch: rows of like length, the longest first."""
    order = np.argsort(-np.asarray(lengths), kind="stable").tolist()
    yield from (order[start : start + size] for start in range(0, len(order), size))


def on_device(batch: dict[str, Any], model: PreTrainedModel) -> dict[str, Any]:
    """Move a batch's tensors to the model's device."""
    return {name: value.to(model.device) for name, value in batch.items()}


class Classifier:
    """A finetuned classifier that answers with label names and probabilities, or with a number."""

    def __init__(self, options: ModelOptions, report: Report, default: str | None = None) -> None:
        located = models.locate(options, report, default)
        self.task = tasks.require(located.config, "classify", located.name)
        self.located, self.options = located, options
        self.labels = Labels.of_model(located.config)
        self.tokenizer = models.load_tokenizer(located, options)
        trained = runs.read_run(located.path) or {}
        usual = trained.get("max_length") or self.task.usual_length
        self.max_length = min(models.context_length(located.config, self.tokenizer), usual)
        self._model: PreTrainedModel | None = None

    @property
    def model(self) -> PreTrainedModel:
        """The weights, loaded when they are first needed."""
        if self._model is None:
            self._model = models.load_model(self.located, self.task.auto_class, self.tokenizer, self.options)
        return self._model

    def columns(self, rows: Sequence[dict[str, Any]], given: dict[str, str]) -> dict[str, str]:
        """Return the columns of rows that hold the text, and the second text of a pair.

        Raises:
            DataError: no column can be told to be the text, or a named one does not exist.
        """
        tasks.require_roles(given, ("text", "pair"))
        pair = next((pair for pair in PAIRS if set(pair) <= set(rows[0])), None)
        if pair is not None and "text" not in given:
            return {"text": pair[0], "pair": given.get("pair", pair[1])}
        text = {"text": column_for(rows, "text", given, TEXTS)}
        return text | ({"pair": column_for(rows, "pair", given, ())} if "pair" in given else {})

    def answer(
        self, texts: Sequence[str], pairs: Sequence[str] | None, batch_size: int, top: int | None = None
    ) -> list[dict[str, Any]]:
        """Return `label`, `score` and `scores` (the best `top` labels) of each text; nulls for an empty one."""
        usable = [row for row, text in enumerate(texts) if text and text.strip()]
        answers: list[dict[str, Any]] = [self._nothing() for _ in texts]
        if not usable:
            return answers
        picked = [texts[row] for row in usable]
        partners = [pairs[row] for row in usable] if pairs is not None else None
        encoded = encode(picked, partners, self.tokenizer, self.max_length)
        prepared = Dataset.from_dict({**encoded, "length": [len(ids) for ids in encoded["input_ids"]]})
        setup = Setup(columns={}, max_length=self.max_length, labels=self.labels)
        for row, logits in zip(
            usable, predict(self.task, self.model, self.tokenizer, prepared, setup, batch_size), strict=True
        ):
            answers[row] = self._read(logits, top)
        return answers

    def _nothing(self) -> dict[str, Any]:
        return {"score": None} if self.labels.regression else {"label": None, "score": None, "scores": None}

    def _read(self, logits: Sequence[float], top: int | None) -> dict[str, Any]:
        if self.labels.regression:
            return {"score": float(logits[0])}
        probabilities = softmax(logits)
        order = np.argsort(-probabilities, kind="stable")
        best = int(order[0])
        scores = {self.labels.names[i]: float(probabilities[i]) for i in order[: top or len(order)]}
        return {"label": self.labels.names[best], "score": float(probabilities[best]), "scores": scores}


def classify(
    texts: Sequence[str] | str,
    model: str | ModelOptions,
    pairs: Sequence[str] | None = None,
    batch_size: int = 16,
    top: int | None = None,
) -> list[dict[str, Any]]:
    """Label texts with a finetuned model: a dictionary with text, label, score and scores for each.

    Raises:
        OptionError: `pairs` and `texts` differ in number.
        ModelError: the model is no classifier.
    """
    rows = [texts] if isinstance(texts, str) else list(texts)
    if pairs is not None and len(pairs) != len(rows):
        raise OptionError(f"{len(rows)} texts and {len(pairs)} --pair texts: one for each is wanted")
    options = model if isinstance(model, ModelOptions) else ModelOptions(model=model)
    answers = Classifier(options, Report()).answer(rows, pairs, batch_size, top)
    return [{"text": text, **answer} for text, answer in zip(rows, answers, strict=True)]
