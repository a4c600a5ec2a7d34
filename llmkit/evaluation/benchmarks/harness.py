"""Run lm-eval's tasks on a model of ours: its prompts, its numbers."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from llmkit import models
from llmkit.errors import Interrupted, LlmkitError, ModelError, Stopped
from llmkit.evaluation.answer_session import AnswerSession
from llmkit.evaluation.benchmarks.harness_errors import explained, quiet
from llmkit.evaluation.benchmarks.registry import check_installed, definition_of
from llmkit.evaluation.benchmarks.results import BenchmarkResult, FailedBenchmark, dataset_of, read_result
from llmkit.evaluation.benchmarks.task_loading import load_tasks
from llmkit.models import ResolvedModel
from llmkit.models.text.prompts import PROBE, require_system
from llmkit.options import ModelOptions
from llmkit.output.documents import JsonObject
from llmkit.output.report import Report

if TYPE_CHECKING:
    from lm_eval.api.task import ConfigurableTask

    from llmkit.evaluation.benchmarks.language_model import PrefixSharingLM
    from llmkit.evaluation.benchmarks.served import EndpointLM

FEWSHOT_SEED = 1234  # lm-eval's own: the same examples as everyone's
DEFAULT_SEEDS = (0, 1234, 1234)  # lm-eval's own of Python, NumPy and torch
BOOTSTRAP_ITERATIONS = 1000  # for the standard errors of what is no mean; lm-eval's own 100,000 take minutes


@dataclass(frozen=True)
class BenchmarkOptions:
    """How lm-eval's tasks are put to a model; the names are lm-eval's."""

    num_fewshot: int | None = None  # examples in the prompt; None: as the task says
    limit: int | None = None  # use at most so many documents of each task
    batch_size: int | None = None  # rows that go through the model together; None: chosen. It changes no score
    seed: int | None = None  # for tasks that draw at random or sample their answers; None: lm-eval's own seeds
    apply_chat_template: bool = False  # put the prompts as a chat, in the tokenizer's own template, examples as turns
    system_instruction: str | None = None  # what stands before the prompt: in a chat, the system message


def run(
    names: Sequence[str],
    resolved: ResolvedModel,
    model_options: ModelOptions,
    report: Report,
    options: BenchmarkOptions | None = None,
    session: AnswerSession | None = None,
) -> list[BenchmarkResult | FailedBenchmark]:
    """Return the figures of each task, or why it has none; groups and tags give those of their tasks.

    Args:
        names: what `task_names` returned.
        resolved: the model, found.
        model_options: how to load it.
        report: shows progress.
        options: how the tasks are put to it.
        session: what this model answered before; new answers are added. The weights are read only where some are
            missing.

    Raises:
        OptionError: lm-eval is not installed.
        ModelError: the model cannot be loaded; a chat is asked of one without a template, or whose template drops the
            system message.
        Stopped: a signal asked for it, and `session` keeps what was done.
    """
    check_installed()
    from llmkit.evaluation.benchmarks.language_model import PrefixSharingLM, UnloadedModel

    options = options or BenchmarkOptions()
    tokenizer = models.load_tokenizer(resolved, model_options)
    if options.apply_chat_template:
        require_chat(resolved, tokenizer, options.system_instruction)
    unloaded = UnloadedModel(resolved, model_options, tokenizer)
    with quiet(report):
        lm = PrefixSharingLM(unloaded, tokenizer, options.batch_size, session=session, report=report)
    drops_system = options.apply_chat_template and not _takes_system(tokenizer)
    return [result for name in names for result in _run_name(lm, name, options, report, drops_system)]


def run_on(
    lm: EndpointLM, names: Sequence[str], options: BenchmarkOptions, report: Report
) -> list[BenchmarkResult | FailedBenchmark]:
    """Return the figures of each task, or why it has none, of a model that is at hand."""
    return [result for name in names for result in _run_name(lm, name, options, report)]


def require_chat(
    resolved: ResolvedModel, tokenizer: PreTrainedTokenizerBase, system_instruction: str | None = None
) -> None:
    """Refuse a model whose tokenizer has no chat template, or one that does not write the system message.

    Raises:
        ModelError: naming the flag.
    """
    if tokenizer.chat_template is None:
        raise ModelError(f"{resolved.name!r} has no chat template; leave --apply-chat-template out")
    if system_instruction is not None:  # lm-eval would go on without it, and say so in its log at most
        require_system(tokenizer, system_instruction, resolved.name, "; leave --system-instruction (--system) out")


def _takes_system(tokenizer: PreTrainedTokenizerBase) -> bool:
    try:
        require_system(tokenizer, PROBE, "")
    except ModelError:
        return False
    return True


def _run_name(
    lm: PrefixSharingLM | EndpointLM, name: str, options: BenchmarkOptions, report: Report, drops_system: bool = False
) -> Iterator[BenchmarkResult | FailedBenchmark]:
    """Yield the figures of each task that a name stands for, or why it has none."""
    report.debug(f"lm-eval: {name}")
    try:
        _set_seeds(options.seed)
        tasks = load_tasks(definition_of(name), options.num_fewshot, report)
    except LlmkitError as error:
        yield _failure(name, error)
        return
    for task_name, task in tasks.items():
        if drops_system and task.get_config("description"):
            report.warn(
                f"{task_name}: its description is the system message of a chat, and the chat template writes none: the "
                "prompts are without it, as lm-eval has them"
            )
        try:
            with quiet(report), explained(task_name, dataset_of(task)):
                _set_fewshot(task, options.num_fewshot)
                computed = lm.computed
                results = _evaluate(lm, task, options)
                template = lm.chat_template(True) if options.apply_chat_template else None
                result = read_result(task, results, lm.computed == computed, template)
        except LlmkitError as error:
            yield _failure(task_name, error)
        else:
            yield result


def _failure(name: str, error: LlmkitError) -> FailedBenchmark:
    if isinstance(error, Stopped | Interrupted | ModelError):  # the others would meet it too
        raise error
    return FailedBenchmark(name, error)


def _set_seeds(seed: int | None) -> None:
    """Seed what a task may draw from, when it is built and when it is run."""
    of_python, of_numpy, of_torch = DEFAULT_SEEDS if seed is None else (seed, seed, seed)
    random.seed(of_python)
    np.random.seed(of_numpy)
    torch.manual_seed(of_torch)


def _set_fewshot(task: ConfigurableTask, num_fewshot: int | None) -> None:
    """Set the number of examples as lm-eval's `simple_evaluate` does: a task that says 0 itself stays at 0."""
    default = task.get_config("num_fewshot")
    if default is None or (num_fewshot is not None and default != 0):
        task.set_config(key="num_fewshot", value=num_fewshot or 0)
    task.set_fewshot_seed(seed=FEWSHOT_SEED)


def _evaluate(lm: PrefixSharingLM | EndpointLM, task: ConfigurableTask, options: BenchmarkOptions) -> JsonObject:
    # not simple_evaluate: it asks the machine about itself for a second or two, at each call
    from lm_eval import evaluate

    results = evaluate(
        lm=lm,
        task_dict={"tasks": {task.task_name: task}},
        limit=options.limit,
        bootstrap_iters=BOOTSTRAP_ITERATIONS,
        log_samples=True,
        system_instruction=options.system_instruction,
        apply_chat_template=options.apply_chat_template,
        fewshot_as_multiturn=True,
    )
    return dict(results)
