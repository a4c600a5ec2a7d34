"""Run lm-eval's tasks on a model of ours: its prompts, its numbers."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from llmkit import models
from llmkit.errors import Interrupted, LlmkitError, ModelError, Stopped
from llmkit.evaluation.benchmarks.harness_errors import explained, quiet
from llmkit.evaluation.benchmarks.registry import check_installed, find
from llmkit.evaluation.benchmarks.results import Benchmark, Failed, dataset_of, read
from llmkit.evaluation.benchmarks.task_loading import load
from llmkit.inference.answer_cache import AnswerCache
from llmkit.models import ResolvedModel
from llmkit.options import ModelOptions
from llmkit.output.report import Report

if TYPE_CHECKING:
    from llmkit.evaluation.benchmarks.language_model import FrugalLM

FEWSHOT_SEED = 1234  # lm-eval's own: the same examples as everyone's
SEEDS = (0, 1234, 1234)  # lm-eval's own of Python, NumPy and torch
BOOTSTRAPS = 1000  # for the standard errors of what is no mean; lm-eval's own 100,000 take minutes


def run(
    names: Sequence[str], resolved: ResolvedModel, options: ModelOptions, report: Report, **settings: Any
) -> list[Benchmark | Failed]:
    """Return the figures of each task, or why it has none; the others are run all the same. See `each`."""
    return list(each(names, resolved, options, report, **settings))


def each(
    names: Sequence[str],
    resolved: ResolvedModel,
    options: ModelOptions,
    report: Report,
    *,
    num_fewshot: int | None = None,
    limit: int | None = None,
    batch_size: int | None = None,
    seed: int | None = None,
    apply_chat_template: bool = False,
    answers: AnswerCache | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> Iterator[Benchmark | Failed]:
    """Yield the figures of each task as it is done, or why it has none; groups and tags give those of their tasks.

    Args:
        names: what `task_names` returned.
        resolved: the model, found.
        options: how to load it.
        report: shows progress.
        num_fewshot: examples in the prompt; None: as the task says.
        limit: use at most so many documents of each task.
        batch_size: rows that go through the model together; None: chosen. It changes no score.
        seed: for tasks that draw at random or sample their answers; None: lm-eval's own seeds.
        apply_chat_template: put the prompts as a chat, in the model's own form.
        answers: what this model answered before, by request; new answers are added. The weights are read only where
            some are missing.
        stopping: asked after each batch.

    Raises:
        OptionError: lm-eval is not installed.
        ModelError: the model cannot be loaded, or has no chat template and one is wanted.
        Stopped: `stopping` asked for it, and `answers` keeps what was done.
    """
    check_installed()
    tokenizer = models.load_tokenizer(resolved, options)
    if apply_chat_template and tokenizer.chat_template is None:
        raise ModelError(f"{resolved.name!r} has no chat template; leave --apply-chat-template out")
    language_model = _language_model(
        resolved, options, tokenizer, report, batch_size=batch_size, answers=answers, stopping=stopping
    )
    for name in names:
        report.debug(f"lm-eval: {name}")
        try:
            _set_seeds(seed)
            tasks = load(find(name), num_fewshot, report)
        except LlmkitError as error:
            yield _failure(name, error)
            continue
        for task_name, task in tasks.items():
            try:
                with quiet(report), explained(task_name, dataset_of(task)):
                    _set_fewshot(task, num_fewshot)
                    computed = language_model.computed
                    results = _evaluate(language_model, task, limit, apply_chat_template)
                    benchmark = read(task, results, cached=language_model.computed == computed)
            except LlmkitError as error:
                yield _failure(task_name, error)
            else:
                yield benchmark


def _failure(name: str, error: LlmkitError) -> Failed:
    if isinstance(error, Stopped | Interrupted | ModelError):  # the others would meet it too
        raise error
    return Failed(name, error)


def _language_model(
    resolved: ResolvedModel, options: ModelOptions, tokenizer: PreTrainedTokenizerBase, report: Report, **settings: Any
) -> FrugalLM:
    from llmkit.evaluation.benchmarks.language_model import FrugalLM, Unloaded

    kind = "AutoModelForSeq2SeqLM" if resolved.config.is_encoder_decoder else "AutoModelForCausalLM"
    unloaded = Unloaded(
        resolved.config,
        models.pick_device(options.device),
        lambda: models.load_model(resolved, kind, tokenizer, options),
    )
    with quiet(report):
        return FrugalLM(unloaded, tokenizer, progress=report.progress, **settings)


def _set_seeds(seed: int | None) -> None:
    """Seed what a task may draw from, when it is built and when it is run."""
    of_python, of_numpy, of_torch = SEEDS if seed is None else (seed, seed, seed)
    random.seed(of_python)
    np.random.seed(of_numpy)
    torch.manual_seed(of_torch)


def _set_fewshot(task: Any, num_fewshot: int | None) -> None:
    """Set the number of examples as lm-eval's `simple_evaluate` does: a task that says 0 itself stays at 0."""
    own = task.get_config("num_fewshot")
    if own is None or (num_fewshot is not None and own != 0):
        task.set_config(key="num_fewshot", value=num_fewshot or 0)
    task.set_fewshot_seed(seed=FEWSHOT_SEED)


def _evaluate(lm: FrugalLM, task: Any, limit: int | None, chat: bool) -> dict[str, Any]:
    # not simple_evaluate: it asks the machine about itself for a second or two, at each call
    from lm_eval import evaluate

    results = evaluate(
        lm=lm,
        task_dict={"tasks": {task.task_name: task}},
        limit=limit,
        bootstrap_iters=BOOTSTRAPS,
        log_samples=True,
        apply_chat_template=chat,
        fewshot_as_multiturn=True,
    )
    return dict(results)
