"""Language-model metrics, from the summed negative log-likelihood of the scored tokens of each piece of text."""

from __future__ import annotations

from typing import Any

import numpy as np
from datasets import Value

from llmkit.metrics.base import Metric
from llmkit.metrics.measures import Weigher, ratio_weigher
from llmkit.metrics.observations import Floats, Likelihoods


class LikelihoodMetric(Metric[Likelihoods]):
    """A ratio of two sums over the pieces, which are what is resampled: tokens of a piece are not independent."""

    kind = Likelihoods
    needs = "log-likelihoods of texts"
    source = "https://huggingface.co/docs/transformers/perplexity"
    inputs = "nll: nats, summed over a piece; tokens: how many were scored; bytes: of UTF-8 text"

    @classmethod
    def columns(cls) -> dict[str, Any]:
        return {"nll": Value("float64"), "tokens": Value("int64"), "bytes": Value("int64")}

    def observe(self, *, tokens: Any, nll: Any = None, bytes: Any = None, hits: Any = None) -> Likelihoods:
        nothing = np.zeros(len(tokens), dtype=np.int64)
        sums, covered = (nothing if given is None else given for given in (nll, bytes))
        right = None if hits is None else np.asarray(hits)
        return Likelihoods(np.asarray(sums, dtype=np.float64), np.asarray(tokens), np.asarray(covered), right)

    def size(self, observations: Likelihoods) -> int:
        return int(observations.tokens.sum())


class Loss(LikelihoodMetric):
    key = "loss"
    about = "Mean negative log-likelihood, in nats per scored token."

    def weigher(self, observations: Likelihoods) -> Weigher:
        return ratio_weigher(observations.nll, observations.tokens)


class Perplexity(LikelihoodMetric):
    key = "perplexity"
    about = "exp of the mean negative log-likelihood per scored token."

    def weigher(self, observations: Likelihoods) -> Weigher:
        loss = ratio_weigher(observations.nll, observations.tokens)

        def weigh(weights: Floats) -> Floats:
            with np.errstate(over="ignore"):  # the perplexity of a hopeless model is infinite
                return np.asarray(np.exp(loss(weights)))

        return weigh


class BitsPerByte(LikelihoodMetric):
    key = "bits_per_byte"
    needs = "the bytes that the tokens cover"
    about = "Negative log-likelihood in bits per UTF-8 byte of text: comparable across tokenizers."

    def fits(self, observations: Any) -> bool:
        return isinstance(observations, Likelihoods) and bool(observations.bytes.any())

    def weigher(self, observations: Likelihoods) -> Weigher:
        return ratio_weigher(observations.nll / np.log(2), observations.bytes)


class TokenAccuracy(LikelihoodMetric):
    key = "accuracy"
    needs = "the tokens that were guessed right"
    about = "The share of the scored tokens whose most probable token is the right one."
    inputs = "hits: how many tokens of a piece were guessed right; tokens: how many were scored"

    @classmethod
    def columns(cls) -> dict[str, Any]:
        return {"hits": Value("int64"), "tokens": Value("int64")}

    def fits(self, observations: Any) -> bool:
        return isinstance(observations, Likelihoods) and observations.hits is not None

    def weigher(self, observations: Likelihoods) -> Weigher:
        assert observations.hits is not None
        return ratio_weigher(observations.hits, observations.tokens)
