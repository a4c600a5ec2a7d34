"""Fold an adapter into its base, and compare what the two answer: the merged model must be the adapted one."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from transformers import PretrainedConfig, PreTrainedTokenizerBase

from llmkit import models, runs
from llmkit.data import files
from llmkit.data.columns import Row, column_for
from llmkit.errors import GateMissed, ModelError, OptionError
from llmkit.evaluation.answer_session import dtype_name
from llmkit.inference.opening import open_answerer
from llmkit.inference.row_files import inputs_of
from llmkit.models import ResolvedModel, adapters
from llmkit.options import GenerateRequest, GenerationOptions, MergeOptions, ModelOptions, RunOptions, TalkOptions
from llmkit.output.report import Report
from llmkit.runs.card import write_card
from llmkit.runs.record import DifferingAnswer, MergedRecord, RunRecord
from llmkit.tasks import TASKS, Task, get_task, require_roles

SENTENCES = (
    "The king gave his daughter a golden ring.",
    "It rained all day and the river rose.",
    "She sold the house after the winter.",
    "Nobody knew why the train was late.",
    "The company reported higher profits on Monday.",
    "A good book is better than a bad film.",
    "He forgot the name of the town.",
    "Our room was small but very clean.",
    "The old garden was full of red flowers.",
    "Two men were arrested in London last week.",
    "The soup was cold and the bread was hard.",
    "They laughed until the music stopped.",
    "Water boils at a lower temperature in the mountains.",
    "The teacher read the letter aloud.",
    "I would never buy this phone again.",
    "The fox waited behind the stones.",
)
NEW_TOKENS = 32  # of the greedy continuations that are compared
TOLERANCE = {"float32": 1e-3, "float64": 1e-3}  # numbers of answers that differ by less are equal
TOLERANCE_OF_HALVES = 5e-2  # which round more
MAX_DIFFERING_SHOWN = 5
FIELDS_OF_ADAPTER = ("options", "data", "max_length", "recipe", "reference")  # that its run.json hands on
BARE_ANSWERS = ("completion", "prediction")  # fields of answers that are compared without their names


@dataclass(frozen=True)
class Merged:
    """A merged model, and how far it answers as the adapter on its base did."""

    folder: Path
    adapter: str
    base: str
    compared: int
    differing: list[DifferingAnswer]
    largest_difference: float | None  # between two numbers of the answers; None where there are none in both

    @property
    def equal(self) -> int:
        """How many prompts got equal answers."""
        return self.compared - len(self.differing)

    @property
    def agreement(self) -> float:
        """The share of prompts with equal answers."""
        return self.equal / self.compared

    def as_dict(self) -> MergedRecord:
        """Return the result that --json prints."""
        return {
            "schema": runs.SCHEMA,
            "model": str(self.folder),
            "adapter": self.adapter,
            "base": self.base,
            "prompts": self.compared,
            "equal": self.equal,
            "agreement": self.agreement,
            "largest_difference": self.largest_difference,
            "differing": self.differing[:MAX_DIFFERING_SHOWN],
        }

    def require(self, agreement: float) -> None:
        """Raise when the models agree on less than that share of the prompts.

        Raises:
            GateMissed: the merged model is kept all the same.
        """
        if self.agreement < agreement:
            raise GateMissed(
                f"the merged model gives {self.equal} of {self.compared} answers as before, and --min-agreement is "
                f"{agreement:g}; it is kept in {self.folder}"
            )


def merge(
    adapter: str,
    options: MergeOptions | None = None,
    model: ModelOptions | None = None,
    report: Report | None = None,
    dry_run: bool = False,
) -> Merged | None:
    """Save the model that an adapter makes of its base, and compare the two on prompts; None after a dry run.

    `model.model` names the base where it is not where the adapter says.

    Raises:
        OptionError, ModelError, DataError: something asked for is wrong; nothing was written.
    """
    options, model, report = options or MergeOptions(), model or ModelOptions(), report or Report()
    model.require_whole_weights("merge writes whole weights; the command that asks the merged model takes it")
    opening = replace(model, model=adapter)
    resolved = models.resolve_model(opening, report, base=model.model)
    if resolved.base is None:
        raise ModelError(f"{adapter!r} is a plain model: merge takes an adapter, a folder with {adapters.CONFIG}")
    adapters.require_mergeable(resolved.path, adapter)
    _require_full_base(resolved.base.config, resolved.base.name, adapter)
    folder = _open_folder(options, resolved)
    task = _task_of(resolved)
    tokenizer = models.load_tokenizer(resolved, opening)
    inputs = _read_prompts(task, options) if options.prompts else task.columns.sample_inputs(SENTENCES, tokenizer)
    report.say(f"adapter: {adapter}, of {task.name}, made on {resolved.base.name}; {len(inputs)} prompts to compare on")
    if dry_run:
        return None
    before = _answers(task, resolved, opening, inputs, options.batch_size, report)
    if options.overwrite:
        folder.clear()
    _save_folded(task, resolved, tokenizer, opening, folder.path)
    if resolved.config.tie_word_embeddings and not _is_tied(folder.path):
        report.say("embeddings: the head has weights of its own in the merged model, which it shared in the base")
    saved = replace(model, model=str(folder.path), revision=None)
    quiet = Report(TalkOptions(quiet=True))  # what is said of the adapter's answers goes for these too
    after = _answers(task, models.resolve_model(saved, quiet), saved, inputs, options.batch_size, quiet)
    tolerance = _tolerance(resolved, opening, report)
    prompts = inputs if len(before) == len(inputs) else [{"window": number} for number in range(1, len(before) + 1)]
    comparison = _compare(prompts, before, after, tolerance)
    merged = Merged(folder.path, adapter, resolved.base.name, len(prompts), *comparison)
    _write_down(folder, resolved, task, merged)
    return merged


def _save_folded(
    task: Task, resolved: ResolvedModel, tokenizer: PreTrainedTokenizerBase, options: ModelOptions, path: Path
) -> None:
    """Write the model that the adapter makes; it is not kept in memory, as the saved one is asked."""
    merged = models.load_model(resolved, task.auto_class_for(resolved.config), tokenizer, options, merged=True)
    vars(merged.config).pop(adapters.BASE_KEY, None)
    models.save(merged, tokenizer, path)


def _require_full_base(config: PretrainedConfig, name: str, adapter: str) -> None:
    quantized = getattr(config, "quantization_config", None)
    if quantized is not None:
        kind = quantized.get("quant_method") if isinstance(quantized, dict) else type(quantized).__name__
        raise ModelError(
            f"{name!r}, the base of the adapter {adapter!r}, is quantized ({kind}), and an adapter is merged into full "
            "weights: -m names the model that it was made of"
        )


def _is_tied(folder: Path) -> bool:
    return bool(json.loads((folder / "config.json").read_text(encoding="utf-8")).get("tie_word_embeddings"))


def _open_folder(options: MergeOptions, resolved: ResolvedModel) -> runs.RunFolder:
    path = options.output or Path("runs") / f"{resolved.slug}-merged"
    if not options.overwrite and path.is_dir() and any(path.iterdir()):
        raise OptionError(f"--output {str(path)!r} is not empty: --overwrite replaces it, -o names another")
    if resolved.base is not None and resolved.base.path.resolve() == path.resolve():
        raise OptionError(f"--output {str(path)!r} holds the adapter's base; name another folder")
    return runs.open_run(path, RunOptions(output=path, overwrite=options.overwrite), {}, resolved.path)


def _task_of(resolved: ResolvedModel) -> Task:
    """Return the task that the adapter was trained for, or else the first that its model is made for."""
    recorded = (runs.read_run(resolved.path) or {}).get("task")
    if recorded is not None and recorded in TASKS:
        return get_task(recorded)
    able = [task for task in TASKS.values() if task.is_default_for(resolved.config, "")]
    if not able:
        kind = (resolved.config.architectures or [resolved.config.model_type])[0]
        raise ModelError(f"{resolved.name!r} makes a {kind}, which is of no task that could be compared")
    return able[0]


def _read_prompts(task: Task, options: MergeOptions) -> list[Row]:
    """Return the inputs by role of the rows of --prompts."""
    assert options.prompts is not None
    rows = files.read_rows(options.prompts, options)[: options.limit]
    roles = task.columns.input_roles or ("prompt",)
    require_roles(options.columns, roles)
    if task.columns.input_roles:
        columns = task.columns.match_file(rows, options.columns)
    else:
        columns = {"prompt": column_for(rows, "prompt", options.columns, ("prompt", "text"))}
    return inputs_of(rows, columns, task.columns.list_roles)


def _answers(
    task: Task, resolved: ResolvedModel, options: ModelOptions, inputs: Sequence[Row], batch_size: int, report: Report
) -> Sequence[object]:
    """Return what the model answers to each of the inputs: a greedy continuation, a prediction, or else numbers."""
    request = GenerateRequest(model=options, decoding=GenerationOptions(max_new_tokens=NEW_TOKENS))
    answerer = open_answerer(task, resolved, request, report)
    names = [f"prompt {number}" for number in range(1, len(inputs) + 1)]
    answers = answerer.answer(answerer.prepare(inputs, names), batch_size)
    return [next((answer[name] for name in BARE_ANSWERS if name in answer), answer) for answer in answers]


def _tolerance(resolved: ResolvedModel, options: ModelOptions, report: Report) -> float:
    """Return by how much numbers of equal answers can differ; halves round more, and four bits are another model."""
    if adapters.unquantized_base_modules(resolved.config, models.pick_device(options.device)) is not None:
        report.warn(
            "the adapter lies on a base of 4 bits, and is merged into its full weights: only words are compared"
        )
        return math.inf
    return TOLERANCE.get(dtype_name(options, resolved.config), TOLERANCE_OF_HALVES)


def _compare(
    inputs: Sequence[Row], before: Sequence[object], after: Sequence[object], tolerance: float
) -> tuple[list[DifferingAnswer], float | None]:
    """Return the prompts with answers of other words, or of numbers too far apart; and the largest difference."""
    differing, numbers = list[DifferingAnswer](), list[float]()
    for row, first, second in zip(inputs, before, after, strict=True):
        differences = list(_differences(first, second))
        numbers += [number for number in differences if math.isfinite(number)]
        if any(number > tolerance or number == math.inf for number in differences):
            differing.append({"prompt": dict(row), "before": first, "after": second})
    return differing, max(numbers, default=None)


def _differences(first: object, second: object) -> Iterator[float]:
    """Yield how far apart two answers are, number by number; infinitely, where they are not alike otherwise."""
    if isinstance(first, Mapping) and isinstance(second, Mapping) and first.keys() == second.keys():
        for key, value in first.items():
            yield from _differences(value, second[key])
    elif isinstance(first, list | tuple) and isinstance(second, list | tuple) and len(first) == len(second):
        for ours, theirs in zip(first, second, strict=True):
            yield from _differences(ours, theirs)
    elif isinstance(first, float) and isinstance(second, float):
        yield abs(first - second)
    elif first != second:
        yield math.inf


def _write_down(folder: runs.RunFolder, resolved: ResolvedModel, task: Task, merged: Merged) -> None:
    """Write run.json, what eval and classify read of the adapter's run and what was merged, and the model card."""
    trained = dict(runs.read_run(resolved.path) or {})
    known = {"task": task.name} | {name: trained[name] for name in FIELDS_OF_ADAPTER if name in trained}
    run_record = {"status": "finished", "command": "merge", **known, "merged": merged.as_dict(), **runs.environment()}
    folder.write(cast("RunRecord", run_record))
    write_card(folder.path, cast("RunRecord", run_record))
