"""Metrics of generated texts against references, on sacrebleu and rouge_score.

What a text adds to a metric (n-gram counts, edits) is worked out once for each row; the metric is a function of sums.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Iterable
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from datasets import Sequence, Value

from llmkit.errors.extras import require_extra
from llmkit.metrics.base import Metric, RowFeatures
from llmkit.metrics.measures import CorrectShare, WeightedValues, memoized, weighted_mean
from llmkit.metrics.observations import Floats, Texts

if TYPE_CHECKING:
    from sacrebleu.metrics.base import Metric as SacrebleuMetric

HAN_CHARACTER = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]")
# rouge_score's own tokens (Lin 2004: runs of a-z and 0-9), and each character of a script written without spaces
ROUGE_TOKEN = re.compile(
    "[a-z0-9]+|[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U000323af]"
)


class TextMetric(Metric[Texts]):
    """A metric of texts, each with one or more references."""

    observed = Texts
    needs = "texts and their references"
    inputs = "predictions: texts; references: a list of reference texts for each"

    @classmethod
    def row_features(cls) -> RowFeatures:
        return {"predictions": Value("string"), "references": Sequence(Value("string"))}

    def to_observations(self, *, predictions: Iterable[str], references: Iterable[Iterable[str]]) -> Texts:
        return Texts(tuple(predictions), tuple(map(tuple, references)))


class ExactMatch(CorrectShare[Texts], TextMetric):
    key = "exact_match"
    about = "The share of texts that equal one of their references, white space at the ends apart."
    source = "https://huggingface.co/spaces/evaluate-metric/exact_match"

    def correctness(self, observations: Texts) -> Floats:
        pairs = zip(observations.predicted, observations.references, strict=True)
        return np.array([text.strip() in set(map(str.strip, texts)) for text, texts in pairs], dtype=np.float64)


class CorpusMetric(TextMetric):
    """A sacrebleu metric: its score is a function of the summed statistics of the rows.

    `_extract_corpus_statistics` and `_compute_score_from_stats` are what sacrebleu's own bootstrap is built of.
    """

    source = "Post, A Call for Clarity in Reporting BLEU Scores, WMT 2018."

    def value(self, observations: Texts) -> float:
        scorer, statistics = self._statistics(observations)
        return float(scorer._compute_score_from_stats(statistics.sum(0).tolist()).score)

    def weighted_values(self, observations: Texts) -> WeightedValues:
        scorer, statistics = self._statistics(observations)
        return lambda weights: np.array(
            [scorer._compute_score_from_stats(sums).score for sums in (weights @ statistics).tolist()]
        )

    def signature(self, observations: Texts) -> str:
        return str(self._statistics(observations)[0].get_signature())

    def _statistics(self, observations: Texts) -> tuple[SacrebleuMetric, Floats]:
        """Return sacrebleu's scorer and the statistics of each row, (n, statistics)."""
        statistics = _sacrebleu_statistics(observations)
        if self.key not in statistics:
            scorer = self.scorer(_library("sacrebleu", self.key), _has_han(observations))
            streams_needed = max(map(len, observations.references))
            streams = [
                [row[i] if i < len(row) else None for row in observations.references] for i in range(streams_needed)
            ]
            rows = scorer._extract_corpus_statistics(list(observations.predicted), streams)
            statistics[self.key] = scorer, np.array(rows, dtype=np.float64)
        return statistics[self.key]

    def scorer(self, sacrebleu: ModuleType, han: bool) -> SacrebleuMetric:
        """Return sacrebleu's metric object, for references with Chinese characters in them or without."""
        raise NotImplementedError


class Bleu(CorpusMetric):
    key = "bleu"
    about = "sacrebleu's corpus BLEU, 0 to 100; tokenizer 13a, or zh where the references hold Chinese characters."

    def scorer(self, sacrebleu: ModuleType, han: bool) -> SacrebleuMetric:
        return sacrebleu.BLEU(tokenize="zh" if han else "13a", force=True)


class ChrF(CorpusMetric):
    key = "chrf"
    about = "sacrebleu's chrF2, 0 to 100: an F-score of character n-grams up to 6."

    def scorer(self, sacrebleu: ModuleType, han: bool) -> SacrebleuMetric:
        return sacrebleu.CHRF()


class Ter(CorpusMetric):
    key = "ter"
    about = "sacrebleu's translation edit rate in per cent; lower is better. Chinese is split into its characters."

    def scorer(self, sacrebleu: ModuleType, han: bool) -> SacrebleuMetric:
        return sacrebleu.TER(normalized=han, asian_support=han)


class Rouge(TextMetric):
    """The mean over the rows of ROUGE's F-measure, best over the references; its kind is the key."""

    source = "Lin, ROUGE: A Package for Automatic Evaluation of Summaries, 2004."

    def value(self, observations: Texts) -> float:
        return float(self._row_scores(observations).mean())

    def weighted_values(self, observations: Texts) -> WeightedValues:
        return weighted_mean(self._row_scores(observations))

    def _row_scores(self, observations: Texts) -> Floats:
        scores = _rouge_scores(observations)
        if self.key not in scores:
            _library("rouge_score", self.key)
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
    """rouge_score's default tokens, and each Chinese, Japanese or Korean character as one (they would be dropped)."""

    def tokenize(self, text: str) -> list[str]:
        """Return the tokens of a text, in lower case."""
        return ROUGE_TOKEN.findall(text.lower())


@memoized
def _sacrebleu_statistics(observations: Texts) -> dict[str, tuple[SacrebleuMetric, Floats]]:
    """Return what sacrebleu's metrics have worked out of these texts, by the metric's key."""
    return {}


@memoized
def _rouge_scores(observations: Texts) -> dict[str, Floats]:
    """Return what each kind of ROUGE gave these texts, (n,), by the metric's key."""
    return {}


@memoized
def _has_han(observations: Texts) -> bool:
    return any(HAN_CHARACTER.search(text) for texts in observations.references for text in texts)


def _library(name: str, metric: str) -> ModuleType:
    require_extra(f"the metric {metric!r}", "eval", name)
    return importlib.import_module(name)
