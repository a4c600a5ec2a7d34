"""Words as tokens in overlapping windows, and the probabilities of their tags from all windows of a row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llmkit.data.conversions.tagging.word_bounds import join_words, token_words
from llmkit.metrics.observations import Floats, softmax
from llmkit.tasks.encoding.merged_outputs import merged_probabilities

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class WordWindow:
    """A piece of a row as tokens."""

    row: int
    input_ids: list[int]
    words: list[int]  # of each token: the number of the word that it is the first token of, else -1


def word_windows(
    rows: Sequence[Sequence[str]], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> Iterator[WordWindow]:
    """Yield the windows of each row of words, which overlap by a quarter."""
    texts = [join_words(words) for words in rows]
    encoded = tokenizer(
        [text for text, _ in texts],
        truncation=True,
        max_length=max_length,
        stride=max(0, min(max_length // 4, max_length - 8)),
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    for window, row in enumerate(encoded["overflow_to_sample_mapping"]):
        words = token_words(texts[row][1], encoded["offset_mapping"][window])
        yield WordWindow(row, encoded["input_ids"][window], words)


def judged_words(windows: Dataset) -> int:
    """Return how many words of all rows have a token, which is what they are judged by."""
    pairs = zip(windows["row"], windows["words"], strict=True)
    return len({(row, word) for row, words in pairs for word in words if word >= 0})


def tag_probabilities(
    predictions: Sequence[Sequence[float]], windows: Dataset, merge: Sequence[int] | None, tags: int
) -> dict[int, dict[int, Floats]]:
    """Return the probabilities (tags,) of each word by row, from the window that shows the most of its context.

    Args:
        predictions: of each window the logits (words, outputs of the model), flat.
        windows: with the columns `row` and `words`: see `WordWindow`.
        merge: the tag that each output of the model counts towards; None: each is its own.
        tags: how many there are.
    """
    probabilities: dict[int, dict[int, Floats]] = {}
    margins: dict[tuple[int, int], int] = {}
    for prediction, row, words in zip(predictions, windows["row"], windows["words"], strict=True):
        places = [place for place, word in enumerate(words) if word >= 0]
        of_row = probabilities.setdefault(row, {})
        if not places:
            continue
        outputs = softmax(np.asarray(prediction, dtype=np.float64).reshape(len(places), -1))
        for place, of_word in zip(places, merged_probabilities(outputs, merge, tags), strict=True):
            word, margin = words[place], min(place, len(words) - 1 - place)
            if margin > margins.get((row, word), -1):
                of_row[word], margins[row, word] = of_word, margin
    return probabilities
