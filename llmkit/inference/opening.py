"""Which way a model is asked: by its task, and by what is wanted of it."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from llmkit.errors import OptionError, listing
from llmkit.inference.answering import Answerer
from llmkit.inference.generation import Generator
from llmkit.inference.grounded_generation import GroundedGenerator
from llmkit.inference.prediction import Predictor, TargetScorer
from llmkit.models import ResolvedModel
from llmkit.options import GenerateRequest
from llmkit.output.report import Report
from llmkit.tasks import Task


def require_readable(task: Task, request: GenerateRequest) -> None:
    """Refuse passages and decoding flags that the task has no use for.

    Raises:
        OptionError: naming the flags.
    """
    if request.retrieval.retrieve is not None and (task.columns.input_roles or not task.answers.continues_prompt):
        raise OptionError(f"--retrieve puts passages in a prompt, and {task.name} takes none")
    given = [field.name for field in fields(request.decoding) if getattr(request.decoding, field.name) != field.default]
    if given and not task.answers.continues_prompt:
        flags = listing("--" + name.replace("_", "-") for name in given)
        raise OptionError(f"{flags}: {task.name} generates no text step by step, so there is nothing to decode")


def open_answerer(task: Task, resolved: ResolvedModel, request: GenerateRequest, report: Report) -> Answerer[Any]:
    """Return what answers rows with a model: by continuing prompts, by predictions, or else by numbers.

    Raises:
        OptionError, ModelError: the model cannot do what is asked for.
        DataError, EmptyError: there is nothing to retrieve from.
    """
    if not task.answers.continues_prompt:
        predictor = Predictor if task.columns.input_roles else TargetScorer
        return predictor(task, resolved, request.model, request.asked)
    generator = Generator if request.retrieval.retrieve is None else GroundedGenerator
    return generator(task, resolved, request, report)
