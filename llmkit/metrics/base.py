"""What makes a measure an `evaluate.Metric`: a description, the columns of a row, how they become observations."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import evaluate
from datasets import Features, Sequence, Value

from llmkit.metrics.measures import Measure, ObservationsT

RowFeatures = Mapping[str, Value | Sequence]


class Metric(evaluate.Metric, Measure[ObservationsT]):
    """A `Measure` that is an `evaluate.Metric` too: `compute(predictions=..., references=...)` works offline."""

    about: ClassVar[str]
    source: ClassVar[str]
    inputs: ClassVar[str]

    def __init__(self, config_name: str | None = None, **options: Any) -> None:
        super().__init__(config_name, **options)
        if config_name:
            self.key = f"{type(self).key}_{config_name}"

    @classmethod
    @abstractmethod
    def row_features(cls) -> RowFeatures:
        """Return the features of one row, as `compute` takes them."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=self.about,
            citation=self.source,
            inputs_description=self.inputs,
            features=Features(self.row_features()),
        )

    @abstractmethod
    def to_observations(self, *arguments: Any, **inputs: Any) -> ObservationsT:
        """Return the observations that the inputs of `compute` are."""

    def _compute(self, **inputs: Any) -> dict[str, float]:
        return {self.key: self.value(self.to_observations(**inputs))}
