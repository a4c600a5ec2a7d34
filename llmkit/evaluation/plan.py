"""Measure a model on a dataset: the same code for `llmkit eval` and for the last figure of a training run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from datasets import Dataset

from llmkit import models, runs, tasks
from llmkit.data import Source, fingerprint, hub_name, open_dataset
from llmkit.errors import EmptyError, GateMissed, OptionError
from llmkit.inference import predict
from llmkit.metrics import LOWER_IS_BETTER, require_known
from llmkit.models import Located
from llmkit.options import DataOptions, EvalOptions, ModelOptions
from llmkit.report import Report
from llmkit.splits import Cut, to_measure
from llmkit.tasks import Scores, Setup, Task

SCHEMA = 1


@dataclass(frozen=True)
class Gate:
    """A demand on a metric."""

    metric: str
    least: float
    value: float

    @property
    def met(self) -> bool:
        """Whether the value reaches the least that is demanded; NaN never does."""
        return self.value >= self.least

    def sentence(self) -> str:
        """Say whether it was met."""
        verdict = "met" if self.met else "NOT met"
        return f"gate {verdict}: {self.metric} is {self.value:.4f}, at least {self.least:g} is demanded"


@dataclass(frozen=True)
class Evaluation:
    """What was measured, on which rows, with what."""

    task: str
    dataset: str
    split: str
    model: str
    scores: Scores
    headline: str
    gates: tuple[Gate, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """How many rows (or, for language models, tokens) the figures rest on."""
        return next(iter(self.scores.counts.values()))

    def as_dict(self) -> dict[str, Any]:
        """Return the versioned result that --json prints."""
        notes = self.scores.notes
        metrics = {
            name: {"value": value, **({"of": notes[name]} if name in notes else {})}
            for name, value in self.scores.metrics.items()
        }
        return {
            "schema": SCHEMA, "task": self.task, "dataset": self.dataset, "split": self.split, "model": self.model,
            "n": self.n, "counts": self.scores.counts, "headline": self.headline, "metrics": metrics,
            "per_class": self.scores.per_class,
            "gates": [{"metric": g.metric, "at_least": g.least, "value": g.value, "met": g.met} for g in self.gates],
            **self.about,
        }  # fmt: skip

    def require_gates(self) -> None:
        """Raise when a gate was not met.

        Raises:
            GateMissed: with a phrase for each.
        """
        missed = [gate.sentence() for gate in self.gates if not gate.met]
        if missed:
            raise GateMissed("; ".join(missed))


@dataclass(frozen=True)
class Plan:
    """An evaluation that was checked up to its first costly step."""

    located: Located
    source: Source
    task: Task
    setup: Setup
    split: str
    rows: Dataset
    dropped: int


def evaluate(
    dataset: str,
    model: str | ModelOptions,
    data: DataOptions | None = None,
    evaluation: EvalOptions | None = None,
    report: Report | None = None,
    dry_run: bool = False,
) -> Evaluation | None:
    """Measure `model` on `dataset` and return the figures; None after a dry run.

    Raises:
        DataError, ModelError, OptionError: something asked for is wrong; nothing costly was done yet.
        EmptyError: there is no usable row.
    """
    options = model if isinstance(model, ModelOptions) else ModelOptions(model=model)
    data, evaluation, report = data or DataOptions(), evaluation or EvalOptions(), report or Report()
    found = plan(dataset, options, data, evaluation, report)
    if dry_run:
        return None
    batch_size = evaluation.batch_size or found.task.eval_batch
    scores = measure(found.located, found.task, found.rows, found.setup, options, batch_size, report)
    gates = tuple(Gate(name, least, scores.metrics[name]) for name, least in evaluation.gates.items())
    return Evaluation(
        task=found.task.name, dataset=dataset, split=found.split, model=found.located.name, scores=scores,
        headline=found.task.headline(found.setup), gates=gates, about=_about(found, options, batch_size),
    )  # fmt: skip


def plan(dataset: str, options: ModelOptions, data: DataOptions, evaluation: EvalOptions, report: Report) -> Plan:
    """Check everything that can be checked without the weights, and say what will be measured."""
    located = models.locate(options, report)
    model_task = tasks.require(located.config, "eval", located.name)
    if data.task is not None and tasks.named(data.task) is not model_task:
        raise OptionError(f"--task {data.task}: {located.name!r} is a {model_task.name} model")
    source = open_dataset(dataset, encoding=data.encoding, report=report)
    task, columns = tasks.choose(model_task.name, source.any(), data.columns, located.config, "eval")
    trained = runs.read_run(located.path) or {}
    cut = _cut_of(trained, source)
    split, rows = to_measure(source, evaluation.split, data.limit, partial(task.has_labels, columns=columns), cut)
    setup = _setup(task, located, source, rows, columns, data, evaluation, trained, options)
    for name in evaluation.gates:
        require_known(name, task.metric_names(setup.labels), "--fail-under")
        if name in LOWER_IS_BETTER:
            raise OptionError(f"--fail-under {name}: lower is better for {name}, so this gate would fail good models")
    task.check(setup)
    usable = task.measurable(rows, setup)
    if not usable:
        raise EmptyError(f"{dataset!r}, split {split!r}: no usable row of {len(rows)} to measure on")
    dropped = len(rows) - len(usable)
    report.say(f"measuring {task.name} on {dataset}, {split}: {len(usable)} rows, columns {_spell(columns)}")
    if dropped:
        report.warn(f"{dropped} of {len(rows)} rows have no text or no label and are left out")
    return Plan(located, source, task, setup, split, rows.select(usable), dropped)


def _setup(
    task: Task, located: Located, source: Source, rows: Dataset, columns: dict[str, str],
    data: DataOptions, evaluation: EvalOptions, trained: dict[str, Any], options: ModelOptions,
) -> Setup:  # fmt: skip
    tokenizer = models.load_tokenizer(located, options)
    context = models.context_length(located.config, tokenizer)
    if data.max_length and data.max_length > context:
        raise OptionError(f"--max-length {data.max_length}: {located.name!r} takes at most {context} tokens")
    usual = trained.get("max_length") or task.usual_length
    return Setup(
        columns=columns, max_length=data.max_length or min(context, usual), benchmark=source.benchmark,
        labels=task.match_labels(rows, columns, located.config), positive=evaluation.positive,
        stride=evaluation.stride, per_row=evaluation.per_row, seed=_seed(evaluation, trained),
    )  # fmt: skip


def _seed(evaluation: EvalOptions, trained: dict[str, Any]) -> int:
    """Return the seed of the masks: the one given, else that of the model's own run, so that its figures come again."""
    own = (trained.get("options") or {}).get("seed", 42)
    return int(own if evaluation.seed is None else evaluation.seed)


