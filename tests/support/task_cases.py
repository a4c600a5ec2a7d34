"""Of each task: rows that suit it, rows that do not, and a tiny model, for the contracts that every task keeps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import tiny
from datasets import Dataset

from llmkit.options import DataOptions
from llmkit.tasks import TASKS, TaskSettings


@dataclass(frozen=True)
class Case:
    """What the contract needs to know of a task: rows that suit it, rows that do not, a model, pretrain's arch.

    `flags` are of a task that neither the rows nor the model tell. `head` begins the names of weights without which a
    model is none of the task's.
    """

    rows: list[dict[str, Any]]
    unsuitable: list[dict[str, Any]]
    model: str
    columns: dict[str, str]
    arch: str | None = None
    flags: tuple[str, ...] = ()
    head: str | None = None  # default: what does not begin with "bert."


LINES = [{"id": number, "text": line} for number, line in enumerate(tiny.corpus(160).split("\n\n"))]
NUMBERS = [{"length": number, "width": number * 2} for number in range(4)]
CASES = {
    "conversational": Case(
        tiny.conversations(32),
        LINES,
        "assistant",
        {"messages": "messages"},
        flags=("--task", "conversational"),
        head="model.norm.",
    ),
    "preference-optimization": Case(
        tiny.preferences(32),
        LINES,
        "llama",
        {role: role for role in ("prompt", "chosen", "rejected")},
        flags=("--task", "preference-optimization"),
        head="model.norm.",
    ),
    "multiple-choice": Case(
        tiny.choices(32), LINES, "chooser", {"question": "question", "choices": "choices", "answer": "answer"}
    ),
    "zero-shot-classification": Case(
        tiny.reviews(24),
        LINES,
        "llama",
        {"text": "text", "label": "label"},
        flags=("--task", "zero-shot-classification"),
        head="model.norm.",
    ),
    "translation": Case(
        tiny.translations(32), NUMBERS, "translator", {"text": "en", "target": "de"}, head="decoder.final_layer_norm."
    ),
    "summarization": Case(
        tiny.summaries(32),
        LINES,
        "summarizer",
        {"text": "document", "target": "summary"},
        head="decoder.final_layer_norm.",
    ),
    "question-answering": Case(
        tiny.questions(48), LINES, "reader", {role: role for role in ("question", "context", "answers")}
    ),
    "token-classification": Case(tiny.entities(48), LINES, "tagger", {"tokens": "tokens", "tags": "ner_tags"}),
    "multi-label-classification": Case(tiny.topics(48), LINES, "sorter", {"text": "text", "labels": "labels"}),
    "text-classification": Case(tiny.reviews(48), LINES, "classifier", {"text": "text", "label": "label"}),
    "causal-lm": Case(LINES, NUMBERS, "llama", {"text": "text"}, arch="llama", head="model.norm."),
    "sentence-similarity": Case(
        tiny.likenesses(32),
        LINES,
        "encoder",
        {"text": "sentence1", "pair": "sentence2", "label": "score"},
        flags=("--task", "sentence-similarity"),
        head="encoder.",
    ),
    "masked-lm": Case(LINES, NUMBERS, "masked", {"text": "text"}, arch="bert"),
    "seq2seq-lm": Case(LINES, NUMBERS, "t5", {"text": "text"}, arch="t5", head="decoder.final_layer_norm."),
}


def settings_of(name: str, dataset: Dataset, config: Any, tokenizer: Any, **more: Any) -> TaskSettings:
    """Return what finetune, or eval where the task is not finetuned, would settle for the task's case."""
    task, case = TASKS[name], CASES[name]
    settings = TaskSettings(columns=case.columns, max_length=32, **more)
    if "finetune" in task.commands:
        settings = replace(settings, labels=task.columns.labels(dataset, None, case.columns))
    else:
        matching = task.columns.match_labels(dataset, case.columns, config, {})
        settings = replace(settings, labels=matching.labels if matching else None)
    return task.resolve_settings(settings, DataOptions(**flags_of(case)), config, tokenizer)


def flags_of(case: Case) -> dict[str, str]:
    """Return the flags of a case as fields of the options."""
    pairs = [pair for pair in zip(case.flags[::2], case.flags[1::2], strict=True) if pair[0] != "--task"]
    return {flag.removeprefix("--").replace("-", "_"): value for flag, value in pairs}
