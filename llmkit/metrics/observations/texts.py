"""What is observed of texts: written ones, their likelihoods, preferences, and what another harness measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from llmkit.metrics.observations.base import Columns, Floats, Ints, Observations, floats, ints
from llmkit.metrics.texts.scripts import usual_tokenizer
from llmkit.output.result_parts import Label, RowColumns


@dataclass(frozen=True, eq=False)
class Texts(Observations):
    """A text for each row, and one or more references that it is measured against."""

    kind = "texts"
    per_unit = ("predicted", "references")

    predicted: tuple[str, ...]
    references: tuple[tuple[str, ...], ...]
    # of BLEU and TER, by sacrebleu's name for it; by default that of the references' script: of all, so that a part of
    # the rows is scored as the whole is
    tokenizer: str = ""

    def __post_init__(self) -> None:
        if not self.tokenizer:
            usual = usual_tokenizer(text for texts in self.references for text in texts)
            object.__setattr__(self, "tokenizer", usual)

    def labels(self) -> list[Label]:
        return [list(texts) for texts in self.references]

    def to_columns(self) -> RowColumns:
        return {**super().to_columns(), "tokenizer": self.tokenizer}

    @classmethod
    def from_columns(cls, columns: Columns) -> Self:
        references = tuple(map(tuple, columns["label"]))
        return cls(tuple(columns["prediction"]), references, str(columns.get("tokenizer") or ""))


@dataclass(frozen=True, eq=False)
class AnswerTexts(Texts):
    """The answer that was found for each row, and those that are right: an empty text says that there is none."""

    kind = "answertexts"


@dataclass(frozen=True, eq=False)
class Likelihoods(Observations):
    """Summed negative log-likelihood (nats) of each piece of text, the tokens that were scored and their bytes."""

    kind = "likelihoods"
    per_unit = ("nll", "tokens", "bytes", "hits")

    nll: Floats  # (n,)
    tokens: Ints  # (n,)
    bytes: Ints  # (n,); zeros where bytes mean nothing (masked-lm)
    hits: Ints | None = None  # (n,): how many tokens were guessed right

    def to_columns(self) -> RowColumns:
        nll, tokens, covered = (column.tolist() for column in (self.nll, self.tokens, self.bytes))
        hits = None if self.hits is None else self.hits.tolist()
        return {"nll": nll, "tokens": tokens, "bytes": covered, "hits": hits}

    @classmethod
    def from_columns(cls, columns: Columns) -> Self:
        tokens, covered = (np.array(columns[key], dtype=np.int64) for key in ("tokens", "bytes"))
        return cls(np.array(columns["nll"], dtype=np.float64), tokens, covered, ints(columns["hits"]))


@dataclass(frozen=True, eq=False)
class Preferences(Observations):
    """How much likelier than the other the preferred answer of each pair is: log-probabilities in nats, subtracted."""

    kind = "preferences"
    per_unit = ("margins", "before")

    margins: Floats  # (n,)
    before: Floats | None = None  # (n,): the same of the reference model, where there is one
    beta: float = 0.1  # what a reward is: beta times how much likelier an answer has become

    @property
    def rewards(self) -> Floats:
        """The implicit reward of the preferred answer less that of the other, (n,).

        Raises:
            ValueError: there is no reference model, so that nothing is known of `before`.
        """
        if self.before is None:
            raise ValueError("there is no reference model")
        return self.beta * (self.margins - self.before)

    def to_columns(self) -> RowColumns:
        before = None if self.before is None else self.before.tolist()
        return {"margin": self.margins.tolist(), "beta": self.beta, "before": before}

    @classmethod
    def from_columns(cls, columns: Columns) -> Self:
        return cls(np.array(columns["margin"], dtype=np.float64), floats(columns["before"]), float(columns["beta"]))


@dataclass(frozen=True, eq=False)
class Samples(Observations):
    """What another harness measured of each row, by metric: metrics are the means of these values."""

    kind = "samples"
    per_unit = ("values", "truth", "predicted")

    values: Mapping[str, Floats]  # metric -> (n,)
    truth: tuple[str, ...] | None = None  # what was right, as a person reads it
    predicted: tuple[str | None, ...] | None = None  # what was answered; None where that is not known

    def __len__(self) -> int:
        return len(next(iter(self.values.values()), ()))

    def to_columns(self) -> RowColumns:
        return {**super().to_columns(), "values": {name: array.tolist() for name, array in self.values.items()}}

    @classmethod
    def from_columns(cls, columns: Columns) -> Self:
        values = {name: np.array(column, dtype=np.float64) for name, column in columns["values"].items()}
        truth, predicted = columns.get("label"), columns.get("prediction")
        return cls(values, None if truth is None else tuple(truth), None if predicted is None else tuple(predicted))
