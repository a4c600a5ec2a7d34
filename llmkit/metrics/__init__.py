"""Metrics by name: `evaluate.Metric` modules that load without a network, each a function of observations and weights.

`value` is the figure, from the library that defines it (scikit-learn, scipy, sacrebleu, rouge_score); `weighted` is the
same figure as though each unit stood as many times as its weight says, for many weights at once.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

from llmkit.errors import OptionError, did_you_mean, listing
from llmkit.metrics.measures import Measure, SampleMean, Weigher
from llmkit.metrics.observations import Floats, Observations, Samples

Entry = tuple[str, str, str | None]  # module, class, configuration

# by name; of several, the first that fits the observations is meant
METRICS: dict[str, tuple[Entry, ...]] = {
    "accuracy": (
        ("classification", "Accuracy", None),
        ("language_modeling", "TokenAccuracy", None),
        ("counts", "WordAccuracy", None),
        ("multiple_choice", "ChoiceAccuracy", None),
        ("preferences", "PreferenceAccuracy", None),
    ),
    "accuracy_norm": (("multiple_choice", "NormalisedAccuracy", None),),
    "balanced_accuracy": (("classification", "BalancedAccuracy", None),),
    "precision": (("classification", "Precision", None), ("counts", "Precision", None)),
    "recall": (("classification", "Recall", None), ("counts", "Recall", None)),
    "f1": (("classification", "F1", None), ("counts", "F1", None), ("squad", "AnswerF1", None)),
    "precision_macro": (("classification", "Precision", "macro"), ("counts", "Precision", "macro")),
    "precision_micro": (("classification", "Precision", "micro"), ("counts", "Precision", "micro")),
    "precision_weighted": (("classification", "Precision", "weighted"), ("counts", "Precision", "weighted")),
    "recall_macro": (("classification", "Recall", "macro"), ("counts", "Recall", "macro")),
    "recall_micro": (("classification", "Recall", "micro"), ("counts", "Recall", "micro")),
    "recall_weighted": (("classification", "Recall", "weighted"), ("counts", "Recall", "weighted")),
    "f1_macro": (("classification", "F1", "macro"), ("counts", "F1", "macro")),
    "f1_micro": (("classification", "F1", "micro"), ("counts", "F1", "micro")),
    "f1_weighted": (("classification", "F1", "weighted"), ("counts", "F1", "weighted")),
    "margin": (("preferences", "Margin", None),),
    "reward_accuracy": (("preferences", "RewardAccuracy", None),),
    "reward_margin": (("preferences", "RewardMargin", None),),
    "dpo_loss": (("preferences", "DpoLoss", None),),
    "matthews_correlation": (("classification", "MatthewsCorrelation", None),),
    "roc_auc": (("probabilities", "RocAuc", None),),
    "average_precision": (("probabilities", "AveragePrecision", None),),
    "brier": (("probabilities", "Brier", None),),
    "ece": (("probabilities", "ExpectedCalibrationError", None),),
    "pearson": (("regression", "Pearson", None),),
    "spearman": (("regression", "Spearman", None),),
    "mse": (("regression", "MeanSquaredError", None),),
    "loss": (("language_modeling", "Loss", None),),
    "perplexity": (("language_modeling", "Perplexity", None),),
    "bits_per_byte": (("language_modeling", "BitsPerByte", None),),
    "exact_match": (
        ("squad", "AnswerExactMatch", None),
        ("text_generation", "ExactMatch", None),
        ("counts", "SetExactMatch", None),
    ),
    "bleu": (("text_generation", "Bleu", None),),
    "chrf": (("text_generation", "ChrF", None),),
    "ter": (("text_generation", "Ter", None),),
    "rouge1": (("text_generation", "Rouge1", None),),
    "rouge2": (("text_generation", "Rouge2", None),),
    "rougeL": (("text_generation", "RougeL", None),),
}
ALIASES = {"mcc": "matthews_correlation", "auc": "roc_auc", "bpb": "bits_per_byte"}
LOWER_IS_BETTER = frozenset({"brier", "ece", "mse", "loss", "perplexity", "bits_per_byte", "dpo_loss", "ter"})


def value(name: str, observations: Observations) -> float:
    """Return the figure; NaN where it is not defined, as of no units at all.

    Raises:
        OptionError: the metric is not one of such observations, or needs a library that is not installed.
    """
    metric = measure(name, observations)
    return metric.value(observations) if len(observations) else float("nan")


def weighted(name: str, observations: Observations, weights: Floats) -> Floats:
    """Return the figure as though unit i stood weights[b, i] times: weights (B, n), values (B,)."""
    return weigher(name, observations)(weights)


def weigher(name: str, observations: Observations) -> Weigher:
    """Return `weighted` of these observations, what does not depend on the weights being worked out once."""
    return measure(name, observations).weigher(observations)


def proportion(name: str, observations: Observations) -> tuple[int, int] | None:
    """Return (successes, trials) where the metric is a proportion of independent trials, else None."""
    return measure(name, observations).proportion(observations)


def hits(name: str, observations: Observations) -> Floats | None:
    """Return a 0 or 1 for each unit where the metric is their mean (n,), else None."""
    return measure(name, observations).hits(observations)


def size(name: str, observations: Observations) -> int:
    """Return the n of the figure: rows; of one class, the rows that it is a share of; scored tokens of texts."""
    return measure(name, observations).size(observations)


def note(name: str, observations: Observations) -> str | None:
    """Return what the figure is of, where the name does not say: "macro", "class 'spam'", "one-vs-rest macro"."""
    return measure(name, observations).note(observations)


def signature(name: str, observations: Observations) -> str | None:
    """Return sacrebleu's signature of the figure; None for other metrics."""
    return measure(name, observations).signature(observations)


