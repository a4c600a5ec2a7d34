"""The task of a dataset: the surest reading of its columns; two that are close are refused with the flags of each."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from llmkit.data.conversions import Conversion, converted
from llmkit.data.conversions.renamed import RenamedColumn
from llmkit.data.evidence import Evidence
from llmkit.errors import DataError, OptionError, UndecidedError, listing
from llmkit.options import TaskFlags
from llmkit.tasks.base.candidates import Candidate, Confidence
from llmkit.tasks.base.task import Task
from llmkit.tasks.matching.requirements import require_columns, require_roles

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PretrainedConfig

ANSWERING = frozenset({"completion", "answers", "answer"})  # roles of what is said to a text beside it
MOST_READINGS = 6  # that a refusal lists


@dataclass(frozen=True)
class Resolution:
    """The task that a dataset is read as, its columns by role, and how its rows are converted for it."""

    task: Task
    found: Candidate  # with the columns that the dataset has
    candidate: Candidate  # once all rows were read
    others: tuple[tuple[Task, Candidate], ...] = ()  # readings that are less sure

    @property
    def columns(self) -> dict[str, str]:
        """The columns by role, as they are called after the conversions."""
        return self.candidate.columns

    @property
    def given_columns(self) -> dict[str, str]:
        """The columns by role as the dataset calls them."""
        return self.found.given_columns

    @property
    def columns_read(self) -> set[str]:
        """The columns of the dataset that are read."""
        conversions = (*self.found.conversions, *self.conversions)
        return {*self.found.columns.values(), *(name for each in conversions for name in each.reads)}

    @property
    def conversions(self) -> tuple[Conversion, ...]:
        """How rows are read in other ways before the task reads them."""
        return self.candidate.conversions

    @property
    def reason(self) -> str:
        """A phrase: why it is this task."""
        return self.candidate.reason

    def convert(self, rows: Dataset) -> Dataset:
        """Return rows as the task reads them."""
        return converted(rows, self.conversions)

    def sentences(self, with_reason: bool = True) -> list[str]:
        """Return what is said of the choice: why, the flags of the next reading, and what is converted."""
        another = next((reading for reading in self.others if self._is_near(reading[1])), None)
        flags = f"for another reading: {flags_of(*another)}" if another else "--task and --column say otherwise"
        said = []
        if with_reason and (another or self.candidate.confidence < Confidence.CERTAIN):
            said.append(f"read as {self.task.name}: {self.reason}; {flags}")
        elif another:
            said.append(flags)
        said += [conversion.sentence for conversion in self.conversions if conversion.sentence]
        return [*said, self.candidate.remark] if self.candidate.remark else said

    def _is_near(self, other: Candidate) -> bool:
        """Tell whether another reading is worth a word: one of other columns that is hardly less sure."""
        near = other.confidence >= max(Confidence.POSSIBLE, self.candidate.confidence - 1)
        names, own = set(other.columns.values()), set(self.columns.values())
        converted_names = {name for conversion in self.conversions for name in conversion.reads}
        return near and names != own and not names <= converted_names and len(other.columns) > 1


def resolve_task(
    tasks: Sequence[Task],
    evidence: Evidence,
    given: dict[str, str],
    command: str,
    flags: TaskFlags | None = None,
    config: PretrainedConfig | None = None,
) -> Resolution:
    """Return the surest reading of a dataset as one of the tasks.

    Raises:
        DataError: a column does not exist, or no task fits.
        UndecidedError: several readings are as sure as each other.
        OptionError: a column is given a role that no task has, or two roles.
    """
    flags = flags or TaskFlags()
    require_roles(given, {role for task in tasks for role in task.columns.roles})
    if len(set(given.values())) < len(given):
        raise OptionError("--column: one column cannot have two roles")
    renamed = {role: name for role, name in given.items() if _is_of_another_split(name, evidence)}
    given = {role: name for role, name in given.items() if role not in renamed}
    require_columns({role: name for role, name in given.items() if not _is_several(name, evidence)}, evidence.rows)
    readings = _readings(tasks, evidence, given, flags, command)
    if not readings:
        raise _no_task(tasks, evidence, given, command)
    task, candidate = readings[0]
    _require_decided(readings, given, evidence)
    if candidate.problem:
        raise DataError(candidate.problem)
    candidate = replace(candidate, columns=_assigned(task, candidate, evidence, given, flags, config))
    renames = tuple(RenamedColumn(name, candidate.columns[role]) for role, name in renamed.items())
    candidate = replace(candidate, conversions=(*renames, *candidate.conversions))
    _require_one_type(candidate, evidence)
    found = candidate
    candidate = task.columns.refine(candidate, evidence, flags, config if command == "eval" else None)
    if candidate.problem:
        raise DataError(candidate.problem)
    return Resolution(task, found, candidate, tuple(readings[1:]))


def _is_of_another_split(name: str, evidence: Evidence) -> bool:
    """Tell whether --column names a column that only another split has."""
    return name not in evidence.features and any(name in part.column_names for part in evidence.parts.values())


def _is_several(name: str, evidence: Evidence) -> bool:
    """Tell whether --column names several columns with commas between them."""
    return name not in evidence.features and "," in name and set(name.split(",")) <= set(evidence.features)


def _readings(
    tasks: Sequence[Task], evidence: Evidence, given: dict[str, str], flags: TaskFlags, command: str
) -> list[tuple[Task, Candidate]]:
    """Return all readings, the surest first, and of those as sure as each other that of the earlier task."""
    found: list[tuple[Task, Candidate]] = []
    for task in tasks:
        if set(given) <= set(task.columns.roles):
            found += [(task, candidate) for candidate in task.columns.candidates(evidence, given, flags)]
            if not found and len(tasks) == 1:
                columns = task.columns.explicit_columns(evidence.rows, given)
                found += [(task, Candidate(columns))] if columns else []
    if len(tasks) > 1 and command in {"finetune", "data"}:
        found = [(task, candidate) for task, candidate in found if candidate.confidence > Confidence.UNLIKELY]
    # a language model is no fallback: a likely reading of its text with the answers to it comes first
    fuller = [
        set(each.columns.values())
        for task, each in found
        if each.confidence >= Confidence.LIKELY and ANSWERING & set(task.columns.roles)
    ]
    return sorted(found, key=lambda reading: (_is_alone(reading, fuller), -reading[1].confidence))


def _is_alone(reading: tuple[Task, Candidate], fuller: Sequence[set[str]]) -> bool:
    """Tell whether a language model would learn a question, or a context, without its answers."""
    task, candidate = reading
    text = set(candidate.columns.values())
    return task.columns.roles == ("text",) and any(text < columns for columns in fuller)


def _require_decided(readings: Sequence[tuple[Task, Candidate]], given: Mapping[str, str], evidence: Evidence) -> None:
    """Refuse readings of which none is surer than the next.

    A surer name decides between tasks, so that the earlier task is taken; what columns hold alone does not.
    """
    task, first = readings[0]
    if first.flags and len({other.name for other, _ in readings}) > 1:
        rivals = [next(reading for reading in readings if reading[0] is not task)]
        raise _undecided([(task, first), *rivals], evidence)
    rivals = [
        (other, candidate)
        for other, candidate in readings[1:]
        if candidate.confidence == first.confidence
        and (other is task or first.confidence is Confidence.POSSIBLE or _are_of_one_text(first, candidate))
        and candidate.columns != first.columns
    ]
    if rivals:
        raise _undecided([(task, first), *rivals][:MOST_READINGS], evidence)


def _undecided(readings: Sequence[tuple[Task, Candidate]], evidence: Evidence) -> UndecidedError:
    return UndecidedError(
        f"the columns ({listing(evidence.features)}) can be read in {len(readings)} ways, and none is surer",
        tuple((_phrase(task, candidate), flags_of(task, candidate)) for task, candidate in readings),
    )


def _phrase(task: Task, candidate: Candidate) -> str:
    columns = ", ".join(f"{role}={name}" for role, name in candidate.given_columns.items())
    return f"{task.name} ({columns}): {candidate.reason}"


def _are_of_one_text(first: Candidate, other: Candidate) -> bool:
    """Tell whether two likely readings take the same text for different ends, as a summary and a class."""
    likely = first.confidence is Confidence.LIKELY
    return likely and "text" in first.columns and first.columns["text"] == other.columns.get("text")


def flags_of(task: Task, candidate: Candidate) -> str:
    """Return the flags that ask for a reading."""
    columns = " ".join(f"--column {role}={_quoted(name)}" for role, name in candidate.given_columns.items())
    return f"--task {task.name} {columns} {candidate.flags}".rstrip()


def _quoted(name: str) -> str:
    return shlex.quote(name)


def _assigned(
    task: Task,
    candidate: Candidate,
    evidence: Evidence,
    given: dict[str, str],
    flags: TaskFlags,
    config: PretrainedConfig | None,
) -> dict[str, str]:
    columns = candidate.columns
    if len(set(columns.values())) < len(columns):
        raise OptionError(f"one column cannot be both: {', '.join(f'{role}={name}' for role, name in columns.items())}")
    return task.columns.assign(columns, evidence.rows, given, flags, config)


def _require_one_type(candidate: Candidate, evidence: Evidence) -> None:
    """Refuse a column whose values are of no one type.

    Raises:
        DataError: naming the files or splits that hold others.
    """
    written = {name for conversion in candidate.conversions for name in conversion.writes}
    for role, name in candidate.columns.items():
        if name in evidence.mixed and name not in written:
            raise DataError(f"{evidence.mixed[name]}, or read another column: --column {role}=NAME")


def _no_task(tasks: Sequence[Task], evidence: Evidence, given: Mapping[str, str], command: str) -> DataError:
    """Return the error on columns that no task takes: what each column holds, and how to say what it is."""
    if len(tasks) == 1 or given:
        requirement = "; ".join(f"{task.name} wants {task.columns.requirement()}" for task in tasks[:4])
        role = tasks[0].columns.roles[0]
        return DataError(
            f"the columns ({listing(evidence.features)}) fit no task of {command}: {requirement}; name them, as in "
            f"--column {role}=NAME"
        )
    held = listing(f"{column.name} holds {column.summary}" for column in evidence.columns.values())
    task = next((task for task in tasks if "label" in task.columns.roles), tasks[0])
    roles = " ".join(f"--column {role}=NAME" for role in task.columns.roles[:1])
    return DataError(
        f"the columns ({listing(evidence.features)}) fit no task of {command} for sure: {held}; name it and its "
        f"columns, as in --task {task.name} {roles}; {_alone(tasks)}learns from the text alone"
    )


def _alone(tasks: Sequence[Task]) -> str:
    names = [task.name for task in tasks if task.columns.roles == ("text",)]
    return f"--task {names[0]} " if names else "pretrain "
