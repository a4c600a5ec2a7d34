"""Language-model metrics, from the summed negative log-likelihood of the scored tokens of each piece of text."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from datasets import Value

from llmkit.metrics.base import Metric, RowFeatures
from llmkit.metrics.measures import WeightedValues, weighted_ratio
from llmkit.metrics.observations import Floats, Likelihoods, Observations


class LikelihoodMetric(Metric[Likelihoods]):
    """A ratio of two sums over the pieces, which are what is resampled: tokens of a piece are not independent."""

    observed = Likelihoods
    needs = "log-likelihoods of texts"
    source = "https://huggingface.co/docs/transformers/perplexity"
    inputs = "nll: nats, summed over a piece; tokens: how many were scored; bytes: of UTF-8 text"

    @classmethod
    def row_features(cls) -> RowFeatures:
        return {"nll": Value("float64"), "tokens": Value("int64"), "bytes": Value("int64")}

    def to_observations(
        self,
        *,
        tokens: npt.ArrayLike,
        nll: npt.ArrayLike | None = None,
        bytes: npt.ArrayLike | None = None,
        hits: npt.ArrayLike | None = None,
    ) -> Likelihoods:
        scored = np.asarray(tokens)
        sums, covered = (np.zeros_like(scored) if column is None else np.asarray(column) for column in (nll, bytes))
        return Likelihoods(sums.astype(np.float64), scored, covered, None if hits is None else np.asarray(hits))

    def size(self, observations: Likelihoods) -> int:
        return int(observations.tokens.sum())


class Loss(LikelihoodMetric):
    key = "loss"
    about = "Mean negative log-likelihood, in nats per scored token."

    def weighted_values(self, observations: Likelihoods) -> WeightedValues:
        return weighted_ratio(observations.nll, observations.tokens)


class Perplexity(LikelihoodMetric):
    key = "perplexity"
    about = "exp of the mean negative log-likelihood per scored token."

    def weighted_values(self, observations: Likelihoods) -> WeightedValues:
        loss = weighted_ratio(observations.nll, observations.tokens)

        def weighted(weights: Floats) -> Floats:
            with np.errstate(over="ignore"):  # the perplexity of a hopeless model is infinite
                return np.asarray(np.exp(loss(weights)))

        return weighted


class BitsPerByte(LikelihoodMetric):
    key = "bits_per_byte"
    needs = "the bytes that the tokens cover"
    about = "Negative log-likelihood in bits per UTF-8 byte of text: comparable across tokenizers."

    def fits(self, observations: Observations) -> bool:
        return isinstance(observations, Likelihoods) and bool(observations.bytes.any())

    def weighted_values(self, observations: Likelihoods) -> WeightedValues:
        return weighted_ratio(observations.nll / np.log(2), observations.bytes)


class TokenAccuracy(LikelihoodMetric):
    key = "accuracy"
    needs = "the tokens that were guessed right"
    about = "The share of the scored tokens whose most probable token is the right one."
    inputs = "hits: how many tokens of a piece were guessed right; tokens: how many were scored"

    @classmethod
    def row_features(cls) -> RowFeatures:
        return {"hits": Value("int64"), "tokens": Value("int64")}

    def fits(self, observations: Observations) -> bool:
        return isinstance(observations, Likelihoods) and observations.hits is not None

    def weighted_values(self, observations: Likelihoods) -> WeightedValues:
        assert observations.hits is not None
        return weighted_ratio(observations.hits, observations.tokens)
