"""ROUGE on rouge_score, with a tokenizer for every script."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import re

import numpy as np

from llmkit.metrics.measures import WeightedValues, memoized, weighted_mean
from llmkit.metrics.observations import Floats, Texts
from llmkit.metrics.texts.base import TextMetric, library, reference_count
from llmkit.metrics.texts.scripts import HANGUL, SPACELESS_LETTER, marks, run_of, visible

ASCII_TOKEN = re.compile("[a-z0-9]+")  # rouge_score's own (Lin 2004)
CHARACTER = re.compile(f"(?:{SPACELESS_LETTER}|[{HANGUL}])")  # a token by itself, with its marks
SIGN = r"[^\W_]"  # of a word: a letter or a digit


class Rouge(TextMetric):
    """The mean over the rows of ROUGE's F-measure, best over the references; its kind is the key."""

    source = "Lin, ROUGE: A Package for Automatic Evaluation of Summaries, 2004."

    def value(self, observations: Texts) -> float:
        return float(self._row_scores(observations).mean())

    def weighted_values(self, observations: Texts) -> WeightedValues:
        return weighted_mean(self._row_scores(observations))

    def signature(self, observations: Texts) -> str:
        """Return how the figure was computed, spelled as sacrebleu spells it."""
        version = importlib.metadata.version("rouge_score")
        return f"nrefs:{reference_count(observations)}|case:lc|tok:{Tokenizer.name}|stem:no|version:{version}"

    def _row_scores(self, observations: Texts) -> Floats:
        scores = _rouge_scores(observations)
        if self.key not in scores:
            library("rouge_score", self.key)
            scorer = importlib.import_module("rouge_score.rouge_scorer").RougeScorer([self.key], tokenizer=Tokenizer())
            pairs = zip(observations.references, observations.predicted, strict=True)
            scores[self.key] = np.array([scorer.score_multi(texts, text)[self.key].fmeasure for texts, text in pairs])
        return scores[self.key]


class Rouge1(Rouge):
    key = "rouge1"
    about = "ROUGE-1: F-measure of the words in common, from 0 to 1."


class Rouge2(Rouge):
    key = "rouge2"
    about = "ROUGE-2: F-measure of the pairs of words in common, from 0 to 1."


class RougeL(Rouge):
    key = "rougeL"
    about = "ROUGE-L: F-measure of the longest common subsequence of words, from 0 to 1."


class Tokenizer:
    """Words of letters, marks and digits without regard to case; a character each where words have no spaces.

    Of ASCII it gives rouge_score's own tokens. A character is a letter with its marks, or a syllable of Hangul.
    """

    name = "unicode"

    def tokenize(self, text: str) -> list[str]:
        """Return the tokens of a text."""
        plain = visible(text).casefold()
        if plain.isascii():
            return ASCII_TOKEN.findall(plain)
        plain = visible(plain)  # folding the case of a letter may part it from its mark
        return (_token() if CHARACTER.search(plain) else _word()).findall(plain)


@functools.cache
def _token() -> re.Pattern[str]:
    return re.compile(rf"{CHARACTER.pattern}[{marks()}]*|(?:(?!{CHARACTER.pattern}){SIGN}[{marks()}]*)+")


@functools.cache
def _word() -> re.Pattern[str]:
    return re.compile(run_of(SIGN))


@memoized
def _rouge_scores(observations: Texts) -> dict[str, Floats]:
    """Return what each kind of ROUGE gave these texts, (n,), by the metric's key."""
    return {}
