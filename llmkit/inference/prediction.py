"""Batched prediction: prepared rows through a model, records back in the rows' order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from llmkit import models, runs, tasks
from llmkit.errors import DataError, OptionError, Stopped
from llmkit.inference.answer_cache import AnswerCache
from llmkit.models import ResolvedModel
from llmkit.options import AskOptions, ModelOptions
from llmkit.output.report import Report
from llmkit.tasks import Task, TaskSettings


def predict(
    task: Task,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prepared: Dataset,
    settings: TaskSettings,
    batch_size: int,
    report: Report | None = None,
    answers: AnswerCache | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> list[Any]:
    """Return the task's record of each prepared row, in order. Batches hold rows of like length, longest first.

    Batches whose records `answers` holds are not run again; the others are the same batches as in a run from the start.

    Raises:
        Stopped: `stopping` asked for it after a batch, and `answers` keeps what was done.
    """
    collate = task.encoding.collator(tokenizer, settings)
    answers = answers or AnswerCache()
    inputs = prepared.to_list()  # once: picking rows out of Arrow for each batch costs more than a small model
    was_training = model.training
    model.eval()
    with (report or Report()).progress("measuring", len(prepared)) as advance, torch.inference_mode():
        for rows in batches(prepared["length"], batch_size):
            if not all(row in answers.done for row in rows):
                batch = on_device(collate([inputs[row] for row in rows]), model)
                answers.add(rows, task.answers.predict(model, batch, settings))
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


def find(
    verb: str,
    options: ModelOptions,
    asked: AskOptions,
    report: Report,
    default: str | None = None,
    inputs: Collection[str] = (),
) -> tuple[Task, ResolvedModel]:
    """Return the model, and the task that it does in this command; `inputs`: roles that are given beside the first.

    Raises:
        ModelError, OptionError: there is no such model, or it does no task of the command.
    """
    resolved = models.resolve_model(options, report, default)
    return tasks.for_model(resolved.config, verb, resolved.name, asked.task, asked, inputs)[0], resolved


class Predictor:
    """A model that answers rows with what its task predicts: labels, spans, fills."""

    def __init__(self, task: Task, resolved: ResolvedModel, options: ModelOptions, asked: AskOptions) -> None:
        self.task, self.resolved, self.options, self.asked = task, resolved, options, asked
        self.tokenizer = models.load_tokenizer(resolved, options)
        trained = runs.read_run(resolved.path) or {}
        columns = {role: role for role in task.columns.input_roles}
        draft = TaskSettings(columns=columns, max_length=trained.get("max_length") or 0)
        self.settings = tasks.settings_for(task, resolved, self.tokenizer, asked, draft)
        task.check_settings(self.settings)

    @cached_property
    def model(self) -> PreTrainedModel:
        """The weights, loaded when they are first needed."""
        network = self.task.auto_class_for(self.resolved.config)
        return models.load_model(self.resolved, network, self.tokenizer, self.options)

    def require_inputs(self, given: Collection[str]) -> None:
        """Demand the inputs that the task needs beside the first; `given` are roles.

        Raises:
            OptionError: naming the flag.
        """
        missing = [role for role in self.task.columns.required_roles[1:] if role not in given]
        if missing:
            raise OptionError(
                f"{self.task.name} needs a --{missing[0]} beside the {self.task.columns.required_roles[0]}"
            )

    def columns(self, rows: Sequence[dict[str, Any]], given: dict[str, str]) -> dict[str, str]:
        """Return the columns of the rows of a file by the roles that the task asks for.

        Raises:
            DataError: a column that is needed cannot be told, or a named one does not exist.
        """
        tasks.require_roles(given, self.task.columns.input_roles)
        return self.task.columns.match_file(rows, given)

    def answer(self, rows: Sequence[Mapping[str, Any]], batch_size: int, start: int = 0) -> list[dict[str, Any]]:
        """Return the answer to each row, a dictionary of inputs by role; nulls where a row asks nothing.

        `start` is the number of rows before these, for errors.

        Raises:
            DataError: a row contradicts itself, or the model cannot answer it.
        """
        usable = [row for row, inputs in enumerate(rows) if self.task.columns.is_answerable(inputs)]
        answers: list[dict[str, Any]] = [self.task.answers.empty(self.settings) for _ in rows]
        if not usable:
            return answers
        roles = [role for role in self.task.columns.input_roles if any(role in rows[row] for row in usable)]
        columns = {role: [rows[row].get(role) for row in usable] for role in roles}
        _require_alike(columns, [start + row + 1 for row in usable])
        picked = Dataset.from_dict(columns)
        settings = replace(self.settings, columns={role: role for role in roles})
        found = self.task.encoding.first_unanswerable_row(picked, self.tokenizer, settings)
        if found is not None:
            raise DataError(f"row {start + usable[found[0]] + 1}: {found[1]}")
        prepared = self.task.encoding.encode(picked, self.tokenizer, settings, training=False)
        records = predict(self.task, self.model, self.tokenizer, prepared, settings, batch_size)
        made = self.task.answers.format(records, prepared, picked, self.tokenizer, settings, self.asked.top)
        for row, answer in zip(usable, made, strict=True):
            answers[row] = answer
        return answers

    def identity(self) -> dict[str, Any]:
        """Return what the answers depend on, for the note beside an output file."""
        return {**self.resolved.identity(self.options.dtype), **asdict(self.asked)}


def _require_alike(columns: Mapping[str, Sequence[Any]], numbers: Sequence[int]) -> None:
    """Refuse a text where the rows before have a list, or the other way round; `numbers` are those of the rows.

    Raises:
        DataError: naming the row.
    """
    for role, values in columns.items():
        kinds = [(type(value), number) for value, number in zip(values, numbers, strict=True) if value is not None]
        other = next((some for some in kinds if some[0] is not kinds[0][0]), None)
        if other is not None:
            (first, number), (kind, place) = kinds[0], other
            raise DataError(f"row {place}: its {role} is a {kind.__name__}, and row {number} has a {first.__name__}")


def classify(
    texts: Sequence[str] | str,
    model: str | ModelOptions,
    pairs: Sequence[str] | None = None,
    batch_size: int = 16,
    top: int | None = None,
    asked: AskOptions | None = None,
) -> list[dict[str, Any]]:
    """Label texts with a finetuned model: a dictionary with the text and what `llmkit classify` prints of each.

    Raises:
        OptionError: `pairs` and `texts` differ in number, or the model takes no pairs.
        ModelError: the model is no classifier.
    """
    rows = [texts] if isinstance(texts, str) else list(texts)
    if pairs is not None and len(pairs) != len(rows):
        raise OptionError(f"{len(rows)} texts and {len(pairs)} --pair texts: one for each is wanted")
    options = model if isinstance(model, ModelOptions) else ModelOptions(model=model)
    asked = asked or AskOptions()
    given = () if pairs is None else ("pair",)
    found = find("classify", options, asked, Report(), inputs=given)
    predictor = Predictor(*found, options, replace(asked, top=top or asked.top))
    predictor.require_inputs(given)
    first = predictor.task.columns.input_roles[0]
    inputs: list[dict[str, Any]] = [{first: text} for text in rows]
    if pairs is not None:
        inputs = [{**row, "pair": pair} for row, pair in zip(inputs, pairs, strict=True)]
    return [{**row, **answer} for row, answer in zip(inputs, predictor.answer(inputs, batch_size), strict=True)]
