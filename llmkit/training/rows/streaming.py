"""Training on rows that are read as they are needed: `--streaming`, for data larger than memory.

What has to be known beforehand (columns, labels, a tokenizer's vocabulary) is known from the first rows. Some of them
are held out to measure on where the dataset has no validation split.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from datasets import Dataset, DatasetDict, Features
from transformers import PreTrainedTokenizerBase

from llmkit import tasks
from llmkit.data import Source
from llmkit.data.conversions import Conversion
from llmkit.data.labels import refuse_others
from llmkit.data.parts import Part
from llmkit.data.splits import VALIDATIONS, label_sets_of
from llmkit.data.streams import ConvertedStream, RowStream, Streams, open_streams
from llmkit.errors import DataError, EmptyError, OptionError, did_you_mean, listing
from llmkit.inspection.tokenizer_checks import require_spelled
from llmkit.options import CorpusOptions, SplitOptions, TrainingOptions
from llmkit.options.urls import is_url
from llmkit.output.report import Report
from llmkit.tasks import Task, TaskSettings
from llmkit.training.rows.lanes import Lanes, Shard

HEAD_ROWS, HEAD_CHARACTERS = 2000, 8_000_000  # of the first rows, whichever is less
HELD_OUT_SHARE = 0.1  # of these


@dataclass(frozen=True)
class StreamedDataset:
    """A dataset of which the first rows were read: those to measure on, and some of those to train on."""

    source: Source  # of these rows
    rows: RowStream
    skip: int  # rows at the beginning that are held out
    limit: int | None
    measured: str  # the rows to measure on, as a split expression

    def convert(self, conversions: Sequence[Conversion]) -> StreamedDataset:
        """Return the dataset with its rows read in other ways, those of the stream as they come."""
        rows = ConvertedStream(self.rows, tuple(conversions)) if conversions else self.rows
        return replace(self, source=self.source.convert(conversions), rows=rows)


def require_steps(splits: SplitOptions, training: TrainingOptions) -> None:
    """Refuse a training that does not say how long it is.

    Raises:
        OptionError: rows that are read as they come have no number.
    """
    if splits.streaming and training.max_steps is None:
        raise OptionError("--streaming reads rows as they come and cannot count them before: say --max-steps")


def open_stream(reference: str, splits: SplitOptions, data: CorpusOptions, report: Report) -> StreamedDataset:
    """Open a dataset for streaming and read its first rows.

    Raises:
        OptionError: a slice, or standard input.
        DataError, EmptyError, HubError: there is no such dataset, split or row.
    """
    streams, most = open_streams(reference, data, report), min(HEAD_ROWS, data.limit or HEAD_ROWS)
    rows = _split(streams, splits.train_split, "--train-split")
    head = rows.head(most, HEAD_CHARACTERS)
    validation = splits.validation or next((name for name in VALIDATIONS if name in streams.splits), None)
    parts, skip = {splits.train_split: head}, 0
    if validation is None:
        skip = max(1, round(len(head) * HELD_OUT_SHARE))
        if skip >= len(head):
            raise EmptyError("one row is too few to train on and to measure on; give --validation, or more rows")
        validation = f"{splits.train_split}[:{skip}]"
        parts = {splits.train_split: head.select(range(skip, len(head))), "validation": head.select(range(skip))}
    elif validation in streams.splits or not (is_url(validation) or Path(validation).exists()):
        held_out = _split(streams, validation, "--validation").head(most, HEAD_CHARACTERS)
        parts[validation] = held_out
        validation = f"{validation}[:{len(held_out)}]"
    report.say(f"streaming: labels and checks are of the first {len(head)} rows, the others are read in training")
    source = Source(streams.reference, DatasetDict(parts), commit=streams.commit)
    return StreamedDataset(source, rows, skip, data.limit, validation)


def _split(streams: Streams, name: str, flag: str) -> RowStream:
    if name not in streams.splits:
        near = did_you_mean(name, streams.splits)
        raise DataError(
            f"{flag}: there is no split {name!r}{near}; {streams.reference} has {listing(streams.splits)}, and "
            "--streaming takes them whole"
        )
    return streams.splits[name]


@dataclass(frozen=True)
class Stream:
    """Encoded rows without end, each pass over them in another order, a pure function of the seed.

    The order is drawn among rows that stand near each other: data that is sorted should be shuffled before.
    """

    shards: tuple[Shard, ...]
    seed: int

    def in_batches_of(self, rows: int, folder: Path | None = None) -> Lanes:
        """Return the rows for steps of so many; `folder` is where a resumed run finds what it need not read again."""
        return Lanes(self.shards, self.seed, rows, folder)


def stream_of(
    dataset: StreamedDataset, task: Task, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings
) -> Stream:
    """Return the rows to train on as model inputs, encoded as they come.

    Raises:
        OptionError: the task asks the untrained model about every row beforehand.
    """
    if task.needs_reference_outputs:
        raise OptionError(
            f"--streaming: {task.name} asks the model about every row before it is trained; leave --streaming out"
        )
    shards, limit = _shards(dataset), dataset.limit
    features = dataset.rows.features() if len(shards) > 1 else None
    return Stream(
        tuple(EncodedShard(rows, skip, limit, features, dataset, task, tokenizer, settings) for rows, skip in shards),
        settings.seed,
    )


def _shards(dataset: StreamedDataset) -> list[tuple[RowStream, int]]:
    """Return the parts that can be read for themselves, each with the number of its first rows that are held out."""
    shards = dataset.rows.shards() if dataset.limit is None else (dataset.rows,)
    if len(shards) == 1:
        return [(dataset.rows, dataset.skip)]
    trained, left = list[tuple[RowStream, int]](), dataset.skip
    for shard in shards:
        held_out = sum(len(batch) for batch in shard.batches(limit=left)) if left else 0
        if held_out == left:  # else all of it
            trained.append((shard, held_out))
        left -= held_out
    return trained


@dataclass(frozen=True)
class EncodedShard:
    """Rows to train on as model inputs: each time they are read, they are encoded anew."""

    rows: RowStream
    skip: int
    limit: int | None
    features: Features | None  # of the first rows of the dataset
    dataset: StreamedDataset
    task: Task
    tokenizer: PreTrainedTokenizerBase
    settings: TaskSettings

    @property
    def name(self) -> str:
        """What tells it from other shards."""
        return f"{self.rows.name}, {self.skip}"

    def read(self, start: int = 0) -> Iterator[tuple[int, Dataset]]:
        """Yield model inputs from the row `start` on, in batches; with each the number of the row that it begins at.

        Raises:
            DataError: as `_encoded`.
        """
        for batch in self.rows.batches(self.skip + start, self.limit, self.features):
            yield start, self._encoded(batch, start)
            start += len(batch)

    def _encoded(self, batch: Dataset, start: int) -> Dataset:
        """Encode rows of which the first is row `start` + 1 of those that are trained on.

        Raises:
            DataError: a row contradicts itself, cannot be spelled, or has a label that the first rows have not.
        """
        task, settings = self.task, self.settings
        reference = self.dataset.source.reference
        name = reference if self.features is None else f"{reference} ({self.rows.name})"
        where = f"{name}, rows after the first {self.skip + start}"
        tasks.require_valid_rows(task, batch, settings.columns, where)
        usable = batch.select(task.columns.usable_rows(batch, settings.columns))
        require_spelled(task, Part(where, usable), self.tokenizer, settings)
        column = task.columns.class_column(usable, settings.columns)
        if settings.labels is not None and not settings.labels.regression and column is not None:
            refuse_others(settings.labels, label_sets_of(usable, column), where)
        encoded = task.encoding.encode(usable, self.tokenizer, settings, training=True)
        without_targets = set(task.encoding.rows_without_targets(encoded))
        if without_targets:
            encoded = encoded.select([row for row in range(len(encoded)) if row not in without_targets])
        return task.encoding.pack(encoded, settings)
