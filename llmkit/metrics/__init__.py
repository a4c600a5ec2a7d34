"""Metrics by name: `evaluate.Metric` modules that load without a network, each a function of observations and weights.

A metric is found once, by `resolve`, and then held. Its `value` is the figure, from the library that defines it
(scikit-learn, scipy, sacrebleu, rouge_score); its `weighted_values` are the same figure as though each unit stood as
many times as its weight says, for many weights at once.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterable
from typing import Any

from llmkit.errors import OptionError, did_you_mean, listing
from llmkit.metrics.measures import Measure, SampleMean
from llmkit.metrics.observations import Observations, Samples

AnyMeasure = Measure[Any]  # a metric of observations that its name fits
MetricEntry = tuple[str, str, str | None]  # module, class, configuration

# by name; of several, the first that fits the observations is taken
METRICS: dict[str, tuple[MetricEntry, ...]] = {
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
    "f1": (("classification", "F1", None), ("counts", "F1", None), ("texts.squad", "AnswerF1", None)),
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
        ("texts.squad", "AnswerExactMatch", None),
        ("texts.base", "ExactMatch", None),
        ("counts", "SetExactMatch", None),
    ),
    "bleu": (("texts.corpus", "Bleu", None),),
    "chrf": (("texts.corpus", "ChrF", None),),
    "ter": (("texts.corpus", "Ter", None),),
    "rouge1": (("texts.rouge", "Rouge1", None),),
    "rouge2": (("texts.rouge", "Rouge2", None),),
    "rougeL": (("texts.rouge", "RougeL", None),),
}
ALIASES = {"mcc": "matthews_correlation", "auc": "roc_auc", "bpb": "bits_per_byte"}
LOWER_IS_BETTER = frozenset({"brier", "ece", "mse", "loss", "perplexity", "bits_per_byte", "dpo_loss", "ter"})


def resolve(names: Iterable[str], observations: Observations) -> dict[str, AnyMeasure]:
    """Return the metric that each name means of such observations, by the name as it was given.

    Raises:
        OptionError: there is no such metric of them, with the nearest name and those that there are.
    """
    possible = names_for(observations)
    return {name: _resolved(name, observations, possible) for name in names}


def value(name: str, observations: Observations) -> float:
    """Return one figure; NaN where it is not defined, as of no units at all.

    Raises:
        OptionError: the metric is not one of such observations, or needs a library that is not installed.
    """
    return resolve((name,), observations)[name].value_or_nan(observations)


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


def require_known(name: str, known: tuple[str, ...], flag: str) -> None:
    """Refuse a metric name that the task does not have.

    Raises:
        OptionError: naming the nearest metric and those that there are.
    """
    if name not in known:
        raise OptionError(f"{flag}: there is no metric {name!r}{did_you_mean(name, known)}; it has {listing(known)}")


def _resolved(name: str, observations: Observations, possible: tuple[str, ...]) -> AnyMeasure:
    known = name if isinstance(observations, Samples) else canonical(name)
    if known in METRICS and known not in possible:
        needs = _of(known, observations).needs
        raise OptionError(f"--metric: {known!r} needs {needs}; there are {listing(possible)}")
    require_known(known, possible, "--metric")
    return SampleMean(known) if isinstance(observations, Samples) else _of(known, observations)


def _of(name: str, observations: Observations) -> AnyMeasure:
    """Return the metric that the name means of such observations; where there is none, the one it usually means."""
    candidates = [_made(*entry) for entry in METRICS[name]]
    return next((metric for metric in candidates if metric.fits(observations)), candidates[0])


@functools.cache
def _made(module: str, class_name: str, configuration: str | None) -> AnyMeasure:
    metric_class = getattr(importlib.import_module(f"llmkit.metrics.{module}"), class_name)
    metric: AnyMeasure = metric_class(configuration, keep_in_memory=True)
    return metric
