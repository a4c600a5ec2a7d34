"""Language-model metrics, from the summed negative log-likelihood of the scored tokens of each piece of text."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import evaluate
from datasets import Features, Value


class LikelihoodMetric(evaluate.Metric):
    """A metric of summed negative log-likelihoods (nats), counts of scored tokens, and UTF-8 bytes that they cover."""

    about: ClassVar[str]

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=self.about,
            citation="https://huggingface.co/docs/transformers/perplexity",
            inputs_description="nll: nats, summed over a piece; tokens: how many were scored; bytes: of UTF-8 text",
            features=Features({"nll": Value("float64"), "tokens": Value("int64"), "bytes": Value("int64")}),
        )


class Loss(LikelihoodMetric):
    about = "Mean negative log-likelihood, in nats per scored token."

    def _compute(self, *, nll: Any, tokens: Any, bytes: Any) -> dict[str, float]:
        return {"loss": mean_nll(nll, tokens)}


class Perplexity(LikelihoodMetric):
    about = "exp of the mean negative log-likelihood per scored token."

    def _compute(self, *, nll: Any, tokens: Any, bytes: Any) -> dict[str, float]:
        loss = mean_nll(nll, tokens)
        return {"perplexity": math.inf if loss > 700 else math.exp(loss)}


class BitsPerByte(LikelihoodMetric):
    about = "Negative log-likelihood in bits per UTF-8 byte of text: comparable across tokenizers."

    def _compute(self, *, nll: Any, tokens: Any, bytes: Any) -> dict[str, float]:
        covered = sum(bytes)
        return {"bits_per_byte": sum(nll) / math.log(2) / covered if covered else math.nan}


def mean_nll(nll: Any, tokens: Any) -> float:
    """Return nats per token over all pieces, or NaN when nothing was scored."""
    scored = sum(tokens)
    return float(sum(nll) / scored) if scored else math.nan
