"""Metrics of extracted answers, the SQuAD way: the best over the references, after normalisation.

Source: Rajpurkar et al., SQuAD, 2016, and Know What You Don't Know, 2018; the official evaluation script, which reads
texts in Latin letters. Other scripts are read as in the script of MLQA (Lewis et al., 2020): no punctuation at all,
and a token for each character of a script that is written without spaces.
"""

from __future__ import annotations

import functools
import re
import string
import unicodedata
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable

import numpy as np

from llmkit.metrics.measures import CorrectShare, WeightedValues, memoized, weighted_mean
from llmkit.metrics.observations import AnswerTexts, Floats, Texts
from llmkit.metrics.texts.base import TextMetric
from llmkit.metrics.texts.scripts import LETTER, SPACELESS_LETTER, marks, visible

ARTICLE_WORDS = re.compile(r"\b(a|an|the)\b")
ASCII_PUNCTUATION = str.maketrans("", "", string.punctuation)
# blocks of marks that stand in English too (“ … »): SQuAD's script keeps them
SHARED_MARKS = re.compile("[\u00a0-\u00ff\u2000-\u206f\u2e00-\u2e7f]")
LATIN = "a-z\u00aa\u00b5\u00ba-\u02ff\u1d00-\u1eff\u2070-\u209f\u2c60-\u2c7f\ua720-\ua7ff\uab30-\uab6f\ufb00-\ufb06"
OTHER_LETTER = re.compile(f"(?![{LATIN}]){LETTER}")


def answer_tokens(text: str) -> list[str]:
    """Return the tokens of an answer: lower case, without punctuation and articles; spaceless scripts by characters.

    Quotes, dashes and the like beyond ASCII are kept where all letters are Latin, as SQuAD's script keeps them.
    """
    plain = visible(text).lower()
    if not plain.isascii():
        latin = not OTHER_LETTER.search(plain)
        plain = "".join(letter for letter in plain if not _is_dropped(letter, latin))
    words = ARTICLE_WORDS.sub(" ", plain.translate(ASCII_PUNCTUATION))
    return (words if words.isascii() else _character().sub(r" \g<0> ", words)).split()


def _is_dropped(letter: str, latin: bool) -> bool:
    """Tell whether a character is punctuation that does not count, in a text of Latin letters alone or another."""
    return unicodedata.category(letter).startswith("P") and not (latin and SHARED_MARKS.match(letter))


@functools.cache
def _character() -> re.Pattern[str]:
    return re.compile(f"{SPACELESS_LETTER}[{marks()}]*")


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
