"""The rows of a result: what was observed of each unit, as plain columns that a later comparison reads back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llmkit.errors import listing
from llmkit.metrics.observations import (
    AnswerTexts,
    Bools,
    Choices,
    Classes,
    LabelSets,
    Likelihoods,
    Numbers,
    Observations,
    Preferences,
    Samples,
    Spans,
    Texts,
)

UNNAMED = (Likelihoods, Preferences)  # of these nothing is right or wrong by name
NUMBERS = ("nll", "tokens", "bytes", "hits", "margin", "before")  # columns of them, an entry for each unit


@dataclass(frozen=True, eq=False)
class Observed:
    """Observations, the ids of their units, and where they are known the texts that a person tells them by."""

    observations: Observations
    ids: Sequence[str]
    texts: Sequence[str] | None = None


def labels_of(observations: Observations) -> list[Any] | None:
    """Return what is right of each unit, as a person reads it; None where nothing is."""
    if isinstance(observations, Classes):
        return [observations.names[i] for i in observations.truth]
    if isinstance(observations, Numbers | Choices):
        return list(observations.truth.tolist())
    if isinstance(observations, Texts):
        return [list(texts) for texts in observations.references]
    if isinstance(observations, LabelSets):
        return _named_sets(observations.truth, observations.names)
    if isinstance(observations, Spans):
        return [list(tags) for tags in observations.truth]
    return None if isinstance(observations, UNNAMED) or observations.truth is None else list(observations.truth)


def predictions_of(observations: Observations) -> list[Any] | None:
    """Return what was answered of each unit, spelled as `labels_of` spells what is right; None where nothing was."""
    if isinstance(observations, Classes):
        return [observations.names[i] for i in observations.predicted]
    if isinstance(observations, Numbers | Choices):
        return list(observations.predicted.tolist())
    if isinstance(observations, LabelSets):
        return _named_sets(observations.predicted, observations.names)
    if isinstance(observations, Spans):
        return [list(tags) for tags in observations.predicted]
    return None if isinstance(observations, UNNAMED) or observations.predicted is None else list(observations.predicted)


def pack(observations: Observations, ids: Sequence[str]) -> dict[str, Any]:
    """Return the units as plain columns: the `rows` of a result file."""
    columns: dict[str, Any] = {"kind": type(observations).__name__.lower(), "id": list(ids)}
    if not isinstance(observations, UNNAMED):
        columns |= {"label": labels_of(observations), "prediction": predictions_of(observations)}
    if isinstance(observations, Classes | LabelSets):
        columns["names"] = list(observations.names)
        columns["scores"] = None if observations.probabilities is None else observations.probabilities.tolist()
    if isinstance(observations, Classes):
        columns["positive"] = None if observations.positive is None else observations.names[observations.positive]
    elif isinstance(observations, Likelihoods):
        columns |= {
            "nll": observations.nll.tolist(),
            "tokens": observations.tokens.tolist(),
            "bytes": observations.bytes.tolist(),
        }
        columns["hits"] = None if observations.hits is None else observations.hits.tolist()
    elif isinstance(observations, Preferences):
        columns |= {"margin": observations.margins.tolist(), "beta": observations.beta}
        columns["before"] = None if observations.before is None else observations.before.tolist()
    elif isinstance(observations, Spans):
        columns |= {"names": list(observations.names), "single": observations.single}
    elif isinstance(observations, Choices):
        columns["normalised"] = None if observations.normalised is None else observations.normalised.tolist()
        columns["scores"] = None if observations.scores is None else [list(some) for some in observations.scores]
    elif isinstance(observations, Samples):
        columns["values"] = {name: values.tolist() for name, values in observations.values.items()}
    return columns


def _named_sets(held: Bools, names: Sequence[str]) -> list[list[str]]:
    return [[name for name, holds in zip(names, row, strict=True) if holds] for row in held.tolist()]


def unpack(columns: Mapping[str, Any]) -> Observed:
    """Return what `pack` wrote.

    Raises:
        KeyError, ValueError, TypeError: it is something else.
    """
    sizes = {len(column) for column in _of_units(columns)}
    if len(sizes) != 1:
        raise ValueError(f"columns of {listing(sorted(sizes))} rows")
    return Observed(_UNPACKERS[columns["kind"]](columns), list(columns["id"]))


def _of_units(columns: Mapping[str, Any]) -> list[Any]:
    """Return the columns that have an entry for each unit, the ids first."""
    named = ("label", "prediction", "scores", "normalised", *NUMBERS)
    found = [columns[name] for name in named if columns.get(name) is not None]
    return [columns["id"], *found, *(columns.get("values") or {}).values()]


def _classes(columns: Mapping[str, Any]) -> Classes:
    names = tuple(columns["names"])
    number = {name: i for i, name in enumerate(names)}
    truth, guesses = (np.array([number[name] for name in columns[key]], np.int64) for key in ("label", "prediction"))
    scores = None if columns["scores"] is None else np.array(columns["scores"], dtype=np.float64)
    positive = columns["positive"]
    return Classes(truth, guesses, names, scores, None if positive is None else number[positive])


def _likelihoods(columns: Mapping[str, Any]) -> Likelihoods:
    tokens, covered = (np.array(columns[key], dtype=np.int64) for key in ("tokens", "bytes"))
    hits = None if columns["hits"] is None else np.array(columns["hits"], dtype=np.int64)
    return Likelihoods(np.array(columns["nll"], dtype=np.float64), tokens, covered, hits)


def _preferences(columns: Mapping[str, Any]) -> Preferences:
    before = None if columns["before"] is None else np.array(columns["before"], dtype=np.float64)
    return Preferences(np.array(columns["margin"], dtype=np.float64), before, float(columns["beta"]))


def _numbers(columns: Mapping[str, Any]) -> Numbers:
    return Numbers(*(np.array(columns[key], dtype=np.float64) for key in ("label", "prediction")))


def _texts(columns: Mapping[str, Any]) -> Texts:
    kind = AnswerTexts if columns["kind"] == "answertexts" else Texts
    return kind(tuple(columns["prediction"]), tuple(tuple(texts) for texts in columns["label"]))


def _samples(columns: Mapping[str, Any]) -> Samples:
    values = {name: np.array(values, dtype=np.float64) for name, values in columns["values"].items()}
    truth, answers = columns.get("label"), columns.get("prediction")
    return Samples(values, None if truth is None else tuple(truth), None if answers is None else tuple(answers))


def _label_sets(columns: Mapping[str, Any]) -> LabelSets:
    names = tuple(columns["names"])
    number = {name: i for i, name in enumerate(names)}
    truth, guesses = (np.zeros((len(columns["id"]), len(names)), dtype=bool) for _ in range(2))
    for key, side in (("label", truth), ("prediction", guesses)):
        for row, held in enumerate(columns[key]):
            side[row, [number[name] for name in held]] = True
    scores = None if columns["scores"] is None else np.array(columns["scores"], dtype=np.float64)
    return LabelSets(truth, guesses, names, scores)


def _spans(columns: Mapping[str, Any]) -> Spans:
    truth, guesses = (tuple(tuple(tags) for tags in columns[key]) for key in ("label", "prediction"))
    return Spans(truth, guesses, tuple(columns["names"]), columns["single"])


def _choices(columns: Mapping[str, Any]) -> Choices:
    truth, guesses = (np.array(columns[key], dtype=np.int64) for key in ("label", "prediction"))
    normalised, scores = columns["normalised"], columns["scores"]
    return Choices(
        truth,
        guesses,
        None if normalised is None else np.array(normalised, dtype=np.int64),
        None if scores is None else tuple(tuple(some) for some in scores),
    )


_UNPACKERS: dict[str, Callable[[Mapping[str, Any]], Observations]] = {
    "classes": _classes,
    "numbers": _numbers,
    "likelihoods": _likelihoods,
    "texts": _texts,
    "samples": _samples,
    "answertexts": _texts,
    "labelsets": _label_sets,
    "spans": _spans,
    "choices": _choices,
    "preferences": _preferences,
}


def prediction_rows(observations: Observations, ids: Sequence[str]) -> list[dict[str, Any]]:
    """Return one dictionary for each unit, as --save-predictions writes them."""
    columns = pack(observations, ids)
    names = columns.get("names")
    made = []
    for number, key in enumerate(columns["id"]):
        row: dict[str, Any] = {"id": key, "row": number}
        for name in ("label", "prediction", "normalised", *NUMBERS):
            if columns.get(name) is not None:
                row[name] = columns[name][number]
        if columns.get("scores") is not None:
            scores = columns["scores"][number]
            row["scores"] = dict(zip(names or map(str, range(len(scores))), scores, strict=True))
        for name, values in (columns.get("values") or {}).items():
            row[name] = values[number]
        made.append(row)
    return made
