"""lm-eval's task objects: a definition and its data, opened."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from llmkit.errors import DataError, LlmkitError
from llmkit.evaluation.benchmarks.harness_errors import explained, quiet
from llmkit.evaluation.benchmarks.registry import TaskDefinition
from llmkit.output.report import Report

if TYPE_CHECKING:
    from lm_eval.api.task import ConfigurableTask


def load_tasks(definition: TaskDefinition, num_fewshot: int | None, report: Report) -> dict[str, ConfigurableTask]:
    """Return the tasks that a name stands for, by their names, with their data.

    Raises:
        HubError, DataError: the data cannot be had, or lacks the split that examples come from.
        OptionError: a package that the task needs is missing.
    """
    try:
        return _load(definition, definition.spec, report)
    except LlmkitError as error:
        cause = error.__cause__
        split = _split_of_examples(definition, cause.args[0]) if isinstance(cause, KeyError) else None
        if split is None:
            raise
        missing = (
            f"dataset {definition.dataset!r} has no split {definition.config[split]!r}, which examples are taken from"
        )
        if num_fewshot or (num_fewshot is None and definition.config.get("num_fewshot")):
            raise DataError(f"{definition.name}: {missing}; --num-fewshot 0 does without") from error
        report.debug(f"{definition.name}: {missing}; none are asked for")
        return _without_split(definition, split, report)


def _load(definition: TaskDefinition, spec: str, report: Report) -> dict[str, ConfigurableTask]:
    with quiet(report), explained(definition.name, definition.dataset):
        return dict(definition.manager.load([spec])["tasks"])


def _split_of_examples(definition: TaskDefinition, missing: object) -> str | None:
    """Return which setting names the missing split, when it is one that gives examples alone."""
    names = ("training_split", "fewshot_split")
    return next((name for name in names if definition.config.get(name) == missing), None) if definition.file else None


def _without_split(definition: TaskDefinition, split: str, report: Report) -> dict[str, ConfigurableTask]:
    """Load the task's own file with one setting undone: lm-eval opens that split even where no example is wanted."""
    with tempfile.TemporaryDirectory() as folder:
        changed = Path(folder) / "task.yaml"
        changed.write_text(f"include: {definition.file}\ntask: {definition.name}\n{split}: null\n", encoding="utf-8")
        return _load(definition, str(changed), report)
