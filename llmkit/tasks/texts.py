"""What the language-model tasks share: the text column, and streams of tokens cut into blocks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from datasets import Dataset

from llmkit.observations import Likelihoods, Observations
from llmkit.tasks.base import longest_text, string_columns


def text_column(dataset: Dataset, given: dict[str, str]) -> dict[str, str] | None:
    """Return the text column: the one given, else `text`, else the string column with the most characters."""
    if "text" in given:
        return {"text": given["text"]}
    names = string_columns(dataset)
    if not names:
        return None
    return {"text": "text" if "text" in names else longest_text(dataset, names)}


def usable_texts(dataset: Dataset, columns: dict[str, str]) -> list[int]:
    """Return the indices of the rows whose text is not blank."""
    return [row for row, text in enumerate(dataset[columns["text"]]) if str(text or "").strip()]


def in_blocks(stream: list[int], size: int) -> list[list[int]]:
    """Cut a stream into blocks of `size`; the rest is dropped, unless it is all there is."""
    if len(stream) < size:
        return [stream] if len(stream) > 1 else []
    return [stream[start : start + size] for start in range(0, len(stream) - size + 1, size)]


def likelihoods(
    nll: Sequence[float],
    tokens: Sequence[int],
    covered: Sequence[int],
    hits: Sequence[int] | None = None,
    rows: Sequence[int] | None = None,
) -> Likelihoods:
    """Return the likelihoods of pieces of text (`covered` counts their bytes), or with `rows` of whole rows."""
    seen = Likelihoods(
        np.asarray(nll, dtype=np.float64), np.asarray(tokens, dtype=np.int64), np.asarray(covered, dtype=np.int64),
        None if hits is None else np.asarray(hits, dtype=np.int64),
    )  # fmt: skip
    if rows is None:
        return seen
    starts = np.flatnonzero(np.diff(np.asarray(rows), prepend=-1))  # pieces of a row stand side by side
    return Likelihoods(
        np.add.reduceat(seen.nll, starts), np.add.reduceat(seen.tokens, starts), np.add.reduceat(seen.bytes, starts),
        None if seen.hits is None else np.add.reduceat(seen.hits, starts),
    )  # fmt: skip


def likelihood_counts(observations: Observations) -> dict[str, int]:
    """Return how many tokens were scored, and the bytes that they cover where that is known."""
    if not isinstance(observations, Likelihoods):
        raise TypeError(f"language models are measured by likelihoods, not {type(observations).__name__}")
    counts = {"tokens": int(observations.tokens.sum()), "bytes": int(observations.bytes.sum())}
    return {name: count for name, count in counts.items() if count or name == "tokens"}
