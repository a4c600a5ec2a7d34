"""Rows answered with what a task predicts: labels, spans, fills, numbers."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from llmkit import runs, tasks
from llmkit.data.columns import Row, dataset_of, dataset_of_rows, given_texts, text_of
from llmkit.errors import DataError, OptionError
from llmkit.inference.answering import (
    LongTexts,
    TwoPrecisions,
    first_not_finite,
    not_finite,
    resolve_task_and_model,
    rows_together,
)
from llmkit.inference.row_files import TextCounts, inputs_of, require_alike
from llmkit.inference.row_files.prediction_loop import predict, predict_few
from llmkit.inference.row_files.profile import phase
from llmkit.models import ResolvedModel
from llmkit.options import AskOptions, ModelOptions, RowOptions
from llmkit.output.report import Report
from llmkit.tasks import Task, TaskSettings
from llmkit.tasks.base.answers import Answer, Prediction

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel

LABELS = ("label", "labels")  # of an answer: what must not change with the precision


@dataclass(frozen=True)
class Question:
    """Those of some rows that ask anything, in the form in which the model is asked."""

    usable: list[int]  # their places among all rows
    rows: Dataset
    encoded: Dataset
    settings: TaskSettings
    kind: str  # what one of them is called: text, pair, question


class Predictor(TwoPrecisions[Row]):
    """A model that answers rows with what its task predicts: labels, spans, fills."""

    half_sentence = (
        "the labels of the first {rows} rows are the same, and float32 decides where a label could be another by what "
        "their numbers differ"
    )

    def __init__(self, task: Task, resolved: ResolvedModel, options: ModelOptions, asked: AskOptions) -> None:
        super().__init__(resolved, options)
        self.task, self.asked = task, asked
        self.role = next(iter(task.columns.input_roles), "")
        self.rows_per_chunk = rows_together(resolved.config)
        self.hidden_roles, self.list_roles = task.answers.hidden_roles, task.columns.list_roles
        self.optional_roles = frozenset(task.columns.input_roles) - {self.role, *task.columns.required_roles}
        self.auto_class = task.auto_class_for(resolved.config)
        trained = runs.read_run(resolved.path) or {}
        columns = {role: role for role in task.columns.input_roles}
        draft = TaskSettings(columns=columns, max_length=trained.get("max_length") or 0)
        self.settings = tasks.settings_for(task, resolved, self.tokenizer, asked, draft)
        task.check_settings(self.settings)

    def columns(self, rows: Sequence[Row], given: dict[str, str]) -> dict[str, str]:
        """Return the columns of the rows of a file by the roles that the task asks for."""
        tasks.require_roles(given, self.task.columns.input_roles)
        return self.task.columns.match_file(rows, given)

    def prepare(self, inputs: Sequence[Row], names: Sequence[str], again: bool = False) -> list[Row]:
        """Return the inputs as they are, after a look at whether they have all that the task needs.

        Raises:
            OptionError: naming the flag of an input that is missing.
        """
        required = self.task.columns.required_roles
        missing = [role for role in required[1:] if any(role not in row for row in inputs)]
        if missing:
            raise OptionError(f"{self.task.name} needs a --{missing[0]} beside the {required[0]}")
        return list(inputs)

    def is_answerable(self, inputs: Row) -> bool:
        given = all(text_of(value).strip() for role, value in inputs.items() if role not in self.optional_roles)
        return given and self.task.columns.is_answerable(inputs)

    def answer(self, prepared: Sequence[Row], batch_size: int | None, start: int = 0) -> list[Answer]:
        """Return the answer to each row; nulls where a row asks nothing. `start` is the number of rows before these.

        Raises:
            DataError: a row contradicts itself, or the model cannot answer it.
            ModelError: it answers with what is no finite number.
        """
        answers = [self.task.answers.empty(self.settings) for _ in prepared]
        with phase(self.profile, "tokenize"):
            asked = self._question(prepared, start)
        if asked is None:
            return answers
        usable, rows, encoded, settings = asked.usable, asked.rows, asked.encoded, asked.settings
        predictions = self.predictions_of(encoded, settings, batch_size)
        wrong = first_not_finite(predictions)
        if wrong is not None:  # a label would be made up of them
            row = usable[encoded["row"][wrong] if "row" in encoded.column_names else wrong]
            raise not_finite(self.resolved.name, start + row + 1, str(self.settled_model.dtype))
        cut = self.task.encoding.cut_roles(rows, encoded, self.tokenizer, settings)
        self.counts = self.counts.plus(TextCounts(len(usable), len(cut), frozenset().union(*cut.values()), asked.kind))
        if self.asked.windows is not None and cut:
            numbers = [start + usable[row] + 1 for row in cut]
            of_windows = self._over_windows(rows.select(list(cut)), numbers, settings, batch_size)
            pooled = dict(zip(cut, of_windows, strict=True))
            predictions = [pooled.get(row, prediction) for row, prediction in enumerate(predictions)]
        formatted = self.task.answers.format(predictions, encoded, rows, self.tokenizer, settings, self.asked.top)
        for row, answer in zip(usable, formatted, strict=True):
            answers[row] = answer
        return answers

    def _question(self, prepared: Sequence[Row], start: int) -> Question | None:
        """Return what the model is asked about some rows, of which so many are before them; None where it is nothing.

        Raises:
            DataError: a row contradicts itself, or the model cannot answer it.
        """
        usable = [number for number, inputs in enumerate(prepared) if self.is_answerable(inputs)]
        if not usable:
            return None
        roles = [role for role in self.task.columns.input_roles if any(role in prepared[row] for row in usable)]
        kind = "pair" if "pair" in roles else self.role
        columns = {role: [prepared[row].get(role) for row in usable] for role in roles}
        require_alike(columns, [start + row + 1 for row in usable])
        rows = dataset_of(columns)
        settings = replace(self.settings, columns={role: role for role in roles})
        invalid = self.task.columns.first_invalid_row(rows, settings.columns)
        refused = invalid or self.task.encoding.first_unanswerable_row(rows, self.tokenizer, settings)
        if refused is not None:
            raise DataError(f"row {start + usable[refused[0]] + 1}: {refused[1]}")
        encoded = self.task.encoding.encode(rows, self.tokenizer, settings, training=False)
        return Question(usable, rows, encoded, settings, kind)

    def predictions_of(self, encoded: Dataset, settings: TaskSettings, batch_size: int | None) -> list[Prediction]:
        """Return the task's prediction for each encoded row, in order.

        In bfloat16, float32 decides of the rows whose label could change by its error.
        """
        predictions = predict(self.task, self.settled_model, self.tokenizer, encoded, settings, batch_size)
        if not self.precision.is_half:
            return predictions
        margins = self.task.answers.margins(predictions, settings)
        close = np.flatnonzero(margins <= self.precision.reach).tolist()
        if close:
            rows = encoded.select(close)
            again = predict_few(self.task, self.model, self.tokenizer, rows, settings)
            for row, prediction in zip(close, again, strict=True):
                predictions[row] = prediction
        return predictions

    @cached_property
    def half_model(self) -> PreTrainedModel:
        """The weights in bfloat16; what a head does not read of the last layer is not computed."""
        from llmkit.models.text.first_token import keep_first_token

        model = super().half_model
        keep_first_token(model)
        return model

    @property
    def leaves_precision_open(self) -> bool:
        has_labels = bool(self.settings.class_names) and self.task.answers.has_margins
        return super().leaves_precision_open and has_labels and self.asked.windows is None

    def half_error(self, prepared: Sequence[Row]) -> float | None:
        asked = self._question(prepared, 0)
        if asked is None:
            return None
        pair = [
            predict(self.task, model, self.tokenizer, asked.encoded, asked.settings, None)
            for model in (self.model, self.half_model)
        ]
        full, half = (self.task.answers.margins(predictions, asked.settings) for predictions in pair)
        error = float(np.abs(full - half).max())
        labels = [
            [{name: answer.get(name) for name in LABELS} for answer in self._formatted(predictions, asked)]
            for predictions in pair
        ]
        return error if np.isfinite(error) and labels[0] == labels[1] else None

    def _formatted(self, predictions: Sequence[Prediction], asked: Question) -> list[Answer]:
        answers = self.task.answers
        return answers.format(predictions, asked.encoded, asked.rows, self.tokenizer, asked.settings, None)

    def _over_windows(
        self, rows: Dataset, numbers: Sequence[int], settings: TaskSettings, batch_size: int | None
    ) -> list[Prediction]:
        """Return the prediction for each of some rows that are too long, with these numbers, from windows.

        Raises:
            DataError: a row cannot be read in windows.
        """
        refused = self.task.encoding.first_unwindowed_row(rows, self.tokenizer, settings)
        if refused is not None:
            raise DataError(f"row {numbers[refused[0]]}: {refused[1]}")
        windows = self.task.encoding.encode_windows(rows, self.tokenizer, settings)
        of_rows: list[list[Prediction]] = [[] for _ in rows]
        predictions = self.predictions_of(windows, settings, batch_size)
        for row, prediction in zip(windows["row"], predictions, strict=True):
            of_rows[row].append(prediction)
        return [self.task.answers.pooled(of_row, str(self.asked.windows), settings) for of_row in of_rows]

    def say_truncated(self, report: Report) -> None:
        counts = self.counts
        if not counts.cut:
            return
        encoding = self.task.encoding
        long = LongTexts(counts, encoding.text_limit(self.settings))
        if self.asked.windows is not None:
            report.say(f"{long.described}, read in windows that overlap: --windows {self.asked.windows}")
            return
        hint = "; --windows mean|max reads all of it" if self.task.answers.pools_windows else ""
        side = encoding.cut_side(self.tokenizer, self.settings)
        report.warn(f"{long.described}, and {long.unread(side)} was not read{hint}")

    def dry_run(self, rows: int, columns: Mapping[str, str] | None = None, prepared: Sequence[Row] = ()) -> str:
        """Return how many rows of a file, or texts of the shell, there are for which model."""
        return f"{rows} {'texts' if columns is None else 'rows'} for {self.resolved.name}"

    def identity(self) -> dict[str, object]:
        """Return what the answers depend on, for the note beside an output file."""
        return {**self.resolved.identity(self.options), **asdict(self.asked)}

    def headings(self) -> list[str]:
        """Return the headings of the table of answers."""
        return self.task.answers.headings()

    def cells(self, inputs: Row, answer: Answer) -> list[str]:
        """Return the cells of one row of that table."""
        return self.task.answers.cells(inputs, answer)


class TargetScorer(Predictor):
    """A model of a task that answers no row in words: the numbers that it gives to rows with their targets."""

    def answer(self, prepared: Sequence[Row], batch_size: int | None, start: int = 0) -> list[Answer]:
        """Return the numbers for each row, or for each window where a row is encoded as several."""
        rows = dataset_of_rows(prepared)
        columns = {role: role for role in rows.column_names}
        draft = TaskSettings(columns=columns, max_length=self.settings.max_length, per_row=True)
        settings = self.task.resolve_settings(draft, self.asked, self.resolved.config, self.tokenizer)
        encoded = self.task.encoding.encode(rows, self.tokenizer, settings, training=False)
        predictions = predict(self.task, self.model, self.tokenizer, encoded, settings, batch_size)
        return [{"prediction": prediction} for prediction in predictions]


def classify(
    texts: Sequence[str] | str,
    model: str | os.PathLike[str] | ModelOptions,
    pairs: Sequence[str] | str | None = None,
    batch_size: int | None = None,
    top: int | None = None,
    asked: AskOptions | None = None,
) -> list[Answer]:
    """Label texts with a finetuned model: a dictionary with the text and what `llmkit classify` prints of each.

    Raises:
        OptionError: `pairs` and `texts` differ in number, or the model takes no pairs.
        DataError: one of them is no text.
        ModelError: the model is no classifier.
    """
    rows, seconds = given_texts(texts), None if pairs is None else given_texts(pairs, "pairs")
    if seconds is not None and len(seconds) != len(rows):
        raise OptionError(f"{len(rows)} texts and {len(seconds)} pairs: one for each text is wanted")
    options = model if isinstance(model, ModelOptions) else ModelOptions(model=os.fspath(model))
    size = RowOptions(batch_size=batch_size).batch_size
    asked = asked or AskOptions()
    task, resolved = resolve_task_and_model(
        "classify", options, asked, Report(), inputs=() if pairs is None else ("pair",)
    )
    predictor = Predictor(task, resolved, options, asked if top is None else replace(asked, top=top))
    inputs: Sequence[Row] = [{predictor.role: text} for text in rows]
    if seconds is not None:
        inputs = [{**row, "pair": pair} for row, pair in zip(inputs, seconds, strict=True)]
    roles = {role: role for row in inputs[:1] for role in row}
    prepared = predictor.prepare(inputs_of(inputs, roles, predictor.list_roles), [])
    answers = predictor.answer(prepared, size)
    predictor.say_truncated(Report())
    return [{**row, **answer} for row, answer in zip(inputs, answers, strict=True)]