def measure(
    located: Located, task: Task, rows: Dataset, setup: Setup, options: ModelOptions, batch_size: int, report: Report
) -> Scores:
    """Load the weights and score the rows.

    Raises:
        EmptyError: the rows hold no token to score.
    """
    tokenizer = models.load_tokenizer(located, options)
    prepared = task.prepare(rows, tokenizer, setup, training=False)
    if not len(prepared):
        raise EmptyError("the rows hold too little text to score")
    model = models.load_model(located, task.auto_class, tokenizer, options)
    return task.score(predict(task, model, tokenizer, prepared, setup, batch_size, report), prepared, setup)


def _cut_of(trained: dict[str, Any], source: Source) -> Cut | None:
    """Return how the model's own run cut its validation rows, when it was trained on this very dataset."""
    recorded = trained.get("data") or {}
    same = recorded.get("reference") == source.reference
    if not same and recorded.get("reference") and not Path(source.reference).exists():
        same = hub_name(recorded["reference"]) == hub_name(source.reference)
    return Cut(**recorded["cut"]) if same and recorded.get("cut") else None


def _about(found: Plan, options: ModelOptions, batch_size: int) -> dict[str, Any]:
    dtype = options.dtype if options.dtype != "auto" else str(found.located.config.dtype or "float32")
    return {
        "columns": found.setup.columns, "dropped": found.dropped, "rows_sha256": fingerprint(found.rows),
        "max_length": found.setup.max_length, "stride": found.setup.stride, "batch_size": batch_size,
        "dtype": dtype.removeprefix("torch."), "device": str(models.pick_device(options.device)),
        "model_commit": found.located.commit, "dataset_commit": found.source.commit,
        "versions": runs.environment()["versions"],
    }  # fmt: skip


def _spell(columns: Mapping[str, str]) -> str:
    return ", ".join(f"{role}={name}" for role, name in columns.items())
