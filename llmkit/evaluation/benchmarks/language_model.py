"""lm-eval's Hugging Face model, without the work that no score needs.

`HFLM` repeats a context for each of its answers, and turns the hidden state of every position into logits and
log-probabilities over the whole vocabulary, where only the continuation's positions are read. Here a context that
requests share is computed once, and logits are made for the positions that are read. The numbers are HFLM's.
"""

from __future__ import annotations

import functools
import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from llmkit.errors import Stopped
from llmkit.evaluation.benchmarks.forward import Forward
from llmkit.evaluation.benchmarks.prefix_packing import Row, Wanted, batches, pack
from llmkit.inference.answer_cache import AnswerCache

Request = tuple[tuple[str, str] | None, list[int], list[int]]  # texts (None: a window of a text), context, continuation
Answer = tuple[float, bool]  # the continuation's log-likelihood, and whether each of its tokens is the likeliest
Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]

TOKENS_ON_CPU = 512  # per forward pass: larger ones leave the cache and pad more
TOKENS_ON_ACCELERATOR = 16384
LOGITS = 2**27  # at once: half a gigabyte in float32
GENERATED_TOGETHER = 8
GENERATED_BETWEEN_SAVES = 64


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Unloaded:
    """A model whose weights are read when the first answer is not known."""

    config: PretrainedConfig
    device: torch.device
    load: Callable[[], PreTrainedModel]


