"""What columns and rows must be once a task is chosen: there, in each split, and without contradictions."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from llmkit.data.evidence import Evidence
from llmkit.errors import DataError, OptionError, did_you_mean, listing
from llmkit.options import TaskFlags
from llmkit.tasks.base.task import Task

if TYPE_CHECKING:
    from datasets import Dataset


def require_roles(given: Iterable[str], roles: Collection[str]) -> None:
    """Refuse a --column whose role no task in question has.

    Raises:
        OptionError: naming the roles that there are.
    """
    for role in given:
        if role not in roles:
            near = did_you_mean(role, roles)
            raise OptionError(f"--column: there is no role {role!r}{near}; there are {listing(sorted(roles))}")


def require_columns(given: Mapping[str, str], dataset: Dataset, where: str = "the dataset") -> None:
    """Refuse a --column that the dataset does not have; `where` says which rows these are.

    Raises:
        DataError: naming the nearest column and those that there are.
    """
    for role, column in given.items():
        if column not in dataset.column_names or not column.strip():
            near = did_you_mean(column, dataset.column_names)
            there = listing(dataset.column_names)
            raise DataError(f"there is no column {column!r} for {role}{near}; {where} has {there}")


def require_split_columns(task: Task, columns: Mapping[str, str], rows: Dataset, where: str) -> None:
    """Refuse a split that lacks columns which the others have; `where` says which.

    Raises:
        DataError: naming them, and the flag where the split has one that is called otherwise.
    """
    missing = {role: name for role, name in columns.items() if name not in rows.column_names}
    if not missing:
        return
    role, name = next(iter(missing.items()))
    candidates = task.columns.candidates(Evidence(rows), {}, TaskFlags())
    instead = candidates[0].columns.get(role) if candidates else None
    free = [column for column in rows.column_names if column not in columns.values()]
    likely = instead or (free[0] if len(free) == 1 else None)
    advice = f"--column {role}={shlex.quote(likely or 'NAME')} names it there"
    raise DataError(f"{where} has no column {name!r} for {role}, only {listing(rows.column_names)}: {advice}")


def require_valid_rows(task: Task, rows: Dataset, columns: dict[str, str], where: str) -> None:
    """Refuse rows that contradict themselves, as tags that are fewer than the words; `where` says whose rows they are.

    Raises:
        DataError: naming the first such row, from 1.
    """
    invalid = task.columns.first_invalid_row(rows, columns)
    if invalid is not None:
        place, problem = invalid
        raise DataError(f"{where}, row {place + 1}: {problem}")
