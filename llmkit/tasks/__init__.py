"""The tasks by their Hub names. A new task is one file and one line here."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from datasets import Dataset
from transformers import PretrainedConfig

from llmkit.errors import DataError, ModelError, OptionError, did_you_mean, listing
from llmkit.tasks.base import Setup, Task
from llmkit.tasks.causal_lm import CausalLM
from llmkit.tasks.masked_lm import MaskedLM
from llmkit.tasks.text_classification import TextClassification

TASKS: dict[str, Task] = {task.name: task for task in (TextClassification(), CausalLM(), MaskedLM())}

__all__ = ["TASKS", "Setup", "Task", "choose", "named", "of_model", "require", "require_columns"]


def named(name: str) -> Task:
    """Return the task of that name.

    Raises:
        OptionError: there is none; the nearest name is suggested.
    """
    if name not in TASKS:
        raise OptionError(f"--task: there is no task {name!r}{did_you_mean(name, TASKS)}; there are {listing(TASKS)}")
    return TASKS[name]


def of_model(config: PretrainedConfig) -> Task | None:
    """Return the task whose head the model has, or None for a headless or unknown one."""
    return next((task for task in TASKS.values() if task.opens(config)), None)


def require(config: PretrainedConfig, verb: str, model: str) -> Task:
    """Return the model's task, after checking that the command works with it.

    Raises:
        ModelError: it does not; the sentence names the tasks and the commands that do.
    """
    task, able = of_model(config), [task.name for task in TASKS.values() if verb in task.verbs]
    kind = (config.architectures or [config.model_type])[0]
    if task is None:
        raise ModelError(f"{model!r} is a {kind}, with no head for {listing(able)}; finetune it first")
    if verb not in task.verbs:
        others = listing(f"`llmkit {other}`" for other in sorted(task.verbs))
        raise ModelError(
            f"{model!r} is a {task.name} model ({kind}), which {verb} cannot use: it takes {listing(able)} models; "
            f"this one works in {others}"
        )
    return task


def choose(
    name: str | None, dataset: Dataset, given: dict[str, str], config: PretrainedConfig | None, verb: str
) -> tuple[Task, dict[str, str]]:
    """Return the task and its columns by role: the one named, else the first that dataset and model fit.

    Raises:
        DataError: a column does not exist, or no task fits.
        OptionError, ModelError: the named task is unknown, or the command, the data or the model do not fit it.
    """
    candidates = [named(name)] if name else [task for task in TASKS.values() if verb in task.verbs]
    require_roles(given, {role for task in candidates for role in task.roles})
    if len(set(given.values())) < len(given):
        raise OptionError("--column: one column cannot have two roles")
    require_columns(given, dataset)
    for task in candidates:
        if name and verb not in task.verbs:
            raise OptionError(f"--task {name} does not work in {verb}")
        columns = task.fits(dataset, given)
        if columns is None or (config is not None and not task.trains_on(config)):
            continue
        if len(set(columns.values())) < len(columns):
            raise OptionError(
                f"one column cannot be both: {', '.join(f'{role}={name}' for role, name in columns.items())}"
            )
        return task, columns
    if name and config is not None and not candidates[0].trains_on(config):
        raise ModelError(f"a {(config.architectures or [config.model_type])[0]} cannot be used for {name}")
    wants = "; ".join(f"{task.name} wants {task.wants()}" for task in candidates)
    raise DataError(
        f"the columns ({_columns(dataset)}) fit no task of {verb}: {wants}; name them, as in --column text=NAME"
    )


def require_roles(given: Iterable[str], roles: Collection[str]) -> None:
    """Refuse a --column whose role no task in question has.

    Raises:
        OptionError: naming the roles that there are.
    """
    for role in given:
        if role not in roles:
            near = did_you_mean(role, roles)
            raise OptionError(f"--column: there is no role {role!r}{near}; there are {listing(sorted(roles))}")


def require_columns(given: Mapping[str, str], dataset: Dataset) -> None:
    """Refuse a --column that the dataset does not have.

    Raises:
        DataError: naming the nearest column and those that there are.
    """
    for role, column in given.items():
        if column not in dataset.column_names:
            near = did_you_mean(column, dataset.column_names)
            raise DataError(f"there is no column {column!r} for {role}{near}; the dataset has {_columns(dataset)}")


def _columns(dataset: Dataset) -> str:
    return listing(dataset.column_names)
