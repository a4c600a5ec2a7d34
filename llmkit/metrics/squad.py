"""Metrics of extracted answers, the SQuAD way: the best over the references, after normalisation.

Source: Rajpurkar et al., SQuAD, 2016, and Know What You Don't Know, 2018; the official evaluation script. Chinese and
Japanese characters are a token each, as in the script of MLQA (Lewis et al., 2020).
"""

from __future__ import annotations

import re
import string
import unicodedata
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable

import numpy as np

from llmkit.metrics.measures import CorrectShare, WeightedValues, memoized, weighted_mean
from llmkit.metrics.observations import AnswerTexts, Floats, Texts
from llmkit.metrics.text_generation import TextMetric

ARTICLE_WORDS = re.compile(r"\b(a|an|the)\b")
SPACELESS_CHARACTER = re.compile("([\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af])")
ASCII_PUNCTUATION = str.maketrans("", "", string.punctuation)


def answer_tokens(text: str) -> list[str]:
    """Return the tokens of an answer: lower case, without punctuation and articles, Chinese by characters.

    Marks beyond ASCII are dropped beside Chinese and Japanese characters alone: elsewhere SQuAD's script keeps them.
    """
    plain = text.lower()
    if SPACELESS_CHARACTER.search(plain):
        plain = "".join(letter for letter in plain if not unicodedata.category(letter).startswith("P"))
    return SPACELESS_CHARACTER.sub(r" \1 ", ARTICLE_WORDS.sub(" ", plain.translate(ASCII_PUNCTUATION))).split()


@memoized
def _tokens(observations: Texts) -> list[tuple[list[str], list[list[str]]]]:
    """Return the tokens of each row's answer and of its references, those that are nothing but marks left out."""
    rows = []
    for answer, texts in zip(observations.predicted, observations.references, strict=True):
        references = [tokens for tokens in map(answer_tokens, texts) if tokens]
        rows.append((answer_tokens(answer), references or [[]]))
    return rows


class AnswerMetric(TextMetric):
    """The mean over the rows of a score of an answer, the best over its references."""

    observed = AnswerTexts
    needs = "answers and their references"
    source = "Rajpurkar et al., SQuAD: 100,000+ Questions for Machine Comprehension of Text, EMNLP 2016."

    def to_observations(self, *, predictions: Iterable[str], references: Iterable[Iterable[str]]) -> AnswerTexts:
        return AnswerTexts(tuple(predictions), tuple(map(tuple, references)))

    @abstractmethod
    def score(self, answer: list[str], reference: list[str]) -> float:
        """Return the score of an answer's tokens against those of one reference."""

    def row_scores(self, observations: Texts) -> Floats:
        """Return the score of each row, (n,)."""
        pairs = _tokens(observations)
        return np.array([max(self.score(answer, tokens) for tokens in references) for answer, references in pairs])

    def value(self, observations: Texts) -> float:
        return float(self.row_scores(observations).mean())

    def weighted_values(self, observations: Texts) -> WeightedValues:
        return weighted_mean(self.row_scores(observations))


class AnswerExactMatch(CorrectShare[Texts], AnswerMetric):
    key = "exact_match"
    about = "The share of answers that equal a reference, case, punctuation and articles apart."

    def score(self, answer: list[str], reference: list[str]) -> float:
        return float(answer == reference)

    def correctness(self, observations: Texts) -> Floats:
        return self.row_scores(observations)


class AnswerF1(AnswerMetric):
    key = "f1"
    about = "The mean over the rows of the F1 of the words that answer and reference share."

    def score(self, answer: list[str], reference: list[str]) -> float:
        if not answer or not reference:  # no answer is right only where there is none
            return float(answer == reference)
        shared = sum((Counter(answer) & Counter(reference)).values())
        return 2 * shared / (len(answer) + len(reference))
