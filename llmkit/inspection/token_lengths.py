"""How a model reads rows: which tokens, how many of them, and how many are too many."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from llmkit import models
from llmkit.data.labels import Labels
from llmkit.errors import DataError, ModelError
from llmkit.inspection.row_codes import Ints, spelled
from llmkit.models import ResolvedModel
from llmkit.options import DataOptions, ModelOptions
from llmkit.tasks import Task, TaskSettings, input_columns, max_length_for

SAMPLE = 50_000  # rows of a split whose tokens are counted: in a larger one so many, evenly spread
SLICE = 1000  # rows that are tokenized at a time
UNBOUNDED = 1 << 30  # tokens: more than any row has
BINS = 30
SHARES = {"median": 50, "p95": 95, "p99": 99}


@dataclass(frozen=True)
class Reader:
    """A model's tokenizer, and what it settled for a task; `settings` is None where it cannot be asked for that task.

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
        """Return how many tokens each row has whole; rows are not blank."""
        slices = [rows.select(range(start, min(start + SLICE, len(rows)))) for start in range(0, len(rows), SLICE)]
        return np.concatenate([np.empty(0, dtype=np.int64), *map(self._lengths, slices)])

    def _lengths(self, rows: Dataset) -> Ints:
        if self.settings is None:
            ids = self.tokenizer(spelled(rows, self.inputs), add_special_tokens=False)["input_ids"]
            return np.array(list(map(len, ids)), dtype=np.int64)
        settings = replace(self.settings, columns=self.inputs, max_length=UNBOUNDED, per_row=True)
        prepared = self.task.encoding.encode(rows, self.tokenizer, settings, training=False)
        places = np.array(prepared["row"] if "row" in prepared.column_names else range(len(prepared)), dtype=np.int64)
        sizes = np.array(prepared["length"], dtype=np.int64)
        own = places < len(rows)  # zero-shot asks once more, without a text
        return np.bincount(places[own], sizes[own], len(rows)).astype(np.int64)


def open_reader(
    task: Task,
    columns: dict[str, str],
    train: Dataset,
    resolved: ResolvedModel,
    options: ModelOptions,
    data: DataOptions,
    chosen: bool,
) -> Reader:
    """Return how a model reads rows for a task; `chosen`: whether the user named it, so that it must be able to.

    Raises:
        ModelError, OptionError: it cannot do the task, or takes fewer tokens than --max-length.
    """
    tokenizer = models.load_tokenizer(resolved, options)
    default = task.encoding.default_max_length
    limit = max_length_for(resolved, tokenizer, data.max_length, default) if chosen else data.max_length or default
    inputs = input_columns(columns)
    settings = None
    if chosen or task.can_finetune(resolved.config):
        try:
            settings = _settled(task, columns, train, resolved, tokenizer, data, limit)
        except ModelError:
            if chosen:
                raise
    most = settings.max_length if settings else limit
    return Reader(resolved.name, task, tokenizer, resolved.config, inputs, settings, most)


def _settled(
    task: Task,
    columns: dict[str, str],
    train: Dataset,
    resolved: ResolvedModel,
    tokenizer: PreTrainedTokenizerBase,
    data: DataOptions,
    limit: int,
) -> TaskSettings:
    labels: Labels | None = None
    try:
        if "finetune" in task.commands:
            labels = task.columns.labels(train, None, columns)
        else:
            matching = task.columns.match_labels(train, columns, resolved.config, {})
            labels = matching.labels if matching else None
    except DataError:  # only one label, say: a finding, and no reason to show nothing
        columns = input_columns(columns)
    settings = TaskSettings(columns=columns, max_length=limit, labels=labels)
    return task.resolve_settings(task.with_training_statistics(settings, train), data, resolved.config, tokenizer)


def sampled(places: Ints) -> Ints:
    """Return so many places, evenly spread, that counting their tokens takes seconds: all where they are few."""
    if len(places) <= SAMPLE:
        return places
    return places[np.linspace(0, len(places) - 1, SAMPLE).astype(np.int64)]


def describe(lengths: Ints, limit: int) -> dict[str, Any]:
    """Return the figures of lengths in tokens, how many are over the limit, and a histogram."""
    over = int((lengths > limit).sum())
    counts, edges = np.histogram(lengths, bins=min(BINS, int(np.ptp(lengths)) + 1))
    return {
        "measured": len(lengths),
        "min": int(lengths.min()),
        "mean": float(lengths.mean()),
        **{name: float(np.percentile(lengths, share)) for name, share in SHARES.items()},
        "max": int(lengths.max()),
        "over": over,
        "over_share": over / len(lengths),
        "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
    }
