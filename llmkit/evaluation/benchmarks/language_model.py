"""lm-eval's Hugging Face model, without the work that no score needs.

`HFLM` repeats a context for each of its answers, and turns the hidden state of every position into logits and
log-probabilities over the whole vocabulary, where only the continuation's positions are read. Here a context that
requests share is computed once, and logits are made for the positions that are read. The numbers are HFLM's.
"""

from __future__ import annotations

import functools
import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import torch
from lm_eval.models.huggingface import HFLM
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from llmkit import models
from llmkit.distributed.world import world
from llmkit.errors import Stopped
from llmkit.evaluation.answer_session import AnswerSession
from llmkit.evaluation.benchmarks.forward import Forward
from llmkit.evaluation.benchmarks.prefix_packing import (
    SINGLE_BRANCHES,
    JoinRule,
    PackedRow,
    ScoringRequest,
    pack_requests,
    row_batches,
)
from llmkit.inference.answer_cache import AnswerCache
from llmkit.models import ResolvedModel
from llmkit.options import ModelOptions, TalkOptions
from llmkit.output.report import Report

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

# texts (None: a window of a text), context, continuation
TokenizedRequest = tuple[tuple[str, str] | None, list[int], list[int]]
Value = TypeVar("Value")
LogLikelihood = tuple[float, bool]  # of a continuation, and whether each of its tokens is the likeliest

TOKENS_ON_CPU = 512  # per forward pass: larger ones leave the cache and pad more
TOKENS_ON_ACCELERATOR = 16384
LOGITS_AT_ONCE = 2**27  # half a gigabyte in float32
TEXTS_PER_BATCH = 8
TEXTS_BETWEEN_SAVES = 64


@dataclass(frozen=True)
class UnloadedModel:
    """A model whose weights are read when the first answer is not known."""

    resolved: ResolvedModel
    options: ModelOptions
    tokenizer: PreTrainedTokenizerBase

    @property
    def config(self) -> PretrainedConfig:
        """What the model is."""
        return self.resolved.config

    @property
    def device(self) -> torch.device:
        """Where it will be loaded."""
        return models.pick_device(self.options.device)

    def load(self) -> PreTrainedModel:
        """Return the model with its weights."""
        kind = "AutoModelForSeq2SeqLM" if self.config.is_encoder_decoder else "AutoModelForCausalLM"
        return models.load_model(self.resolved, kind, self.tokenizer, self.options)