class FrugalLM(HFLM):
    """HFLM around a model of ours. `batch_size` rows go through it together; None: as many as fit well.

    What `answers` holds is not computed again, and what is computed is added to it, a batch at a time; where `stopping`
    asks for it after a batch, `Stopped` is raised.
    """

    batch_size_per_gpu: int
    _model: Any

    def __init__(
        self,
        model: PreTrainedModel | Unloaded,
        tokenizer: PreTrainedTokenizerBase,
        batch_size: int | None = None,
        max_length: int | None = None,
        progress: Progress | None = None,
        answers: AnswerCache | None = None,
        stopping: Callable[[], bool] = _never,
    ) -> None:
        super().__init__(
            pretrained=model,
            tokenizer=tokenizer,
            batch_size=batch_size or GENERATED_TOGETHER,
            max_length=max_length,
            trust_remote_code=False,
        )
        self.progress = progress or _without_progress
        self.answers = answers or AnswerCache()
        self.stopping = stopping
        self.computed = 0  # answers that were not known
        self.most_rows = batch_size or sys.maxsize
        on_cpu = self.device.type == "cpu"
        self.most_tokens = sys.maxsize if batch_size else TOKENS_ON_CPU if on_cpu else TOKENS_ON_ACCELERATOR

    @functools.cached_property
    def forward(self) -> Forward:
        """The model, with its weights, and what was proven of it."""
        self._load()
        return Forward(self._model, self.max_length)

    def _load(self) -> None:
        if isinstance(self._model, Unloaded):
            self._model = self._model.load().eval()

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = True) -> list[Answer]:
        """Return the answer to each pair of a context and a continuation."""
        answers: list[Answer] = super().loglikelihood(requests, disable_tqdm=True)
        return answers

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = True) -> list[float]:
        """Return the log-likelihood of each whole text, read in windows of the model's length."""
        kept, self.batch_size_per_gpu = self.batch_size_per_gpu, sys.maxsize  # all windows in one call: batched here
        try:
            likelihoods: list[float] = super().loglikelihood_rolling(requests, disable_tqdm=True)
        finally:
            self.batch_size_per_gpu = kept
        return likelihoods

    def generate_until(self, requests: list[Any], disable_tqdm: bool = True) -> list[str]:
        """Return the text that goes on from each context; sampled ones are never taken from what is known."""
        if any(request.args[1].get("do_sample") for request in requests):
            self._load()
            self.computed += len(requests)
            return list(super().generate_until(requests, disable_tqdm=True))
        keys = [f"text {_key(*request.args)}" for request in requests]
        unknown = {key: request for key, request in zip(keys, requests, strict=True) if key not in self.answers.notes}
        if unknown:
            self._load()
        waiting = sorted(unknown, key=lambda key: -len(unknown[key].args[0]))
        with self.progress("writing", len(waiting)) as advance:
            for start in range(0, len(waiting), GENERATED_BETWEEN_SAVES):
                some = waiting[start : start + GENERATED_BETWEEN_SAVES]
                texts = super().generate_until([unknown[key] for key in some], disable_tqdm=True)
                for key, text in zip(some, texts, strict=True):
                    self.answers.note(key, text)
                advance(len(some))
                self._stop_if_asked(len(waiting) - start - len(some))
        self.computed += len(waiting)
        return [self.answers.notes[key] for key in keys]

    def _loglikelihood_tokens(
        self, requests: Sequence[Request], disable_tqdm: bool = True, override_bs: int | None = None
    ) -> list[Answer]:
        if self.backend != "causal":
            self._load()
            self.computed += len(requests)
            return list(super()._loglikelihood_tokens(requests, disable_tqdm=True, override_bs=override_bs))
        keys = [int(_key(context, continuation), 16) for _, context, continuation in requests]
        unknown = {key: request for key, request in zip(keys, requests, strict=True) if key not in self.answers.done}
        self._compute([self._wanted(key, request) for key, request in unknown.items()])
        records = [self.answers.done[key] for key in keys]
        return [(likelihood, bool(greedy)) for likelihood, greedy in records]

    def _compute(self, unknown: list[Wanted]) -> None:
        if not unknown:
            return
        most_rows = 1 if self.forward.rope_depends_on_length else self.most_rows
        rows, done = pack(unknown, self._joins), 0
        with self.progress("scoring", len(unknown)) as advance:
            for batch in batches(rows, most_rows, self.most_tokens, LOGITS // self.forward.vocabulary):
                found = dict(self._answers(batch))
                self.answers.add(list(found), list(found.values()))
                advance(len(found))
                done += len(found)
                self._stop_if_asked(len(unknown) - done)
        self.computed += len(unknown)

    def _stop_if_asked(self, missing: int) -> None:
        if missing and self.stopping():
            raise Stopped(f"stopped with {missing} answers missing: the same command goes on from there")

    def _wanted(self, key: int, request: Request) -> Wanted:
        _, context, continuation = request
        # as HFLM cuts: from the left, to one token more than fits, for the last is only predicted
        inputs = (context + continuation)[-(self.max_length + 1) :][:-1]
        return Wanted(key, tuple(inputs), tuple(continuation))

    def _joins(self, shared: int, tokens: int, fresh: int) -> bool:
        """Tell whether a sequence joins a row that it shares tokens with.

        A layer costs 24 h^2 operations per token, h the hidden size, and 4 h per pair of tokens that attend; joining
        saves the shared tokens and makes each new one and each old one a pair, twice, most of them masked.
        """
        if not self.forward.takes_trees or tokens + fresh > self.forward.longest_tree:
            return False
        return 3 * self.forward.hidden * shared > tokens * fresh

    def _answers(self, batch: list[Row]) -> Iterator[tuple[int, Answer]]:
        reads = [(row, read) for row, tree in enumerate(batch) for read in tree.reads]
        slots: dict[tuple[int, int], int] = {}
        for row, read in reads:
            for node in read.nodes:
                slots.setdefault((row, node), len(slots))
        where = torch.tensor([slots[row, node] for row, read in reads for node in read.nodes])
        targets = torch.tensor([token for _, read in reads for token in read.targets])
        values, greedy = self.forward.score(batch, list(slots), where, targets)
        lengths = [len(read.targets) for _, read in reads]
        for (_, read), some, hits in zip(
            reads, torch.split(values, lengths), torch.split(greedy, lengths), strict=True
        ):
            yield read.key, (float(some.sum()), bool(hits.all()))


def _key(*parts: object) -> str:
    """Return 128 bits that name a request."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _without_progress(what: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
    return nullcontext(lambda steps: None)  # noqa: ARG005
