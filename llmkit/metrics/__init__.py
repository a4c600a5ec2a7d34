"""Metrics as `evaluate.Metric` modules that load without a network.

`METRICS` maps a metric's name to its module and class; `compute` loads and runs one.
"""

from __future__ import annotations

import importlib
from typing import Any

from llmkit.errors import OptionError, did_you_mean, listing

METRICS = {
    "accuracy": ("classification", "Accuracy"),
    "precision": ("classification", "Precision"),
    "recall": ("classification", "Recall"),
    "f1": ("classification", "F1"),
    "matthews_correlation": ("classification", "MatthewsCorrelation"),
    "pearson": ("regression", "Pearson"),
    "spearman": ("regression", "Spearman"),
    "mse": ("regression", "MeanSquaredError"),
    "loss": ("language", "Loss"),
    "perplexity": ("language", "Perplexity"),
    "bits_per_byte": ("language", "BitsPerByte"),
}
LOWER_IS_BETTER = frozenset({"mse", "loss", "perplexity", "bits_per_byte"})


def compute(name: str, **inputs: Any) -> float:
    """Return the value of the named metric on its inputs (see the metric's own class for their shapes)."""
    module, kind = METRICS[name]
    metric = getattr(importlib.import_module(f"llmkit.metrics.{module}"), kind)(keep_in_memory=True)
    return float(metric.compute(**inputs)[name])


def require_known(name: str, known: tuple[str, ...], flag: str) -> None:
    """Refuse a metric name that the task does not have.

    Raises:
        OptionError: naming the nearest metric and those that there are.
    """
    if name not in known:
        raise OptionError(f"{flag}: there is no metric {name!r}{did_you_mean(name, known)}; it has {listing(known)}")
