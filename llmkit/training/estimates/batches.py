"""Which batch of a training holds the most, and that batch of any number of rows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from llmkit.tasks.base.encoding import Batch, EncodedRow
from llmkit.training.loop.job import Job
from llmkit.training.loop.recipe import Recipe
from llmkit.training.rows.length_batches import LengthBatches

EPOCHS_LOOKED_AT = 3  # each has an order of its own, in which the longest rows meet again
PLACEHOLDER = [0.0, 0.0]  # what a reference says of a pair: two numbers


def largest_batch(job: Job, recipe: Recipe) -> list[int]:
    """Return the rows of the batch of most tokens, padding counted, of those that the training comes to.

    Of rows that are read as they come, and where a batch has more rows than there are, they are the longest ones,
    again and again.
    """
    lengths, size = np.asarray(job.encoded_train["length"]), recipe.batch_size
    if job.stream is not None or size >= len(lengths):
        longest = np.argsort(-lengths, kind="stable")
        return [int(longest[place % len(longest)]) for place in range(size)]
    left = recipe.steps(len(lengths)) * recipe.accumulation
    sampler, best, most = LengthBatches(lengths.tolist(), size * recipe.accumulation, recipe.seed), list[int](), -1
    for epoch in range(min(EPOCHS_LOOKED_AT, math.ceil(left * size / len(lengths)))):
        sampler.set_epoch(epoch)
        order = np.fromiter(sampler, int)
        for start in range(0, min(len(order), left * size), size):
            rows = order[start : start + size]
            tokens = len(rows) * int(lengths[rows].max())
            if tokens > most:
                best, most = rows.tolist(), tokens
        left -= math.ceil(len(lengths) / size)
    return best


def share_of_one(job: Job, rows: Sequence[int], processes: int) -> list[int]:
    """Return the rows of a batch that one of its processes has: of the one with the most tokens."""
    lengths = job.encoded_train["length"]
    shares = [list(rows[rank::processes]) for rank in range(min(processes, len(rows)))]
    return max(shares, key=lambda share: len(share) * max(lengths[row] for row in share))


def longest_validation_batch(job: Job) -> list[int]:
    """Return the validation rows that are measured together and are the longest."""
    lengths = np.asarray(job.encoded_validation["length"])
    longest: list[int] = np.argsort(-lengths, kind="stable")[: job.task.eval_batch_size].tolist()
    return longest


def training_batch(job: Job, rows: Sequence[int]) -> Batch:
    """Return a batch of training rows as the loop collates it."""
    collate = job.task.encoding.collator(job.tokenizer, job.loop_settings[0])
    return collate([_with_reference(job, row) for row in _read(job.encoded_train, rows)])


def validation_batch(job: Job, rows: Sequence[int]) -> Batch:
    """Return a batch of validation rows as a measurement collates it."""
    collate = job.task.encoding.collator(job.tokenizer, job.loop_settings[1])
    return collate([_with_reference(job, row) for row in _read(job.encoded_validation, rows)])


def _read(encoded: object, rows: Sequence[int]) -> list[EncodedRow]:
    return [dict(encoded[row]) for row in rows]  # type: ignore[index]  # a Dataset, of which mypy knows nothing


def _with_reference(job: Job, row: EncodedRow) -> EncodedRow:
    """Return a row with what the model would say of it before the training, if the task asks for that."""
    return {**row, "before": PLACEHOLDER} if job.task.needs_reference_outputs else row
