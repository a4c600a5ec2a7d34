"""The tasks by their Hub names. A new task is one file and one line here."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from llmkit.data.evidence import Evidence
from llmkit.errors import DataError, ModelError, OptionError, did_you_mean, listing
from llmkit.models.reference import Reference
from llmkit.options import DataOptions, TaskFlags
from llmkit.options.tasks import SHARED_FLAGS
from llmkit.tasks.base.candidates import Confidence
from llmkit.tasks.base.settings import TARGET_ROLES, TaskSettings, input_columns
from llmkit.tasks.base.task import Task, max_length_for, settings_for
from llmkit.tasks.causal_lm import CausalLM
from llmkit.tasks.conversational import Conversational
from llmkit.tasks.masked_lm import MaskedLM
from llmkit.tasks.matching.requirements import require_columns, require_roles, require_split_columns, require_valid_rows
from llmkit.tasks.matching.resolution import Resolution, resolve_task
from llmkit.tasks.multi_label_classification import MultiLabelClassification
from llmkit.tasks.multiple_choice import MultipleChoice
from llmkit.tasks.preference_optimization import PreferenceOptimization
from llmkit.tasks.question_answering import QuestionAnswering
from llmkit.tasks.sentence_similarity import SentenceSimilarity
from llmkit.tasks.seq2seq_lm import Seq2SeqLM
from llmkit.tasks.summarization import Summarization
from llmkit.tasks.text_classification import TextClassification
from llmkit.tasks.token_classification import TokenClassification
from llmkit.tasks.translation import Translation
from llmkit.tasks.zero_shot_classification import ZeroShotClassification

if TYPE_CHECKING:
    from transformers import PretrainedConfig

# in the order in which a dataset or a model is tried: what asks for more comes first
TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        PreferenceOptimization(),
        Conversational(),
        TokenClassification(),
        QuestionAnswering(),
        Translation(),
        Summarization(),
        MultipleChoice(),
        MultiLabelClassification(),
        TextClassification(),
        SentenceSimilarity(),
        CausalLM(),
        MaskedLM(),
        Seq2SeqLM(),
        ZeroShotClassification(),
    )
}

__all__ = [
    "TARGET_ROLES",
    "TASKS",
    "Evidence",
    "Reference",
    "Resolution",
    "Task",
    "TaskSettings",
    "for_inspection",
    "for_model",
    "for_training",
    "get_task",
    "input_columns",
    "max_length_for",
    "requested_tasks",
    "require_columns",
    "require_known",
    "require_roles",
    "require_split_columns",
    "require_valid_rows",
    "resolve_for_training",
    "resolve_task",
    "settings_for",
    "tasks_of_command",
]


def require_known(name: str | None) -> None:
    """Refuse the name of a task that there is not, before a model is opened for it.

    Raises:
        OptionError: as `get_task`.
    """
    if name is not None:
        get_task(name)


def get_task(name: str) -> Task:
    """Return the task of that name.

    Raises:
        OptionError: there is none; the nearest name is suggested.
    """
    if name not in TASKS:
        raise OptionError(f"--task: there is no task {name!r}{did_you_mean(name, TASKS)}; there are {', '.join(TASKS)}")
    return TASKS[name]


def tasks_of_command(command: str) -> list[Task]:
    """Return the tasks that work in a command."""
    return [task for task in TASKS.values() if command in task.commands]


def requested_tasks(command: str, name: str | None, flags: TaskFlags, inputs: Collection[str] = ()) -> list[Task]:
    """Return the tasks that can be meant: the one that is named, else those that read all flags and inputs given.

    Raises:
        OptionError: the task is unknown, does not work in the command, or has not the flag.
    """
    of_command = tasks_of_command(command)
    tasks = of_command if name is None else [get_task(name)]
    if name is not None and command not in tasks[0].commands:
        raise OptionError(
            f"--task {name} does not work in {command}, which takes {', '.join(task.name for task in of_command)}; "
            f"it works in {_commands_of(tasks[0])}"
        )
    readers = {field: [task for task in of_command if field in task.flags] for field in flags.given}
    readers |= {role: [task for task in of_command if role in task.columns.input_roles] for role in inputs}
    for field, of_field in readers.items():
        tasks = [task for task in tasks if task in of_field]
        if not tasks:
            flag, names = "--" + field.replace("_", "-"), _names(of_field) or "no task of this command"
            contrast = f"not for {name}" if name else "not beside the other flags"
            raise OptionError(f"{flag} is for {names}, {contrast}")
    return tasks


def for_model(
    config: PretrainedConfig,
    command: str,
    model: str,
    name: str | None = None,
    flags: TaskFlags | None = None,
    inputs: Collection[str] = (),
) -> list[Task]:
    """Return the tasks that a command can take the model for, the likeliest first; at least one.

    Without a name, a flag of a task or `inputs` (roles beside the first), those that the model is made for; one that
    could do a task, but was not made for it, wants to be named.

    Raises:
        OptionError: the named task or a flag does not fit the command.
        ModelError: the command does not work with the model; the sentence names the tasks and the commands that do.
    """
    flags = flags or TaskFlags()
    requested = requested_tasks(command, name, flags, inputs)
    explicit = name is not None or not SHARED_FLAGS.issuperset(flags.given) or bool(inputs)
    tasks = [
        task for task in requested if (task.supports(config) if explicit else task.is_default_for(config, command))
    ]
    if not tasks and flags.given and not explicit:
        named = listing("--" + name.replace("_", "-") for name in flags.given)
        raise OptionError(f"{named} is for {_names(requested)}, and {model!r} is a {_kind_of(config)}")
    if not tasks:
        raise _unusable(config, command, model, requested, explicit, () if name else (*flags.given, *inputs))
    return tasks


def _unusable(
    config: PretrainedConfig, command: str, model: str, requested: Sequence[Task], explicit: bool, given: Sequence[str]
) -> ModelError:
    """Return the error on a model that a command cannot take for any of the tasks, which flags `given` ask for."""
    kind, able = _kind_of(config), _names(task for task in requested if task.supports(config))
    default = next((task for task in TASKS.values() if task.is_default_for(config, "")), None)  # whatever the command
    if default is not None and given and explicit:
        flags = listing("--" + field.replace("_", "-") for field in given if field not in SHARED_FLAGS)
        return ModelError(f"{flags}: that is for {_names(requested)}, and {model!r} is a {default.name} model ({kind})")
    if default is not None and explicit:
        return ModelError(f"--task {_names(requested)}: {model!r} is a {default.name} model ({kind})")
    if default is None and able:
        return ModelError(f"{model!r} is a {kind}, which could be of several tasks: say --task, one of {able}")
    if default is None:
        return ModelError(f"{model!r} is a {kind}, with no head for {_names(requested)}; finetune it first")
    trainable = any("finetune" in task.commands and task.can_finetune(config) for task in requested)
    first = "; finetune it first" if trainable else ""
    hint = f"; --task {able} would use it for that" if able else ""
    return ModelError(
        f"{model!r} is a {default.name} model ({kind}), which {command} cannot use: it takes {_names(requested)} "
        f"models; this one works in {_commands_of(default)}{first}{hint}"
    )


def for_training(config: PretrainedConfig | None, name: str | None, flags: TaskFlags) -> list[Task]:
    """Return the tasks that a model (None: any) can be finetuned for; at least one.

    Raises:
        OptionError: the named task or a flag does not fit finetuning.
        ModelError: the model cannot be finetuned for any of them.
    """
    requested = requested_tasks("finetune", name, flags)
    tasks = [task for task in requested if config is None or task.can_finetune(config)]
    if not tasks and config is not None:
        raise ModelError(f"a {_kind_of(config)} cannot be used for {_names(requested)}")
    return tasks


def resolve_for_training(config: PretrainedConfig, evidence: Evidence, data: DataOptions) -> Resolution:
    """Return the surest reading of rows as a task that a model can be finetuned for.

    Raises:
        OptionError, DataError: as `for_training` and `resolve_task`.
        ModelError: the rows are read more surely as a task for which the model cannot be finetuned.
    """
    able, is_inferred = for_training(config, data.task, data), data.task is None and not data.columns
    try:
        resolution = resolve_task(able, evidence, data.columns, "finetune", data, config)
    except DataError:
        if is_inferred:
            _refuse_other_task(config, evidence, data, None)
        raise
    if is_inferred and resolution.found.confidence < Confidence.CERTAIN:
        _refuse_other_task(config, evidence, data, resolution)
    return resolution


def _refuse_other_task(
    config: PretrainedConfig, evidence: Evidence, flags: TaskFlags, resolution: Resolution | None
) -> None:
    try:
        other = resolve_task(for_training(None, None, flags), evidence, {}, "finetune", flags)
    except (DataError, OptionError):
        return
    surer = resolution is None or other.found.confidence > resolution.found.confidence
    if not surer or other.task.can_finetune(config):
        return
    columns = listing(f"{role}={name}" for role, name in other.given_columns.items())
    raise ModelError(
        f"the rows are read as {other.task.name} ({columns}), and a {_kind_of(config)} cannot be used for that: -m "
        "names another model, and --task another task"
    )


def for_inspection(config: PretrainedConfig | None, name: str | None, flags: TaskFlags) -> list[Task]:
    """Return the tasks that data can be looked at for: those of finetune, or any that is named.

    Raises:
        OptionError, ModelError: as `for_training`.
    """
    if name is None or "finetune" in get_task(name).commands:
        return for_training(config, name, flags)
    return requested_tasks("eval", name, flags)


def _names(tasks: Iterable[Task]) -> str:
    return listing(task.name for task in tasks)


def _commands_of(task: Task) -> str:
    return listing(f"`llmkit {command}`" for command in sorted(task.commands))


def _kind_of(config: PretrainedConfig) -> str:
    return str((config.architectures or [config.model_type])[0])
