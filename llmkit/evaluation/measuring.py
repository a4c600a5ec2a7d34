"""The model's answers to the rows: from the cache where it has them, else from the model, kept batch by batch."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from llmkit import models, runs
from llmkit.data import fingerprint
from llmkit.data.predictions import content_id
from llmkit.errors import EmptyError, ModelError, shortened
from llmkit.evaluation.plan import Plan
from llmkit.inference.answer_cache import AnswerCache
from llmkit.inference.prediction import PredictionLoop, on_device
from llmkit.metrics.observations import Observations
from llmkit.models import ResolvedModel
from llmkit.models.fingerprints import fingerprints
from llmkit.options import ModelOptions
from llmkit.output.report import Report
from llmkit.runs.interrupts import StopRequest
from llmkit.tasks import Task, TaskSettings

# what the answers of a model depend on besides its files, the rows and the settings
READINGS = {"labels", "merge", "positive", "threshold"}  # of a setup: how answers are read, and not what they are
LIBRARIES = ("llmkit", "torch", "transformers", "tokenizers", "peft", "lm_eval")


@dataclass(frozen=True, eq=False)
class Measured:
    """What a model answered, as observations."""

    observations: Observations
    ids: list[str]
    unit_rows: list[int] | None  # the row of each unit; None: windows over joined rows
    cached: bool
    seconds: float
    invariance: dict[str, Any] | None = None
    about: dict[str, Any] = field(default_factory=dict)


@dataclass
class Prepared:
    """Rows as model inputs, and a model that is loaded when it is first asked."""

    task: Task
    rows: Dataset
    settings: TaskSettings
    tokenizer: PreTrainedTokenizerBase
    inputs: Dataset
    load: Callable[[], PreTrainedModel]
    origin: dict[str, Any]  # `origin_of` the model

    @functools.cached_property
    def model(self) -> PreTrainedModel:
        """The weights."""
        return self.load()


def prepare(plan: Plan, rows: Dataset, share: Prepared | None = None) -> Prepared:
    """Turn rows into model inputs; with `share`, for the model that was opened for other rows.

    Raises:
        EmptyError: the rows hold no token to score.
    """
    inputs = plan.task.encoding.encode(rows, plan.tokenizer, plan.settings, training=False)
    if len(plan.task.encoding.rows_without_targets(inputs)) == len(inputs):
        raise EmptyError(f"the rows hold too little text to score within {plan.settings.max_length} tokens")

    def load() -> PreTrainedModel:
        if share is not None:
            return share.model
        network = plan.task.auto_class_for(plan.resolved.config)
        return models.load_model(plan.resolved, network, plan.tokenizer, plan.options)

    origin = share.origin if share else origin_of(plan.resolved, plan.options, plan.batch_size)
    return Prepared(plan.task, rows, plan.settings, plan.tokenizer, inputs, load, origin)


def measure(
    plan: Plan, rows: Dataset, report: Report, *, cache: bool, invariance_rows: int = 0, share: Prepared | None = None
) -> tuple[Measured, Prepared]:
    """Ask the model for its answers to `rows`; with `share`, the model that was loaded for other rows.

    Raises:
        Stopped: a signal came; the answers until then are in the cache.
        ModelError: an answer is not a finite number.
    """
    started = time.monotonic()
    prepared = prepare(plan, rows, share)
    unread = plan.task.encoding.truncation_warning(prepared.inputs)
    if unread is not None:
        report.warn(unread)
    about = {
        "columns": plan.settings.columns,
        "dropped": plan.dropped,
        "rows_sha256": fingerprint(rows),
        "max_length": plan.settings.max_length,
        "stride": plan.settings.stride,
        "dataset_commit": plan.source.commit,
        **prepared.origin,
    }
    settings = {key: value for key, value in asdict(plan.settings).items() if key not in READINGS}
    parts = {"rows": about["rows_sha256"], "task": plan.task.name, "setup": settings}
    title = {"dataset": plan.dataset, "split": plan.split, "model": plan.resolved.name, "task": plan.task.name}
    with kept_answers(prepared.origin, parts, title, cache, report) as (answers, stopping):
        cached = len(answers.done) == len(prepared.inputs)
        records = _records(prepared, plan, answers, report, cached, stopping)
        _require_numbers(records, prepared, plan)
        checked = None
        if invariance_rows:
            checked = answers.notes.get(f"invariance {invariance_rows}")
            if checked is None:
                checked = check_invariance(prepared, invariance_rows)
                answers.note(f"invariance {invariance_rows}", checked)
    observations = plan.task.answers.evaluation_arrays(records, prepared.inputs, plan.tokenizer, plan.settings)
    contents = plan.task.answers.unit_contents(rows, prepared.inputs, plan.settings)
    ids = [content_id(content) for content in contents]
    unit_rows = plan.task.answers.unit_rows(prepared.inputs, plan.settings)
    if checked is not None:
        checked = {**checked, "changed_rows": _by_id(checked["changed_rows"], prepared.inputs, ids)}
    return Measured(observations, ids, unit_rows, cached, time.monotonic() - started, checked, about), prepared


def _by_id(changed: list[dict[str, Any]], inputs: Dataset, ids: list[str]) -> list[dict[str, Any]]:
    """Name changed rows by the ids of their units; a unit can be several windows of one row."""
    rows = inputs["row"] if len(ids) < len(inputs) else range(len(inputs))
    units = dict(zip(dict.fromkeys(rows), ids, strict=False))  # what a task prepares beside the rows is no unit
    return [
        {"id": units[rows[one["row"]]], "alone": one["alone"], "together": one["together"]}
        for one in changed
        if rows[one["row"]] in units
    ]


def _records(
    prepared: Prepared, plan: Plan, answers: AnswerCache, report: Report, cached: bool, stopping: Callable[[], bool]
) -> Sequence[Any]:
    if cached:
        report.say(f"cached: the answers of {plan.resolved.name} to these rows are known")
        return [answers.done[row] for row in range(len(prepared.inputs))]
    if answers.done:
        report.say(f"going on: {len(answers.done)} of {len(prepared.inputs)} rows were scored before")
    loop = PredictionLoop(
        prepared.task, prepared.model, prepared.tokenizer, prepared.settings, plan.batch_size, report, answers, stopping
    )
    return loop.run(prepared.inputs)


def _require_numbers(records: Sequence[Any], prepared: Prepared, plan: Plan) -> None:
    """Refuse answers that are not finite numbers: any figure of them would be made up.

    Raises:
        ModelError: naming the first such row, or the window of text.
    """
    wrong = [place for place, record in enumerate(records) if not np.isfinite(record).all()]
    if not wrong:
        return
    where = f"window {wrong[0] + 1}"
    if plan.task.answers.one_row_per_unit(plan.settings):
        row = prepared.inputs["row"][wrong[0]] if "row" in prepared.inputs.column_names else wrong[0]
        first = next(iter(plan.settings.inputs.values()))
        where = f"row {row + 1} ({shortened(prepared.rows[row][first])})"
    raise ModelError(
        f"{plan.resolved.name!r} answers {len(wrong)} of {len(records)} inputs with what is no finite number, the "
        f"first is {where}: its weights are damaged, or {dtype_name(plan.options, plan.resolved.config)} overflows and "
        "--dtype float32 would not"
    )


@contextlib.contextmanager
def kept_answers(
    origin: Mapping[str, Any], parts: Mapping[str, Any], title: Mapping[str, Any], cache: bool, report: Report
) -> Iterator[tuple[AnswerCache, Callable[[], bool]]]:
    """Open the answers of a model (`origin`) to what `parts` tell, and a question: did a signal ask to stop?

    Without a file that keeps the answers nothing would be left to go on from: signals then do what they usually do.
    """
    known = {name: origin["versions"].get(name) for name in LIBRARIES}
    key = {
        **parts,
        **origin["fingerprints"],
        "dtype": origin["dtype"],
        "device": origin["device"],
        "batch_size": origin["batch_size"],
        "versions": known,
        "threads": torch.get_num_threads(),  # sums of floats depend on it
    }
    with contextlib.ExitStack() as stack:
        answers = AnswerCache.open(key, title, report) if cache else AnswerCache()
        stack.callback(answers.close)
        stop_request = stack.enter_context(StopRequest(report)) if answers.entry is not None else None
        yield answers, lambda: stop_request is not None and stop_request.asked


def origin_of(
    resolved: ResolvedModel, options: ModelOptions, batch_size: int | None, *libraries: str
) -> dict[str, Any]:
    """Return what a model's answers rest on, whatever it is asked: its files, its precision, the machine, versions."""
    return {
        "batch_size": batch_size,
        "dtype": dtype_name(options, resolved.config),
        "device": str(models.pick_device(options.device)),
        "fingerprints": fingerprints(resolved),
        "model_commit": resolved.commit,
        "versions": runs.versions(*libraries),
    }


