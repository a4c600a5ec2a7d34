"""What an evaluation observed, unit by unit: the arrays that every metric is a function of.

A unit is what a resample draws: a row, or for language models a window of text. All arrays have one entry per unit, in
the order of the rows. Each kind is written as plain columns, the `rows` of a result file, and read back from them.
"""

from __future__ import annotations

from llmkit.metrics.observations.base import Bools, Columns, Floats, Ints, Observations
from llmkit.metrics.observations.labels import ChoiceIds, Classes, LabelSets, Numbers, softmax
from llmkit.metrics.observations.spans import OUTSIDE, Spans, are_single, span_types, spans_of
from llmkit.metrics.observations.texts import AnswerTexts, Likelihoods, Preferences, Samples, Texts

__all__ = [
    "KINDS",
    "OUTSIDE",
    "AnswerTexts",
    "Bools",
    "ChoiceIds",
    "Classes",
    "Columns",
    "Floats",
    "Ints",
    "LabelSets",
    "Likelihoods",
    "Numbers",
    "Observations",
    "Preferences",
    "Samples",
    "Spans",
    "Texts",
    "are_single",
    "softmax",
    "span_types",
    "spans_of",
]

KINDS: dict[str, type[Observations]] = {
    observed.kind: observed
    for observed in (
        Classes,
        Numbers,
        Likelihoods,
        Texts,
        AnswerTexts,
        Samples,
        LabelSets,
        Spans,
        ChoiceIds,
        Preferences,
    )
}
