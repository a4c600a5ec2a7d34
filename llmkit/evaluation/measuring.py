"""The model's answers to the rows: from the cache where it has them, else from the model, kept batch by batch."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypedDict

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedModel

from llmkit import models
from llmkit.data import fingerprint
from llmkit.data.predictions import content_id
from llmkit.distributed.world import world
from llmkit.errors import EmptyError, ModelError, shortened
from llmkit.evaluation.answer_session import AnswerSession, dtype_name, open_session, origin_of
from llmkit.evaluation.plan import Plan
from llmkit.inference.answering import why_not_finite
from llmkit.inference.row_files.prediction_loop import PredictionLoop
from llmkit.metrics.observations import Observations
from llmkit.output.report import Report
from llmkit.output.result import ModelOrigin, Provenance
from llmkit.output.result_parts import Invariance, VariantRow
from llmkit.tasks.base.answers import Prediction
from llmkit.tasks.encoding.batches import on_device

READING_SETTINGS = {"labels", "merge", "positive", "threshold"}  # how answers are read, and not what they are


@dataclass(frozen=True, eq=False)
class Measured:
    """What a model answered, as observations."""

    observations: Observations
    ids: list[str]
    unit_rows: list[int] | None  # the row of each unit; None: windows over joined rows
    cached: bool
    seconds: float
    invariance: Invariance | None = None
    provenance: Provenance = field(default_factory=Provenance)


@dataclass
class Prepared:
    """Rows as model inputs, and a model that is loaded when it is first asked."""

    plan: Plan
    rows: Dataset
    inputs: Dataset
    origin: ModelOrigin
    shared: Prepared | None = None  # rows for which the same model is, or will be, loaded

    @functools.cached_property
    def model(self) -> PreTrainedModel:
        """The weights."""
        if self.shared is not None:
            return self.shared.model
        network = self.plan.task.auto_class_for(self.plan.resolved.config)
        return models.load_model(self.plan.resolved, network, self.plan.tokenizer, self.plan.options)


class ChangedRow(TypedDict):
    """A prepared row whose prediction depends on the rows beside it."""

    row: int
    alone: str
    together: str


class InvarianceCheck(TypedDict):
    """What `check_invariance` found of prepared rows."""

    rows: int
    largest_difference: float  # in logits
    changed: int
    changed_rows: list[ChangedRow]


def prepare(plan: Plan, rows: Dataset, share: Prepared | None = None) -> Prepared:
    """Turn rows into model inputs; with `share`, for the model that was opened for other rows.

    Raises:
        EmptyError: the rows hold no token to score.
    """
    inputs = plan.task.encoding.encode(rows, plan.tokenizer, plan.settings, training=False)
    if len(plan.task.encoding.rows_without_targets(inputs)) == len(inputs):
        raise EmptyError(plan.task.encoding.nothing_to_score(inputs, plan.settings))
    origin = share.origin if share else origin_of(plan.resolved, plan.options, plan.batch_size)
    return Prepared(plan, rows, inputs, origin, share)


def measure(
    plan: Plan, rows: Dataset, report: Report, *, cache: bool, invariance_rows: int = 0, share: Prepared | None = None
) -> tuple[Measured, Prepared]:
    """Ask the model for its answers to `rows`; with `share`, the model that was loaded for other rows.

    Raises:
        EmptyError: the rows hold no token to score.
        Stopped: a signal came; the answers until then are in the cache.
        ModelError: an answer is not a finite number.
    """
    started = time.monotonic()
    prepared = prepare(plan, rows, share)
    unread = plan.task.encoding.truncation_warning(prepared.inputs) or _cut_rows(prepared.inputs, plan)
    if unread is not None:
        report.warn(unread)
    provenance = _provenance(prepared)
    parts = {"rows": provenance["rows_sha256"], "task": plan.task.name, "setup": _answer_settings(plan)}
    title = {"dataset": plan.dataset, "split": plan.split, "model": plan.resolved.name, "task": plan.task.name}
    with open_session(prepared.origin, parts, title, cache, report) as session:
        cached = len(session.answers.done) == len(prepared.inputs)
        predictions = _predictions(prepared, session, report, cached)
        _require_numbers(predictions, prepared)
        checked = _checked_invariance(prepared, invariance_rows, session) if invariance_rows else None
    answers, settings = plan.task.answers, plan.settings
    ids = [content_id(content) for content in answers.unit_contents(rows, prepared.inputs, settings)]
    measured = Measured(
        observations=answers.evaluation_arrays(predictions, prepared.inputs, plan.tokenizer, settings),
        ids=ids,
        unit_rows=answers.unit_rows(prepared.inputs, settings),
        cached=cached,
        seconds=time.monotonic() - started,
        invariance=None if checked is None else _by_id(checked, prepared.inputs, ids),
        provenance=provenance,
    )
    return measured, prepared


def _provenance(prepared: Prepared) -> Provenance:
    plan, origin = prepared.plan, prepared.origin
    return {
        "columns": plan.settings.columns,
        "dropped": plan.dropped,
        "rows_sha256": fingerprint(prepared.rows),
        "max_length": plan.settings.max_length,
        "stride": plan.settings.stride,
        "dataset_commit": plan.source.commit,
        "batch_size": origin["batch_size"],
        "dtype": origin["dtype"],
        "device": origin["device"],
        "fingerprints": origin["fingerprints"],
        "model_commit": origin["model_commit"],
        "versions": origin["versions"],
    }


def _answer_settings(plan: Plan) -> dict[str, object]:
    """Return the settings that answers depend on, those of the task alone beside those of all tasks."""
    return {name: value for name, value in plan.settings.as_dict().items() if name not in READING_SETTINGS}


def _checked_invariance(prepared: Prepared, rows: int, session: AnswerSession) -> InvarianceCheck:
    note = f"invariance {rows}"
    if note not in session.answers.notes:
        session.answers.note(note, check_invariance(prepared, rows))
    checked: InvarianceCheck = session.answers.notes[note]
    return checked


def _by_id(checked: InvarianceCheck, inputs: Dataset, ids: list[str]) -> Invariance:
    """Name changed rows by the ids of their units; a unit can be several windows of one row."""
    rows = inputs["row"] if len(ids) < len(inputs) else range(len(inputs))
    units = dict(zip(dict.fromkeys(rows), ids, strict=False))  # what a task prepares beside the rows is no unit
    changed: list[VariantRow] = [
        {"id": units[rows[change["row"]]], "alone": change["alone"], "together": change["together"]}
        for change in checked["changed_rows"]
        if rows[change["row"]] in units
    ]
    return {
        "rows": checked["rows"],
        "largest_difference": checked["largest_difference"],
        "changed": checked["changed"],
        "changed_rows": changed,
    }


def _predictions(prepared: Prepared, session: AnswerSession, report: Report, cached: bool) -> Sequence[Prediction]:
    plan, known = prepared.plan, session.answers.done
    if cached:
        report.say(f"cached: the answers of {plan.resolved.name} to these rows are known")
        return [known[row] for row in range(len(prepared.inputs))]
    if known:
        report.say(f"going on: {len(known)} of {len(prepared.inputs)} rows were scored before")
    sentence = plan.task.answers.decoding_sentence(prepared.model, plan.settings)
    if sentence is not None:
        report.say(sentence)
    loop = PredictionLoop(
        plan.task,
        prepared.model,
        plan.tokenizer,
        plan.settings,
        plan.batch_size,
        report,
        session.answers,
        session.stop_request,
        world(),
    )
    return loop.run(prepared.inputs)


def _cut_rows(inputs: Dataset, plan: Plan) -> str | None:
    """Return a sentence on the rows that are longer than the model reads, or None."""
    cut = sum(inputs["truncated"]) if "truncated" in inputs.column_names else 0
    if not cut:
        return None
    be, whose = ("is", "its") if cut == 1 else ("are", "their")
    part = "beginning" if plan.task.encoding.cut_side(plan.tokenizer, plan.settings) == "left" else "rest"
    return (
        f"{cut} of {len(inputs)} rows {be} longer than {plan.settings.max_length} tokens, and {whose} {part} was not "
        "read"
    )


def _require_numbers(predictions: Sequence[Prediction], prepared: Prepared) -> None:
    """Refuse answers that are not finite numbers: any figure of them would be made up.

    Raises:
        ModelError: naming the first such row, or the window of text.
    """
    wrong = [number for number, prediction in enumerate(predictions) if not np.isfinite(prediction).all()]
    if not wrong:
        return
    plan, where = prepared.plan, f"window {wrong[0] + 1}"
    if plan.task.answers.one_row_per_unit(plan.settings):
        row = prepared.inputs["row"][wrong[0]] if "row" in prepared.inputs.column_names else wrong[0]
        first = next(iter(plan.settings.inputs.values()))
        where = f"row {row + 1} ({shortened(prepared.rows[row][first])})"
    raise ModelError(
        f"{plan.resolved.name!r} answers {len(wrong)} of {len(predictions)} inputs with what is no finite number, the "
        f"first is {where}: {why_not_finite(dtype_name(plan.options, plan.resolved.config))}"
    )


@torch.inference_mode()
def check_invariance(prepared: Prepared, count: int) -> InvarianceCheck:
    """Re-run `count` rows alone and beside the longest row of all, and compare the logits.

    A row is changed whose prediction (the best class, or at any position the best token) is another; it is named with
    what was predicted either way.
    """
    lengths = np.asarray(prepared.inputs["length"])
    order = np.argsort(lengths, kind="stable")
    longest = int(order[-1])
    spread = np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)
    differences: list[float] = []
    changed: list[ChangedRow] = []
    for row in dict.fromkeys(order[spread].tolist()):
        logits_alone = _logits(prepared, [row])
        company = [longest, row] if row != longest else [int(order[0]), row]
        logits = _logits(prepared, company)
        differences.append(float((logits_alone - logits).abs().max()) if logits.numel() else 0.0)
        if logits.shape[-1] > 1 and bool((logits_alone.argmax(-1) != logits.argmax(-1)).any()):
            changed.append(_change(prepared, row, logits_alone, logits))
    return {
        "rows": len(differences),
        "largest_difference": max(differences, default=0.0),
        "changed": len(changed),
        "changed_rows": changed,
    }


def _change(prepared: Prepared, row: int, logits_alone: torch.Tensor, logits: torch.Tensor) -> ChangedRow:
    """Return the two predictions: class names, or the best tokens at the first position where they differ."""
    best = torch.stack([logits_alone.argmax(-1), logits.argmax(-1)])
    if logits.dim() > 1:
        best = best[:, int((best[0] != best[1]).nonzero()[0])]
    plan = prepared.plan
    names = [plan.task.answers.class_name(int(label), prepared.model.config, plan.tokenizer) for label in best]
    return {"row": row, "alone": names[0], "together": names[1]}


def _logits(prepared: Prepared, rows: list[int]) -> torch.Tensor:
    """Return the logits of the last of `rows`: (classes,), or (tokens, classes) without the padding."""
    plan = prepared.plan
    selected = prepared.inputs.select(rows).to_list()
    batch = on_device(plan.task.encoding.collator(plan.tokenizer, plan.settings)(selected), prepared.model)
    return plan.task.answers.logits(prepared.model, batch, len(rows) - 1).float().cpu()
