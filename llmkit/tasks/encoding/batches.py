"""Which encoded rows go through a model together, and where their tensors are."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

T = TypeVar("T")
R = TypeVar("R")

TOKENS_ON_CPU = 2048  # of a batch: with fewer the products are small, with more they leave the cache and pad more
TOKENS_ON_ACCELERATOR = 1 << 15
MOST_ROWS = 1024
AHEAD = 2  # batches for each thread that are computed or wait for it


def batches(lengths: Sequence[int], size: int | None, tokens: int = TOKENS_ON_CPU) -> Iterator[list[int]]:
    """Yield the numbers of the rows of each batch: rows of like length, the longest first.

    A batch has `size` rows; or where that is None, as many as have so many `tokens` with their padding.
    """
    order = np.argsort(-np.asarray(lengths), kind="stable").tolist()
    start = 0
    while start < len(order):
        end = start + (size or min(MOST_ROWS, max(1, tokens // max(1, lengths[order[start]]))))
        yield order[start:end]
        start = end


def tokens_per_batch(model: PreTrainedModel) -> int:
    """Return how many tokens, with their padding, go through a model together fast."""
    return TOKENS_ON_CPU if model.device.type == "cpu" else TOKENS_ON_ACCELERATOR


def row_tokens(row: Mapping[str, Any]) -> int:
    """Return how many tokens an encoded row takes: of its text, or of all of its alternatives, padded."""
    ids = row.get("input_ids") or ()
    if ids and isinstance(ids[0], list):
        return len(ids) * max(map(len, ids))
    return max(len(ids), int(row["length"]))


def on_device(batch: dict[str, torch.Tensor], model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Move a batch's tensors to the model's device."""
    return {name: value.to(model.device) for name, value in batch.items()}


def threads_for(model: PreTrainedModel) -> int:
    """Return how many batches are computed at the same time: on a CPU, as many as torch has threads for one product.

    So no thread waits for another within each layer: two cores were 1.1 to 1.2 times as fast as with both in each
    product.
    """
    import torch

    return torch.get_num_threads() if model.device.type == "cpu" else 1


class BatchThreads:
    """So many threads that compute a batch each, in a context; with one, the thread that asks computes."""

    def __init__(self, size: int) -> None:
        self.size, self._before = size, 0
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> BatchThreads:
        if self.size > 1:
            import torch

            self._before = torch.get_num_threads()
            self._pool = ThreadPoolExecutor(self.size, initializer=torch.set_num_threads, initargs=(1,))
        return self

    def map(self, compute: Callable[[T], R], inputs: Iterable[T]) -> Iterator[R]:
        """Yield what is computed of each input, in order; each is computed when its turn comes, or shortly before."""
        if self._pool is None:
            yield from map(compute, inputs)
            return
        waiting: deque[Future[R]] = deque()
        for each in inputs:
            waiting.append(self._pool.submit(compute, each))
            if len(waiting) > AHEAD * self.size:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            import torch

            self._pool.shutdown(cancel_futures=True)
            torch.set_num_threads(self._before)  # libraries keep one number for all threads
