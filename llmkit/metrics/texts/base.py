"""What metrics of texts share: the columns of a row, their libraries; and the exact match."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from types import ModuleType

import numpy as np
from datasets import Sequence, Value

from llmkit.errors.extras import require_extra
from llmkit.metrics.base import Metric, RowFeatures
from llmkit.metrics.measures import CorrectShare
from llmkit.metrics.observations import Floats, Texts
from llmkit.metrics.texts.scripts import visible


class TextMetric(Metric[Texts]):
    """A metric of texts, each with one or more references."""

    observed = Texts
    needs = "texts and their references"
    inputs = "predictions: texts; references: a list of reference texts for each"

    @classmethod
    def row_features(cls) -> RowFeatures:
        return {"predictions": Value("string"), "references": Sequence(Value("string"))}

    def to_observations(self, *, predictions: Iterable[str], references: Iterable[Iterable[str]]) -> Texts:
        return Texts(tuple(predictions), tuple(map(tuple, references)))


class ExactMatch(CorrectShare[Texts], TextMetric):
    key = "exact_match"
    about = "The share of texts that read as one of their references does, white space at the ends apart."
    source = "https://huggingface.co/spaces/evaluate-metric/exact_match"

    def correctness(self, observations: Texts) -> Floats:
        pairs = zip(observations.predicted, observations.references, strict=True)
        return np.array([_read(text) in set(map(_read, texts)) for text, texts in pairs], dtype=np.float64)


def _read(text: str) -> str:
    return visible(text).strip()


def reference_count(observations: Texts) -> str:
    """Return how many references the rows have, as sacrebleu writes it: a number, or var."""
    counts = set(map(len, observations.references))
    return str(*counts) if len(counts) == 1 else "var"


def library(name: str, metric: str) -> ModuleType:
    """Return a library that comes with an extra.

    Raises:
        OptionError: it is not installed.
    """
    require_extra(f"the metric {metric!r}", "eval", name)
    return importlib.import_module(name)