class PrefixSharingLM(HFLM):
    """HFLM around a model of ours. `batch_size` rows go through it together; None: as many as fit well.

    What the answers of `session` hold is not computed again, and what is computed is added to them, a batch at a time;
    where a signal asks for it, `Stopped` is raised after a batch. `report` shows progress.
    """

    batch_size_per_gpu: int
    _model: PreTrainedModel | UnloadedModel

    def __init__(
        self,
        model: PreTrainedModel | UnloadedModel,
        tokenizer: PreTrainedTokenizerBase,
        batch_size: int | None = None,
        max_length: int | None = None,
        session: AnswerSession | None = None,
        report: Report | None = None,
    ) -> None:
        super().__init__(
            pretrained=model,
            tokenizer=tokenizer,
            batch_size=batch_size or TEXTS_PER_BATCH,
            max_length=max_length,
            trust_remote_code=False,
        )
        self.report = report or Report(TalkOptions(quiet=True))
        self.session = session or AnswerSession(AnswerCache())
        self.here = world()  # each process puts all requests, and runs its share of their batches
        self.computed = 0  # answers that were not known
        self.max_rows = batch_size or sys.maxsize
        on_cpu = self.device.type == "cpu"
        self.max_tokens = sys.maxsize if batch_size else TOKENS_ON_CPU if on_cpu else TOKENS_ON_ACCELERATOR

    @functools.cached_property
    def forward(self) -> Forward:
        """The model, with its weights, and what was proven of it."""
        return Forward(self._loaded(), self.max_length)

    @property
    def join_rule(self) -> JoinRule:
        """When requests that begin alike share a row of the model."""
        if not self.forward.takes_trees:
            return SINGLE_BRANCHES
        return JoinRule(self.forward.hidden, self.forward.longest_tree)

    def _loaded(self) -> PreTrainedModel:
        if isinstance(self._model, UnloadedModel):
            self._model = self._model.load().eval()
        return self._model

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = True) -> list[LogLikelihood]:
        """Return the answer to each pair of a context and a continuation."""
        answers: list[LogLikelihood] = super().loglikelihood(requests, disable_tqdm=True)
        return answers

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = True) -> list[float]:
        """Return the log-likelihood of each whole text, read in windows of the model's length."""
        size, self.batch_size_per_gpu = self.batch_size_per_gpu, sys.maxsize  # all windows in one call: batched here
        try:
            likelihoods: list[float] = super().loglikelihood_rolling(requests, disable_tqdm=True)
        finally:
            self.batch_size_per_gpu = size
        return likelihoods

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        """Return the text that goes on from each context; sampled ones are never taken from what is known."""
        if any(request.args[1].get("do_sample") for request in requests):
            self._loaded()
            self.computed += len(requests)
            return list(super().generate_until(requests, disable_tqdm=True))
        keys = [f"text {_key(*request.args)}" for request in requests]
        known = self.session.answers.notes
        unknown = {key: request for key, request in zip(keys, requests, strict=True) if key not in known}
        if unknown:
            self._loaded()
        waiting = sorted(unknown, key=lambda key: -len(unknown[key].args[0]))
        batches = [
            waiting[start : start + TEXTS_BETWEEN_SAVES] for start in range(0, len(waiting), TEXTS_BETWEEN_SAVES)
        ]
        missing = len(waiting)
        with self.report.progress("writing", len(waiting)) as advance:
            for turn in self._turns(batches):
                texts: list[str] = []
                if self.here.rank < len(turn):
                    asked = [unknown[key] for key in turn[self.here.rank]]
                    texts = super().generate_until(asked, disable_tqdm=True)
                for batch, answers in zip(turn, self.here.gather(texts), strict=False):
                    for key, text in zip(batch, answers, strict=True):
                        self.session.answers.note(key, text)
                    advance(len(batch))
                    missing -= len(batch)
                self._stop_if_asked(missing)
        self.computed += len(waiting)
        return [known[key] for key in keys]

    def _loglikelihood_tokens(
        self, requests: Sequence[TokenizedRequest], disable_tqdm: bool = True, override_bs: int | None = None
    ) -> list[LogLikelihood]:
        if self.backend != "causal":
            self._loaded()
            self.computed += len(requests)
            return list(super()._loglikelihood_tokens(requests, disable_tqdm=True, override_bs=override_bs))
        keys = [int(_key(context, continuation), 16) for _, context, continuation in requests]
        known = self.session.answers.done
        unknown = {key: request for key, request in zip(keys, requests, strict=True) if key not in known}
        self._compute([self.scoring_request(key, request) for key, request in unknown.items()])
        return [(likelihood, bool(greedy)) for likelihood, greedy in (known[key] for key in keys)]

    def _compute(self, requests: list[ScoringRequest]) -> None:
        if not requests:
            return
        max_rows = 1 if self.forward.rope_depends_on_length else self.max_rows
        rows, done = pack_requests(requests, self.join_rule), 0
        with self.report.progress("scoring", len(requests)) as advance:
            most_logits = LOGITS_AT_ONCE // self.forward.vocabulary
            for turn in self._turns(list(row_batches(rows, max_rows, self.max_tokens, most_logits))):
                mine = turn[self.here.rank : self.here.rank + 1]
                answers = dict(answer for batch in mine for answer in self._log_likelihoods(batch))
                for part in self.here.gather(answers):
                    self.session.answers.add(list(part), list(part.values()))
                    advance(len(part))
                    done += len(part)
                self._stop_if_asked(len(requests) - done)
        self.computed += len(requests)

    def _turns(self, batches: Sequence[Value]) -> Iterator[Sequence[Value]]:
        """Yield the batches that the processes of the command run at the same time, one each."""
        yield from (batches[start : start + self.here.size] for start in range(0, len(batches), self.here.size))

    def _stop_if_asked(self, missing: int) -> None:
        if self.here.any(self.session.stopping) and missing:
            raise Stopped(f"stopped with {missing} answers missing: the same command goes on from there")

    def scoring_request(self, key: int, request: TokenizedRequest) -> ScoringRequest:
        """Return what the model reads of a request: cut as HFLM cuts."""
        _, context, continuation = request
        # from the left, to one token more than fits, for the last is only predicted
        inputs = (context + continuation)[-(self.max_length + 1) :][:-1]
        return ScoringRequest(key, tuple(inputs), tuple(continuation))

    def _log_likelihoods(self, batch: list[PackedRow]) -> Iterator[tuple[int, LogLikelihood]]:
        reads = [(row, read) for row, tree in enumerate(batch) for read in tree.reads]
        slots: dict[tuple[int, int], int] = {}
        for row, read in reads:
            for node in read.nodes:
                slots.setdefault((row, node), len(slots))
        where = torch.tensor([slots[row, node] for row, read in reads for node in read.nodes])
        targets = torch.tensor([token for _, read in reads for token in read.targets])
        scores, greedy = self.forward.score(batch, list(slots), where, targets)
        lengths = [len(read.targets) for _, read in reads]
        parts = zip(reads, torch.split(scores, lengths), torch.split(greedy, lengths), strict=True)
        for (_, read), likelihoods, likeliest in parts:
            yield read.key, (float(likelihoods.sum()), bool(likeliest.all()))


def _key(*parts: object) -> str:
    """Return 128 bits that name a request."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
