"""sacrebleu's metrics of a corpus: BLEU, chrF, TER, by the tokenizer that the observations name.

What a text adds to a metric (n-gram counts, edits) is worked out once for each row; the metric is a function of sums.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Protocol

import numpy as np

from llmkit.metrics.measures import WeightedValues, memoized
from llmkit.metrics.observations import Floats, Texts
from llmkit.metrics.texts.base import TextMetric, library

if TYPE_CHECKING:
    from sacrebleu.metrics.base import Metric as SacrebleuMetric


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

    def signature(self, observations: Texts) -> str | None:
        if not len(observations):
            return None
        return str(self._statistics(observations)[0].get_signature())

    def _statistics(self, observations: Texts) -> tuple[SacrebleuMetric, Floats]:
        """Return sacrebleu's scorer and the statistics of each row, (n, statistics)."""
        statistics = _sacrebleu_statistics(observations)
        if self.key not in statistics:
            scorer = self.scorer(library("sacrebleu", self.key), observations.tokenizer)
            streams_needed = max(map(len, observations.references))
            streams = [
                [row[i] if i < len(row) else None for row in observations.references] for i in range(streams_needed)
            ]
            rows = scorer._extract_corpus_statistics(list(observations.predicted), streams)
            statistics[self.key] = scorer, np.array(rows, dtype=np.float64)
        return statistics[self.key]

    def scorer(self, sacrebleu: ModuleType, tokenizer: str) -> SacrebleuMetric:
        """Return sacrebleu's metric object, with the tokenizer of that name where it reads one."""
        raise NotImplementedError


class Bleu(CorpusMetric):
    key = "bleu"
    about = "sacrebleu's corpus BLEU, 0 to 100; its tokenizer is that of the references' script, or the one named."

    def scorer(self, sacrebleu: ModuleType, tokenizer: str) -> SacrebleuMetric:
        return sacrebleu.BLEU(tokenize=tokenizer, force=True)


class ChrF(CorpusMetric):
    key = "chrf"
    about = "sacrebleu's chrF2, 0 to 100: an F-score of character n-grams up to 6."

    def scorer(self, sacrebleu: ModuleType, tokenizer: str) -> SacrebleuMetric:
        return sacrebleu.CHRF()


class Ter(CorpusMetric):
    key = "ter"
    about = "sacrebleu's translation edit rate in per cent; lower is better. Its words are those of the tokenizer."

    def scorer(self, sacrebleu: ModuleType, tokenizer: str) -> SacrebleuMetric:
        if tokenizer == "zh":  # Chinese in TER's own words
            return sacrebleu.TER(normalized=True, asian_support=True)
        scorer = sacrebleu.TER()
        if tokenizer not in {"13a", "none"}:
            scorer.tokenizer = Tokenized(sacrebleu.BLEU(tokenize=tokenizer, force=True).tokenizer, scorer.tokenizer)
            scorer.tokenizer_signature = scorer.tokenizer.signature()
        return scorer


class Tokenizer(Protocol):
    """What sacrebleu's tokenizers are: pieces of a text, with spaces between them, and a name."""

    def __call__(self, text: str, /) -> str: ...

    def signature(self) -> str: ...


class Tokenized:
    """A tokenizer behind another: TER's own, of the pieces that one of BLEU's makes."""

    def __init__(self, first: Tokenizer, second: Tokenizer) -> None:
        self.first, self.second = first, second

    def __call__(self, text: str) -> str:
        return self.second(self.first(text))

    def signature(self) -> str:
        """Return the name of the one that makes the pieces."""
        return self.first.signature()


@memoized
def _sacrebleu_statistics(observations: Texts) -> dict[str, tuple[SacrebleuMetric, Floats]]:
    """Return what sacrebleu's metrics have worked out of these texts, by the metric's key."""
    return {}
