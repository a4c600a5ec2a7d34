"""What `llmkit data` says of the task: the reading that was taken, the others, and what each column holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from datasets import ClassLabel

from llmkit.errors import listing
from llmkit.output.report import Report
from llmkit.output.survey_result import ColumnResult, ReadingResult, TaskResult
from llmkit.tasks import Evidence, Resolution, Task, input_columns
from llmkit.tasks.base.candidates import Candidate


@dataclass(frozen=True)
class ResolvedTask:
    """The task that finetuning would take, the columns by their roles in it, and the other ways to read the rows."""

    resolution: Resolution
    evidence: Evidence
    is_named: bool  # whether --task named it

    @property
    def task(self) -> Task:
        """The task."""
        return self.resolution.task

    @property
    def columns(self) -> dict[str, str]:
        """The columns of the rows as the task reads them, by role."""
        return self.resolution.columns

    @property
    def why(self) -> str:
        """A phrase on how the task was found."""
        return "--task names it" if self.is_named else self.resolution.reason

    def as_dict(self) -> TaskResult:
        """Return the fields that --json prints."""
        others = dict.fromkeys(task.name for task, _ in self.resolution.others if task is not self.task)
        return {
            "name": self.task.name,
            "why": self.why,
            "others": list(others),
            "readings": list(self._readings()),
            "columns": self.resolution.given_columns,
            "pieces": self.task.encoding.overlong_rows,
        }

    @property
    def has_targets(self) -> bool:
        """Whether a column is beside those of the inputs."""
        return input_columns(self.columns) != self.columns

    def columns_of_file(self) -> Iterator[ColumnResult]:
        """Yield what each column of the dataset is called, holds, and is to the task."""
        named = {**self.columns, **self.resolution.given_columns}
        roles = {part: role for role, name in named.items() for part in (name, *name.split(","))}
        profiles = self.evidence.columns
        for name, feature in self.evidence.features.items():
            holds = profiles[name].summary
            yield {"name": name, "feature": feature_name(feature), "holds": holds, "role": roles.get(name)}

    def tell(self, report: Report) -> None:
        """Say which task it is, why, and what else it could be."""
        columns = ", ".join(f"{role}={name}" for role, name in self.resolution.given_columns.items())
        report.say(f"task: {self.task.name}; columns {columns} ({self.why})")
        report.say_all(self.resolution.sentences(with_reason=False))

    def _readings(self) -> Iterator[ReadingResult]:
        taken = self.resolution
        yield _reading(taken.task, taken.candidate, taken.given_columns)
        for task, candidate in taken.others:
            yield _reading(task, candidate, candidate.given_columns)


def _reading(task: Task, candidate: Candidate, columns: dict[str, str]) -> ReadingResult:
    return {
        "task": task.name,
        "columns": columns,
        "confidence": candidate.confidence.name.lower(),
        "why": candidate.reason,
    }


def feature_name(feature: object) -> str:
    """Return a feature as a person says it: string, list of string, class label of 2."""
    if isinstance(feature, ClassLabel):
        return f"class label of {feature.num_classes}: {listing(feature.names)}"
    if isinstance(feature, dict):
        return f"{{{', '.join(f'{name}: {feature_name(inner)}' for name, inner in feature.items())}}}"
    item = getattr(feature, "feature", None)
    if item is not None:
        return f"list of {feature_name(item)}"
    return str(getattr(feature, "dtype", feature))
