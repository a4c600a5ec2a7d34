"""The probabilities of classes as a person or a JSON line sees them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llmkit.metrics.observations import Floats
from llmkit.tasks.base.answers import Answer, Prediction


def probabilities_of(logits: Sequence[Prediction]) -> Floats:
    """Return the probability that each label holds by itself, (rows, labels)."""
    from scipy.special import expit

    return np.asarray(expit(np.asarray(logits, dtype=np.float64)))


def logits_of(probabilities: Floats) -> Floats:
    """Return the logits of which these are the probabilities."""
    from scipy.special import logit

    return np.asarray(logit(probabilities))


def ranked(probabilities: Floats, names: Sequence[str], top: int | None) -> Answer:
    """Return the best label, its probability, and those of the best `top` labels (None: of all), the best first."""
    order = np.argsort(-probabilities, kind="stable")
    best = int(order[0])
    scores = {names[i]: float(probabilities[i]) for i in order[: top or len(order)]}
    return {"label": names[best], "score": float(probabilities[best]), "scores": scores}


def score_cells(text: str, answer: Answer) -> list[str]:
    """Return the cells of a text, its labels and their scores, one below the other; of a regression, its number."""
    if answer["score"] is None:
        return [text, "", ""]
    scores = answer.get("scores")
    if scores is None:  # a regression
        return [text, "", f"{answer['score']:.4f}"]
    return [text, "\n".join(scores), "\n".join(f"{score:.4f}" for score in scores.values())]
