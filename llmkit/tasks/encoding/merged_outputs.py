"""Outputs of a model that count towards the same class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


def merged_probabilities(
    probabilities: npt.ArrayLike, merge: Sequence[int] | None, classes: int
) -> npt.NDArray[np.float64]:
    """Return probabilities (n, classes) of a model's outputs (n, outputs): those of one class are added."""
    outputs = np.asarray(probabilities, dtype=np.float64)
    if merge is None:
        return outputs
    merged = np.zeros((len(outputs), classes))
    for output, number in enumerate(merge):
        merged[:, number] += outputs[:, output]
    return merged


def largest_probabilities(
    probabilities: npt.NDArray[np.float64], merge: Sequence[int], labels: int
) -> npt.NDArray[np.float64]:
    """Return the probability of each label (n, labels): the largest of those of the outputs that count towards it."""
    merged = np.zeros((len(probabilities), labels))
    for output, label in enumerate(merge):
        merged[:, label] = np.maximum(merged[:, label], probabilities[:, output])
    return merged
