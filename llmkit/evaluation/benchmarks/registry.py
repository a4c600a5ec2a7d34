"""The names of lm-eval's tasks, groups and tags, and the files that define them."""

from __future__ import annotations

import functools
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmkit.errors import OptionError, did_you_mean
from llmkit.errors.extras import require_extra
from llmkit.output.documents import JsonObject

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager

BENCHMARK_PREFIX = "lm-eval:"
TASK_LINE = re.compile(r"""^task:[ \t]*["']?([^\s"'#\[]+)""", re.MULTILINE)
GROUP_LINE = re.compile(r"^group:", re.MULTILINE)


@dataclass(frozen=True)
class TaskDefinition:
    """A name that lm-eval knows: what to load it with, and what its definition says of it."""

    name: str
    manager: TaskManager
    spec: str
    config: JsonObject  # empty for a tag, and for a file of the user's
    file: Path | None

    @property
    def dataset(self) -> str | None:
        """The dataset's path, where the definition says it."""
        return self.config.get("dataset_path")


def is_benchmark(reference: str) -> bool:
    """Tell whether a dataset's name asks for lm-eval's benchmarks."""
    return reference.startswith(BENCHMARK_PREFIX)


def task_names(reference: str) -> list[str]:
    """Return the names in `lm-eval:a,b`: tasks, groups or tags that lm-eval knows, or YAML files of tasks.

    Raises:
        OptionError: lm-eval is not installed, there is no name, or some are unknown.
    """
    check_installed()
    names = [name.strip() for name in reference.removeprefix(BENCHMARK_PREFIX).split(",") if name.strip()]
    if not names:
        raise OptionError("lm-eval: names no task; lm-eval:hellaswag,arc_easy names two")
    problems = [problem for name in names if (problem := _problem(name))]
    problems += [f"lm-eval: {name!r} is named twice" for name in dict.fromkeys(names) if names.count(name) > 1]
    if problems:
        raise OptionError(*problems)
    return names


def check_installed() -> None:
    """Refuse to go on without lm-eval.

    Raises:
        OptionError: it is not installed.
    """
    require_extra("lm-eval:", "lm-eval", "lm_eval", what="the extra")


def definition_of(name: str) -> TaskDefinition:
    """Return how to load a name that `task_names` let pass."""
    from lm_eval.tasks import TaskManager

    if _is_file(name):
        path = Path(name).expanduser()
        return TaskDefinition(name, TaskManager(include_defaults=False), str(path), {}, path)
    file = definitions().get(name)
    manager = every_task() if file is None else TaskManager(include_defaults=False, include_path=file.parent)
    entry = manager.task_index[name]
    return TaskDefinition(name, manager, name, entry.cfg or {}, entry.yaml_path)


@functools.cache
def every_task() -> TaskManager:
    """Return lm-eval's index of all its tasks, which takes it ten seconds to make."""
    from lm_eval.tasks import TaskManager

    return TaskManager()


def _problem(name: str) -> str | None:
    if _is_file(name):
        return None if Path(name).expanduser().is_file() else f"lm-eval: there is no task file {name!r}"
    if name in definitions() or name in every_task().task_index:
        return None
    return f"lm-eval: there is no task {name!r}{did_you_mean(name, every_task().all_tasks)}"


def _is_file(name: str) -> bool:
    return name.endswith((".yaml", ".yml"))


@functools.cache
def definitions() -> dict[str, Path]:
    """Return the files that define a task, by its name, as far as they say it themselves.

    Read as text in half a second; groups, tags and what else names tasks in other files need `every_task`.
    """
    spec = importlib.util.find_spec("lm_eval")
    assert spec is not None
    assert spec.origin is not None
    files_by_name: dict[str, list[Path]] = {}
    for file in sorted((Path(spec.origin).parent / "tasks").rglob("*.yaml")):
        text = file.read_text(encoding="utf-8")
        for name in () if GROUP_LINE.search(text) else TASK_LINE.findall(text):
            files_by_name.setdefault(name, []).append(file)
    return {name: files[0] for name, files in files_by_name.items() if len(files) == 1}
