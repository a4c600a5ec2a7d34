"""The code in CONTRIBUTING.md is that of the package."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from llmkit import tasks
from llmkit.tasks import TASKS, summarization
from llmkit.tasks.base import alternatives, language_modeling, sequence_classification, text_to_text
from llmkit.tasks.base.answers import Answers
from llmkit.tasks.base.columns import Columns
from llmkit.tasks.base.encoding import Encoding
from llmkit.tasks.base.task import Task

ROOT = Path(__file__).parents[2]
RECIPE = re.search(
    r"^\*\*A task\.\*\*.*?(?=^\*\*A command\.)", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.M | re.S
)


def block(kind: str) -> list[str]:
    assert RECIPE is not None
    found = re.search(rf"^```{kind}\n(.*?)^```", RECIPE[0], re.M | re.S)
    assert found is not None
    return found[1].splitlines()


def test_the_task_that_is_shown_is_written_so_and_is_the_smallest():
    source = inspect.getsource(summarization).splitlines()
    shown = [line.partition("  #")[0].rstrip() for line in block("python")]
    assert [line for line in shown if line.strip() != "..." and line not in source] == []
    sizes = {name: len(inspect.getsource(inspect.getmodule(type(task))).splitlines()) for name, task in TASKS.items()}
    assert min(sizes, key=sizes.__getitem__) == "summarization"


def test_what_adding_it_took_is_in_the_list_of_tasks():
    source = inspect.getsource(tasks).splitlines()
    lines = [line[1:] for line in block("diff")]
    assert [line for line in lines if line not in source] == []
    assert sum("ummarization" in line for line in source) == sum("ummarization" in line for line in lines)


def test_every_method_and_class_that_the_recipe_names_is_there():
    assert RECIPE is not None
    prose = re.sub(r"^```.*?^```", "", RECIPE[0], flags=re.M | re.S)
    named = {name for name in re.findall(r"`(\w+)`", prose) if name[0].islower()} - {"columns", "encoding", "answers"}
    assert len(named) > 20
    parts = (Task, Columns, Encoding, Answers)
    there = {name for part in parts for name in (*dir(part), *part.__annotations__)}
    assert sorted(named - there) == []
    classes = set(re.findall(r"`(\w+Task|TextToText)` \(", RECIPE[0]))
    homes = (alternatives, sequence_classification, text_to_text, language_modeling)
    assert classes == {"SequenceTask", "AlternativesTask", "TextToText", "LanguageModelingTask"}
    assert all(any(hasattr(home, name) for home in homes) for name in classes)
