"""lm-eval's task objects: a definition and its data, opened."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from llmkit.errors import DataError, LlmkitError
from llmkit.evaluation.benchmarks.harness_errors import explained, quiet
from llmkit.evaluation.benchmarks.registry import Found
from llmkit.output.report import Report


def load(found: Found, num_fewshot: int | None, report: Report) -> dict[str, Any]:
    """Return the tasks that a name stands for, by their names, with their data.

    Raises:
        HubError, DataError: the data cannot be had, or lacks the split that examples come from.
        OptionError: a package that the task needs is missing.
    """
    try:
        return _load(found, found.spec, report)
    except LlmkitError as error:
        cause = error.__cause__
        split = _split_of_examples(found, cause.args[0]) if isinstance(cause, KeyError) else None
        if split is None:
            raise
        missing = f"dataset {found.dataset!r} has no split {found.config[split]!r}, which examples are taken from"
        if num_fewshot or (num_fewshot is None and found.config.get("num_fewshot")):
            raise DataError(f"{found.name}: {missing}; --num-fewshot 0 does without") from error
        report.debug(f"{found.name}: {missing}; none are asked for")
        return _without_split(found, split, report)


def _load(found: Found, spec: str, report: Report) -> dict[str, Any]:
    with quiet(report), explained(found.name, found.dataset):
        return dict(found.manager.load([spec])["tasks"])


def _split_of_examples(found: Found, missing: object) -> str | None:
    """Return which setting names the missing split, when it is one that gives examples alone."""
    names = ("training_split", "fewshot_split")
    return next((name for name in names if found.config.get(name) == missing), None) if found.file else None


def _without_split(found: Found, split: str, report: Report) -> dict[str, Any]:
    """Load the task's own file with one setting undone: lm-eval opens that split even where no example is wanted."""
    with tempfile.TemporaryDirectory() as folder:
        changed = Path(folder) / "task.yaml"
        changed.write_text(f"include: {found.file}\ntask: {found.name}\n{split}: null\n", encoding="utf-8")
        return _load(found, str(changed), report)
