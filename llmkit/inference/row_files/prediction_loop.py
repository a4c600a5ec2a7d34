"""Encoded rows through a model in batches, predictions back in the rows' order."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from llmkit.distributed.world import ALONE, World
from llmkit.errors import Stopped
from llmkit.inference.answer_cache import AnswerCache
from llmkit.output.report import Report
from llmkit.runs.interrupts import StopRequest
from llmkit.tasks import Task, TaskSettings
from llmkit.tasks.base.answers import Prediction
from llmkit.tasks.base.encoding import Collator, EncodedRow
from llmkit.tasks.encoding.batches import BatchThreads, batches, on_device, row_tokens, threads_for, tokens_per_batch

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TOKENS_OF_FEW = 512  # of a batch, where a whole one would leave threads without work


@dataclass(frozen=True)
class PredictionLoop:
    """A model that goes through encoded rows in batches; `cache` keeps what it predicts, and what it holds is known.

    Where a signal asks to stop it ends after the batch at hand.
    """

    task: Task
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    settings: TaskSettings
    batch_size: int | None  # None: as many rows as are fast
    report: Report = field(default_factory=Report)
    cache: AnswerCache = field(default_factory=AnswerCache)
    stop_request: StopRequest | None = None
    world: World = ALONE
    threads: int = 1  # batches that are computed at the same time, each by one thread, where there are so many
    are_few: bool = False  # small batches, each by one thread in any case: the same bits on any number of threads

    def run(self, encoded: Dataset) -> list[Prediction]:
        """Return the prediction for each encoded row, in order. Batches hold rows of like length, longest first.

        Batches that the cache holds are not run again; the others are the same batches as in a run from the start. The
        processes of `world` take one batch each in turn, and all of them get all predictions.

        Raises:
            Stopped: a signal asked for it, and the cache keeps what was done.
        """
        inputs = encoded.to_list()  # once: picking rows out of Arrow for each batch costs more than a small model
        done, here = self.cache.done, ALONE if _is_sharded(self.model) else self.world
        lengths = encoded["length"] if self.batch_size else list(map(row_tokens, inputs))
        tokens = TOKENS_OF_FEW if self.are_few else tokens_per_batch(self.model)
        together = batches(lengths, self.batch_size, tokens)
        to_run = [rows for rows in together if not all(row in done for row in rows)]
        mine = ([inputs[row] for row in rows] for rows in to_run[here.rank :: here.size])
        was_training = self.model.training
        self.model.eval()
        alongside = BatchThreads(self.threads if self.are_few or len(to_run) >= self.threads else 1)
        with self.report.progress("measuring", len(encoded)) as advance, alongside as threads:
            advance(len(encoded) - sum(map(len, to_run)))
            computed = threads.map(self._predicted, mine)
            for start in range(0, len(to_run), here.size):
                turn = to_run[start : start + here.size]
                predicted = next(computed) if here.rank < len(turn) else None
                for rows, predictions in zip(turn, here.gather(predicted), strict=False):
                    self.cache.add(rows, predictions or [])
                    advance(len(rows))
                asked = self.stop_request is not None and self.stop_request.asked
                if here.any(asked) and len(done) < len(encoded):
                    raise Stopped(
                        f"stopped after {len(done)} of {len(encoded)} rows: the same command goes on from there"
                    )
        self.model.train(was_training)
        return [done[row] for row in range(len(encoded))]

    @cached_property
    def _collate(self) -> Collator:
        return self.task.encoding.collator(self.tokenizer, self.settings)

    def _predicted(self, rows: list[EncodedRow]) -> list[Prediction]:
        """Return the prediction for each of some rows: in two halves where no batch size says and memory is short."""
        import torch

        try:
            with torch.inference_mode():
                return self.task.answers.predict(self.model, on_device(self._collate(rows), self.model), self.settings)
        except torch.OutOfMemoryError:
            if self.batch_size is not None or len(rows) == 1:
                raise
        torch.cuda.empty_cache()
        half = len(rows) // 2
        return [*self._predicted(rows[:half]), *self._predicted(rows[half:])]


def _is_sharded(model: torch.nn.Module) -> bool:
    """Tell whether each process holds a part of the weights: all of them then go through each batch together."""
    # told by what a DTensor has, whose import takes a second, and what DeepSpeed gives to a part of weights
    return any(hasattr(held, "device_mesh") or hasattr(held, "ds_tensor") for held in model.parameters())


def predict(
    task: Task,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    encoded: Dataset,
    settings: TaskSettings,
    batch_size: int | None,
) -> list[Prediction]:
    """Return the task's prediction for each encoded row, in order: see `PredictionLoop`."""
    threads = threads_for(model) if task.answers.is_one_pass else 1
    return PredictionLoop(task, model, tokenizer, settings, batch_size, threads=threads).run(encoded)


def predict_few(
    task: Task, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, encoded: Dataset, settings: TaskSettings
) -> list[Prediction]:
    """Return the task's prediction for each of few encoded rows, the same bits on any number of threads."""
    threads = threads_for(model) if task.answers.is_one_pass else 1
    return PredictionLoop(task, model, tokenizer, settings, None, threads=threads, are_few=True).run(encoded)
