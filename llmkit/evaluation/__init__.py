"""Measure a model on a dataset: the same code for `llmkit eval` and for the last figure of a training run.

plan         what can be checked before anything costly: model, rows, labels, metrics, gates
measuring    the model's answers to the rows, from the cache where it has them
assessing    figures with intervals, slices, baseline, gates: an Evaluation
suite        several evaluations, one report
"""

from __future__ import annotations

from llmkit.evaluation.result import Evaluation
from llmkit.evaluation.run import evaluate

__all__ = ["Evaluation", "evaluate"]