def dtype_name(options: ModelOptions, config: Any) -> str:
    """Return the precision that a model is measured in."""
    dtype = options.dtype if options.dtype != "auto" else str(config.dtype or "float32")
    return dtype.removeprefix("torch.")


@torch.inference_mode()
def check_invariance(prepared: Prepared, count: int) -> dict[str, Any]:
    """Re-run `count` rows alone and beside the longest row of all, and compare the logits.

    Returns:
        rows: how many were run; largest_difference: in logits; changed: rows whose prediction (the best class, or at
        some position the best token) is another; changed_rows: these rows, with what was predicted either way.
    """
    lengths = np.asarray(prepared.inputs["length"])
    order = np.argsort(lengths, kind="stable")
    longest = int(order[-1])
    spread = np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)
    differences: list[float] = []
    changed: list[dict[str, Any]] = []
    for row in dict.fromkeys(order[spread].tolist()):
        alone = _logits(prepared, [row])
        company = [longest, row] if row != longest else [int(order[0]), row]
        together = _logits(prepared, company)
        differences.append(float((alone - together).abs().max()) if alone.numel() else 0.0)
        if alone.shape[-1] > 1 and bool((alone.argmax(-1) != together.argmax(-1)).any()):
            changed.append({"row": row, **_change(prepared, alone, together)})
    return {
        "rows": len(differences),
        "largest_difference": max(differences, default=0.0),
        "changed": len(changed),
        "changed_rows": changed,
    }


def _change(prepared: Prepared, alone: torch.Tensor, together: torch.Tensor) -> dict[str, str]:
    """Return the two predictions: class names, or the best tokens at the first position where they differ."""
    guesses = torch.stack([alone.argmax(-1), together.argmax(-1)])
    if alone.dim() > 1:
        guesses = guesses[:, int((guesses[0] != guesses[1]).nonzero()[0])]
    config, tokenizer = prepared.model.config, prepared.tokenizer
    words = (prepared.task.answers.class_name(int(guess), config, tokenizer) for guess in guesses)
    return dict(zip(("alone", "together"), words, strict=True))


def _logits(prepared: Prepared, rows: list[int]) -> torch.Tensor:
    """Return the logits of the last of `rows`: (classes,), or (tokens, classes) without the padding."""
    picked = prepared.inputs.select(rows).to_list()
    batch = on_device(prepared.task.encoding.collator(prepared.tokenizer, prepared.settings)(picked), prepared.model)
    return prepared.task.answers.logits(prepared.model, batch, len(rows) - 1).float().cpu()