def names_for(observations: Observations) -> tuple[str, ...]:
    """Return every metric that can be computed of such observations."""
    if isinstance(observations, Samples):
        return tuple(observations.values)
    return tuple(name for name in METRICS if _of(name, observations).fits(observations))


def canonical(name: str) -> str:
    """Return the name in the table for an alias or another spelling ("mcc", "ROUGE-L"); else the name as it is."""
    if name in METRICS:
        return name
    plain = name.lower().replace("-", "_")
    spellings = ALIASES | {known.lower(): known for known in METRICS}
    return spellings.get(plain) or spellings.get(plain.replace("_", "")) or name


def measure(name: str, observations: Observations) -> Measure[Any]:
    """Return the metric of that name for such observations.

    Raises:
        OptionError: there is no such metric of them, with the nearest name and those that there are.
    """
    known = name if isinstance(observations, Samples) else canonical(name)
    possible = names_for(observations)
    if known in METRICS and known not in possible:
        needs = _of(known, observations).needs
        raise OptionError(f"--metric: {known!r} needs {needs}; there are {listing(possible)}")
    require_known(known, possible, "--metric")
    return SampleMean(known) if isinstance(observations, Samples) else _of(known, observations)


def require_known(name: str, known: tuple[str, ...], flag: str) -> None:
    """Refuse a metric name that the task does not have.

    Raises:
        OptionError: naming the nearest metric and those that there are.
    """
    if name not in known:
        raise OptionError(f"{flag}: there is no metric {name!r}{did_you_mean(name, known)}; it has {listing(known)}")


def _of(name: str, observations: Observations) -> Measure[Any]:
    """Return the metric that the name means of such observations; where there is none, the one it usually means."""
    several = [_made(*entry) for entry in METRICS[name]]
    return next((metric for metric in several if metric.fits(observations)), several[0])


@functools.cache
def _made(module: str, of: str, configuration: str | None) -> Measure[Any]:
    metric = getattr(importlib.import_module(f"llmkit.metrics.{module}"), of)
    found: Measure[Any] = metric(configuration, keep_in_memory=True)
    return found
