"""How a model reads rows: which tokens, how many of them, and how many are too many."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from datasets import Dataset
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from llmkit import models
from llmkit.data.labels import Labels
from llmkit.errors import DataError, ModelError
from llmkit.inspection.row_codes import readable_texts
from llmkit.metrics.observations import Ints
from llmkit.models import ResolvedModel
from llmkit.options import DataOptions, ModelOptions
from llmkit.output.survey_result import LengthsResult
from llmkit.tasks import Task, TaskSettings, input_columns, max_length_for

MAX_ROWS_COUNTED = 50_000  # of a split: in a larger one so many, evenly spread
ROWS_PER_SLICE = 1000  # that are tokenized at a time
UNBOUNDED = 1 << 30  # tokens: more than any row has
BINS = 30


@dataclass(frozen=True)
class TokenCounter:
    """A model's tokenizer, and the settings of a task with it; None where the model cannot be asked for that task.

    Then its tokens serve as a measure, and no more.
    """

    name: str
    task: Task
    tokenizer: PreTrainedTokenizerBase
    config: PretrainedConfig
    inputs: dict[str, str]
    settings: TaskSettings | None
    limit: int

    def lengths(self, rows: Dataset) -> Ints:
        """Return how many tokens each row has in full, (n,); rows are not blank."""
        starts = range(0, len(rows), ROWS_PER_SLICE)
        slices = [rows.select(range(start, min(start + ROWS_PER_SLICE, len(rows)))) for start in starts]
        return np.concatenate([np.empty(0, dtype=np.int64), *map(self._lengths, slices)])

    def _lengths(self, rows: Dataset) -> Ints:
        if self.settings is None:
            ids = self.tokenizer(readable_texts(rows, self.inputs), add_special_tokens=False)["input_ids"]
            return np.array(list(map(len, ids)), dtype=np.int64)
        settings = replace(self.settings, columns=self.inputs, max_length=UNBOUNDED, per_row=True)
        encoded = self.task.encoding.encode(rows, self.tokenizer, settings, training=False)
        places = np.array(encoded["row"][:] if "row" in encoded.column_names else range(len(encoded)), dtype=np.int64)
        sizes = np.array(encoded["length"][:], dtype=np.int64)
        of_rows = places < len(rows)  # zero-shot asks once more, without a text
        return np.bincount(places[of_rows], sizes[of_rows], len(rows)).astype(np.int64)


def open_token_counter(
    task: Task,
    columns: dict[str, str],
    train: Dataset,
    resolved: ResolvedModel,
    options: ModelOptions,
    data: DataOptions,
) -> TokenCounter:
    """Return how a model reads rows for a task, which it must be able to do where `options` name it.

    Raises:
        ModelError, OptionError: it cannot do the task, or takes fewer tokens than --max-length.
    """
    tokenizer = models.load_tokenizer(resolved, options)
    default, is_named = task.encoding.default_max_length, options.model is not None
    limit = max_length_for(resolved, tokenizer, data.max_length, default) if is_named else data.max_length or default
    settings = None
    if is_named or task.can_finetune(resolved.config):
        try:
            draft = _draft(task, columns, train, resolved.config, limit)
            draft = task.with_training_statistics(draft, train)
            draft = replace(draft, split_special_tokens=data.split_special_tokens)
            settings = task.resolve_settings(draft, data, resolved.config, tokenizer)
        except ModelError:
            if is_named:
                raise
    return TokenCounter(
        name=resolved.name,
        task=task,
        tokenizer=tokenizer,
        config=resolved.config,
        inputs=input_columns(columns),
        settings=settings,
        limit=settings.max_length if settings else limit,
    )


def _draft(
    task: Task, columns: dict[str, str], train: Dataset, config: PretrainedConfig, max_length: int
) -> TaskSettings:
    """Return settings with the labels of the rows; where they cannot be had, of the inputs alone."""
    labels: Labels | None = None
    try:
        if "finetune" in task.commands:
            labels = task.columns.labels(train, None, columns)
        else:
            matching = task.columns.match_labels(train, columns, config, {})
            labels = matching.labels if matching else None
    except DataError:  # only one label, say: a finding, and no reason to show nothing
        columns = input_columns(columns)
    return TaskSettings(columns=columns, max_length=max_length, labels=labels)


def sampled(places: Ints) -> Ints:
    """Return so many places, evenly spread, (k,), that counting their tokens takes seconds: all where they are few."""
    if len(places) <= MAX_ROWS_COUNTED:
        return places
    return places[np.linspace(0, len(places) - 1, MAX_ROWS_COUNTED).astype(np.int64)]


def describe(lengths: Ints, limit: int) -> LengthsResult:
    """Return the figures of lengths in tokens, (n,), how many are over the limit, and a histogram."""
    over = int((lengths > limit).sum())
    counts, edges = np.histogram(lengths, bins=min(BINS, int(np.ptp(lengths)) + 1))
    return {
        "measured": len(lengths),
        "min": int(lengths.min()),
        "mean": float(lengths.mean()),
        "median": float(np.percentile(lengths, 50)),
        "p95": float(np.percentile(lengths, 95)),
        "p99": float(np.percentile(lengths, 99)),
        "max": int(lengths.max()),
        "over": over,
        "over_share": over / len(lengths),
        "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
    }
