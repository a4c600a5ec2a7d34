"""What lm-eval found of one task, in llmkit's terms."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llmkit.errors import LlmkitError
from llmkit.metrics.observations import Floats, Samples
from llmkit.output.documents import JsonObject

if TYPE_CHECKING:
    from lm_eval.api.task import ConfigurableTask

NO_FILTER = "none"  # lm-eval's name for the filter that changes nothing


@dataclass(frozen=True)
class FailedBenchmark:
    """A benchmark that could not be run, and why."""

    name: str
    error: LlmkitError


@dataclass(frozen=True, eq=False)
class BenchmarkResult:
    """One task's figures as lm-eval computed them, and what they were computed from; rows in document order."""

    name: str
    metrics: dict[str, float]  # "acc"; "exact_match/strict-match" for answers that a filter read
    stderrs: dict[str, float]
    higher_is_better: dict[str, bool]
    observations: Samples  # of the metrics that are means of a number for each row
    ids: list[str]  # the first 16 hex digits of the SHA-256 of each document's content; the same twice for a copy
    targets: list[str]
    answers: list[str | None]  # the likeliest choice or the generated text; None where lm-eval does not tell it
    version: str
    num_fewshot: int
    n: int
    dataset: str
    split: str | None
    prompt_sha: str  # SHA-256 of all prompts as they were put to the model
    chat_template_sha: str | None  # SHA-256 of the chat template that they were put in; None where they were in none
    cached: bool  # every answer was known before


def read_result(
    task: ConfigurableTask, results: JsonObject, cached: bool, chat_template: str | None = None
) -> BenchmarkResult:
    """Return a task's part of what `lm_eval.evaluate` returned; `task` is lm-eval's object."""
    name = task.task_name
    figures = {key: value for key, value in results["results"][name].items() if "," in key}
    stderrs = {_metric(key): value for key, value in figures.items() if key.partition(",")[0].endswith("_stderr")}
    metrics = {_metric(key): float(value) for key, value in figures.items() if _is_metric(key, figures)}
    better = results["higher_is_better"].get(name) or {}
    by_filter: dict[str, list[JsonObject]] = {}
    for sample in results["samples"][name]:
        by_filter.setdefault(sample["filter"], []).append(sample)
    samples = next(iter(by_filter.values()))
    return BenchmarkResult(
        name=name,
        metrics=metrics,
        stderrs={key: float(value) for key, value in stderrs.items() if isinstance(value, int | float)},
        higher_is_better={key: better[base] for key in metrics if better.get(base := key.split("/")[0]) is not None},
        observations=Samples(_values(by_filter, metrics)),
        ids=[sample["doc_hash"][:16] for sample in samples],
        targets=[_target(task, sample) for sample in samples],
        answers=[_answer(task, sample) for sample in samples],
        version=str(results["versions"].get(name)),
        num_fewshot=int(results["n-shot"].get(name) or 0),
        n=len(samples),
        dataset=dataset_of(task),
        split=task.config.test_split or task.config.validation_split,
        prompt_sha=prompt_sha(samples),
        chat_template_sha=None if chat_template is None else hashlib.sha256(chat_template.encode()).hexdigest(),
        cached=cached,
    )


def dataset_of(task: ConfigurableTask) -> str:
    """Return the name of a task's dataset: its path and configuration, or its data files."""
    files = (task.config.dataset_kwargs or {}).get("data_files")
    parts = [str(files)] if files else [task.DATASET_PATH, task.DATASET_NAME]
    return "/".join(part for part in parts if part)


def _metric(key: str) -> str:
    """Turn `acc_stderr,none` into `acc`, and `exact_match,strict-match` into `exact_match/strict-match`."""
    metric, _, kind = key.partition(",")
    metric = metric.removesuffix("_stderr")
    return metric if kind == NO_FILTER else f"{metric}/{kind}"


def _is_metric(key: str, figures: JsonObject) -> bool:
    metric, _, kind = key.partition(",")
    is_stderr = metric.endswith("_stderr") and f"{metric.removesuffix('_stderr')},{kind}" in figures
    return not is_stderr and _is_number(figures[key])


def _values(by_filter: Mapping[str, Sequence[JsonObject]], metrics: Mapping[str, float]) -> dict[str, Floats]:
    """Return the metrics that are the mean of one number for each row, as arrays."""
    means = {}
    for kind, samples in by_filter.items():
        for metric in samples[0]["metrics"]:
            name = _metric(f"{metric},{kind}")
            values = [sample.get(metric) for sample in samples]
            if name in metrics and all(_is_number(value) for value in values):
                array = np.asarray(values, dtype=np.float64)
                if math.isclose(array.mean(), metrics[name], rel_tol=1e-9, abs_tol=1e-12):
                    means[name] = array
    return means


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.integer | np.floating)  # a bool is an int


def _target(task: ConfigurableTask, sample: JsonObject) -> str:
    target = sample["target"]
    choices = _choices(task, sample)
    if choices and task.multiple_input:  # the contexts are the choices, and the text says which is right
        target = task.doc_to_text(sample["doc"])
    targets = target if isinstance(target, list) else [target]
    named = [choices[t] if choices and isinstance(t, int) and 0 <= t < len(choices) else str(t) for t in targets]
    return " | ".join(text.strip() for text in named)


def _answer(task: ConfigurableTask, sample: JsonObject) -> str | None:
    """Return what the model answers: the choice of the greatest log-likelihood, or the text that it wrote."""
    responses = sample["filtered_resps"]
    if task.OUTPUT_TYPE == "multiple_choice":
        choices = _choices(task, sample) or [arguments[1] for arguments in sample["arguments"]]
        likelihoods = [float(pair[0]) for pair in responses[: len(choices)]]  # others are unconditional ones
        return str(choices[int(np.argmax(likelihoods))]).strip()
    if task.OUTPUT_TYPE == "loglikelihood":
        return _target(task, sample) if responses[0][1] else None
    return responses[0] if task.OUTPUT_TYPE == "generate_until" and isinstance(responses[0], str) else None


def _choices(task: ConfigurableTask, sample: JsonObject) -> list[str]:
    if task.OUTPUT_TYPE != "multiple_choice" or getattr(task.config, "doc_to_choice", None) is None:
        return []
    return [str(choice) for choice in task.doc_to_choice(sample["doc"])]


def prompt_sha(samples: Sequence[JsonObject]) -> str:
    """Return the SHA-256 of what was put to the model for each sample, in their order."""
    digest = hashlib.sha256()
    for sample in samples:
        for arguments in sample["arguments"]:
            digest.update(repr(arguments).encode())
    return digest.hexdigest()
