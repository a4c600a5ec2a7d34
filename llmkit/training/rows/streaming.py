"""Training on rows that are read as they are needed: `--streaming`, for data larger than memory.

What has to be known beforehand (columns, labels, a tokenizer's vocabulary) is known from the first rows. Some of them
are kept aside to measure on where the dataset has no validation split.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, DatasetDict
from transformers import PreTrainedTokenizerBase

from llmkit import tasks
from llmkit.data import Source, weights_of
from llmkit.data.labels import refuse_others
from llmkit.data.parts import Part
from llmkit.data.splits import VALIDATIONS, label_sets_of
from llmkit.data.streams import RowStream, Streams, open_streams
from llmkit.errors import DataError, EmptyError, OptionError, did_you_mean, listing
from llmkit.inspection.tokenizer_checks import require_spelled
from llmkit.options import SplitOptions, TrainingOptions
from llmkit.output.report import Report
from llmkit.tasks import Task, TaskSettings
from llmkit.training.rows.length_batches import LengthBatches

HEAD_ROWS, HEAD_CHARACTERS = 2000, 8_000_000  # of the first rows, whichever is less
HELD_OUT = 0.1  # of these
POOL_ROWS, POOL_BATCHES = 2000, 50  # rows among which the order is drawn, whichever is more


@dataclass(frozen=True)
class Opened:
    """A dataset of which the first rows were read: those to measure on, and some of those to train on."""

    source: Source  # of these rows
    rows: RowStream
    skip: int  # rows that are kept aside
    limit: int | None
    measured: str  # the rows to measure on, as a split expression


def require_steps(splits: SplitOptions, hyper: TrainingOptions) -> None:
    """Refuse a training that does not say how long it is.

    Raises:
        OptionError: rows that are read as they come have no number.
    """
    if splits.streaming and hyper.max_steps is None:
        raise OptionError("--streaming reads rows as they come and cannot count them before: say --max-steps")


def open_stream(
    references: Sequence[str], splits: SplitOptions, limit: int | None, encoding: str, report: Report
) -> Opened:
    """Open a dataset for streaming and read its first rows.

    Raises:
        OptionError: several datasets, a weight, or a slice.
        DataError, EmptyError, HubError: there is no such dataset, split or row.
    """
    named = weights_of(references)
    if list(named.values()) != [1.0]:
        raise OptionError("--streaming takes one dataset without a weight; a folder of several files is one")
    streams = open_streams(next(iter(named)), encoding, report)
    rows = _split(streams, splits.train_split, "--train-split")
    head = rows.head(min(HEAD_ROWS, limit or HEAD_ROWS), HEAD_CHARACTERS)
    validation = splits.validation or next((name for name in VALIDATIONS if name in streams.splits), None)
    parts, skip = {splits.train_split: head}, 0
    if validation is None:
        skip = max(1, round(len(head) * HELD_OUT))
        if skip >= len(head):
            raise EmptyError("one row is too few to train on and to measure on; give --validation, or more rows")
        validation = f"{splits.train_split}[:{skip}]"
        parts = {splits.train_split: head.select(range(skip, len(head))), "validation": head.select(range(skip))}
    elif validation in streams.splits or not Path(validation).exists():
        held = _split(streams, validation, "--validation").head(min(HEAD_ROWS, limit or HEAD_ROWS), HEAD_CHARACTERS)
        parts[validation] = held
        validation = f"{validation}[:{len(held)}]"
    report.say(f"streaming: labels and checks are of the first {len(head)} rows, the others are read in training")
    source = Source(streams.reference, DatasetDict(parts), commit=streams.commit)
    return Opened(source, rows, skip, limit, validation)


def _split(streams: Streams, name: str, flag: str) -> RowStream:
    if name not in streams.splits:
        near = did_you_mean(name, streams.splits)
        raise DataError(
            f"{flag}: there is no split {name!r}{near}; {streams.reference} has {listing(streams.splits)}, and "
            "--streaming takes them whole"
        )
    return streams.splits[name]


class Stream(torch.utils.data.IterableDataset[dict[str, Any]]):
    """Prepared rows without end, each pass over the data in another order, a pure function of the seed.

    The order is drawn among rows that stand near each other: data that is sorted should be shuffled before.
    """

    def __init__(
        self,
        batches: Callable[[], Iterator[Dataset]],
        prepare: Callable[[Dataset, int], Dataset],
        seed: int,
        batch_size: int = 1,
    ) -> None:
        self.batches, self.prepare, self.seed, self.batch_size = batches, prepare, seed, batch_size

    def in_batches_of(self, rows: int) -> Stream:
        """Return the same rows in an order that puts rows of like length into batches of so many."""
        return Stream(self.batches, self.prepare, self.seed, rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        size = self.batch_size * max(POOL_BATCHES, -(-POOL_ROWS // self.batch_size))
        pool: list[dict[str, Any]] = []
        drawn = count()
        for rows in self._passes():
            pool += rows
            while len(pool) >= size:
                yield from self._ordered(pool[:size], next(drawn))
                pool = pool[size:]

    def _passes(self) -> Iterator[list[dict[str, Any]]]:
        """Yield prepared rows, from the first again after the last."""
        while True:
            seen, start = 0, 0
            for batch in self.batches():
                prepared = self.prepare(batch, start)
                start, seen = start + len(batch), seen + len(prepared)
                yield prepared.to_list()
            if not seen:
                raise EmptyError("--streaming: there is no usable row to train on")

    def _ordered(self, rows: list[dict[str, Any]], number: int) -> Iterator[dict[str, Any]]:
        order = LengthBatches([row["length"] for row in rows], self.batch_size, self.seed)
        order.set_epoch(number)
        return (rows[place] for place in order)


def stream_of(opened: Opened, task: Task, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings) -> Stream:
    """Return the rows to train on as model inputs, prepared as they come.

    Raises:
        OptionError: the task asks the untrained model about every row beforehand.
    """
    if task.needs_reference_outputs:
        raise OptionError(f"--streaming: {task.name} asks the model about every row before it is trained")
    prepare = partial(_prepared, opened, task, tokenizer, settings)
    return Stream(partial(opened.rows.batches, opened.skip, opened.limit), prepare, settings.seed)


def _prepared(
    opened: Opened, task: Task, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings, batch: Dataset, start: int
) -> Dataset:
    """Prepare rows of which the first is row `start` + 1 of those that are trained on.

    Raises:
        DataError: a row contradicts itself, cannot be spelled, or has a label that the first rows have not.
    """
    where = f"{opened.source.reference}, rows after the first {opened.skip + start}"
    tasks.require_valid_rows(task, batch, settings.columns, where)
    kept = batch.select(task.columns.usable_rows(batch, settings.columns))
    require_spelled(task, Part(where, kept), tokenizer, settings)
    column = task.columns.class_column(kept, settings.columns)
    if settings.labels is not None and not settings.labels.regression and column is not None:
        refuse_others(settings.labels, label_sets_of(kept, column), where)
    prepared = task.encoding.encode(kept, tokenizer, settings, training=True)
    silent = set(task.encoding.rows_without_targets(prepared))
    learned = prepared.select([row for row in range(len(prepared)) if row not in silent]) if silent else prepared
    return task.encoding.pack(learned, settings)
