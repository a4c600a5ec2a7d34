"""What makes a measure an `evaluate.Metric`: a description, the columns of a row, how they become observations."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import evaluate
from datasets import Features

from llmkit.metrics.measures import Measure, Seen


class Metric(evaluate.Metric, Measure[Seen]):
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
    def columns(cls) -> dict[str, Any]:
        """Return the features of one row, as `compute` takes them."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=self.about,
            citation=self.source,
            inputs_description=self.inputs,
            features=Features(self.columns()),
        )

    @abstractmethod
    def observe(self, *arguments: Any, **inputs: Any) -> Seen:
        """Return the observations that the inputs of `compute` are."""

    def _compute(self, **inputs: Any) -> dict[str, float]:
        return {self.key: self.value(self.observe(**inputs))}
