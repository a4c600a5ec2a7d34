"""What a model must beat: a unigram model of the same tokenizer, on the same held-out text."""

from __future__ import annotations

import math

import numpy as np

from llmkit.tasks.encoding.collation import IGNORED
from llmkit.training.loop.job import Job

ROWS_PER_BATCH = 1000


def unigram_loss(job: Job) -> float:
    """Return the nats per token of an add-one-smoothed unigram model on the tokens that the evaluation scores."""
    encoded, counts = job.encoded_train, np.ones(len(job.tokenizer))
    for start in range(0, len(encoded), ROWS_PER_BATCH):
        rows = encoded.select(range(start, min(start + ROWS_PER_BATCH, len(encoded))))
        tokens = list(job.task.encoding.target_tokens(rows, job.tokenizer, job.settings))
        counts += np.bincount(np.concatenate(tokens), minlength=len(counts))
    targets = _scored_tokens(job)
    return float(-np.log(counts / counts.sum())[targets].mean()) if len(targets) else math.nan


def _scored_tokens(job: Job) -> np.ndarray:
    """Return the ids of the tokens that the evaluation scores, (n,): all but the first, or what was taken out."""
    encoding = job.task.encoding
    encoded = encoding.encode(job.rows.validation, job.tokenizer, job.settings, training=False)
    labels = encoding.collator(job.tokenizer, job.settings)(encoded.to_list())["labels"].numpy()
    ids = labels.reshape(-1)
    scored: np.ndarray = ids[ids != IGNORED]
    return scored
