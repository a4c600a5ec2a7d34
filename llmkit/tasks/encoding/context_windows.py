"""Overlapping windows over a context that a question is asked of, and the best spans in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llmkit.metrics.observations import Bools, Floats
from llmkit.tasks.encoding.collation import INPUTS
from llmkit.tasks.encoding.squad_answers import ReferenceAnswers

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

WINDOW_OVERLAP = 128  # tokens that two windows share, of at most 384: BERT's recipe for SQuAD
MAX_CANDIDATES = 20  # starts, and ends, of which spans are made in each window; and spans that are kept
MAX_ANSWER_TOKENS = 30  # as in BERT's recipe; in Chinese, where a token is a character, still a long answer


@dataclass(frozen=True)
class Window:
    """A question with a piece of its context, as tokens; `starts` and `ends` are characters of the context."""

    row: int
    inputs: dict[str, list[int]]
    in_context: list[bool]  # of each token: whether an answer can begin and end there
    starts: list[int]
    ends: list[int]

    def positions(self, answers: ReferenceAnswers) -> tuple[int, int]:
        """Return the first and the last token of the first answer; token 0 twice where it is not wholly here."""
        places = [place for place, here in enumerate(self.in_context) if here]
        if not answers.texts or not places:
            return 0, 0
        start, end = answers.starts[0], answers.starts[0] + len(answers.texts[0])
        covered = [place for place in places if self.ends[place] > start and self.starts[place] < end]
        if not covered or self.starts[places[0]] > start or self.ends[places[-1]] < end:
            return 0, 0
        return covered[0], covered[-1]


@dataclass(frozen=True)
class Candidate:
    """A span of a context that may be the answer, by its characters; an empty one at 0 says that there is none."""

    start: int
    end: int
    score: float  # the sum of the logits of its ends


def windows_of(
    questions: Sequence[str], contexts: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> Iterator[Window]:
    """Yield the windows of each row; a question that would leave less than half of a window to the context is cut."""
    encoded = tokenizer(
        _cut(questions, tokenizer, question_limit(max_length)),
        list(contexts),
        truncation="only_second",
        max_length=max_length,
        stride=min(WINDOW_OVERLAP, max_length // 3),
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    for window, row in enumerate(encoded["overflow_to_sample_mapping"]):
        inputs = {name: encoded[name][window] for name in INPUTS if name in encoded}
        parts = zip(encoded.sequence_ids(window), encoded["offset_mapping"][window], strict=True)
        spans = [_without_blanks(contexts[row], *span) if part == 1 else (0, 0) for part, span in parts]
        starts, ends = ([span[side] for span in spans] for side in (0, 1))
        yield Window(row, inputs, [start < end for start, end in spans], starts, ends)


def cut_questions(questions: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_length: int) -> list[int]:
    """Return the places of the questions of which the end is not read."""
    encoded = tokenizer(list(questions), add_special_tokens=False)["input_ids"]
    return [place for place, ids in enumerate(encoded) if len(ids) > question_limit(max_length)]


def question_limit(max_length: int) -> int:
    """Return how many tokens of a question are read: a window is to hold as many of the context."""
    return max_length // 2 - 3


def _cut(questions: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> list[str]:
    encoded = tokenizer(list(questions), add_special_tokens=False, return_offsets_mapping=True)
    pairs = zip(questions, encoded["offset_mapping"], strict=True)
    return [text if len(offsets) <= max_tokens else text[: offsets[max_tokens - 1][1]] for text, offsets in pairs]


def _without_blanks(text: str, start: int, end: int) -> tuple[int, int]:
    """Return a span without the blanks at its ends: to SentencePiece the blank before a word is a part of it."""
    part = text[start:end]
    return start + len(part) - len(part.lstrip()), end - len(part) + len(part.rstrip())


def best_spans(start: Floats, end: Floats, in_context: Bools) -> list[float]:
    """Return score, first and last token of the best spans of one window, flat, the best first.

    Args:
        start: logits of each token, (tokens,): an answer begins there.
        end: the same: it ends there.
        in_context: whether it can, (tokens,).
    """
    places = np.flatnonzero(in_context)
    firsts = places[np.argsort(-start[places], kind="stable")[:MAX_CANDIDATES]]
    lasts = places[np.argsort(-end[places], kind="stable")[:MAX_CANDIDATES]]
    pairs = [(first, last) for first in firsts for last in lasts if first <= last < first + MAX_ANSWER_TOKENS]
    ranked = sorted(((start[first] + end[last], first, last) for first, last in pairs), key=lambda span: -span[0])
    return [float(number) for span in ranked[:MAX_CANDIDATES] for number in span]


def candidates_of(
    predictions: Sequence[Sequence[float]], windows: Dataset, no_answer: bool
) -> dict[int, list[Candidate]]:
    """Return the candidates of each row over all its windows, the best first; at least one.

    Args:
        predictions: of each window the score of "no answer", which is the row's where it is least, then `best_spans`.
        windows: with the columns `row`, `starts` and `ends`.
        no_answer: whether "no answer" is a candidate; it always is where there is no other.
    """
    scores: dict[int, dict[tuple[int, int], float]] = {}
    no_answer_scores: dict[int, float] = {}
    columns = (windows[name] for name in ("row", "starts", "ends"))
    for prediction, row, starts, ends in zip(predictions, *columns, strict=True):
        spans = scores.setdefault(row, {})
        no_answer_scores[row] = min(no_answer_scores.get(row, np.inf), prediction[0])
        for score, first, last in np.asarray(prediction[1:]).reshape(-1, 3):
            span = (starts[int(first)], ends[int(last)])
            spans[span] = max(spans.get(span, -np.inf), float(score))
    candidates = {}
    for row, spans in scores.items():
        if no_answer or not spans:
            spans[0, 0] = no_answer_scores[row]
        ranked = sorted(spans.items(), key=lambda item: -item[1])[:MAX_CANDIDATES]
        candidates[row] = [Candidate(*span, score) for span, score in ranked]
    return candidates
