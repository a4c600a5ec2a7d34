"""What `llmkit plan` tells of a training, as a document and as lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypedDict

from llmkit.options.planning import PlanOptions
from llmkit.training.estimates.batch_size import room
from llmkit.training.estimates.estimate import Estimate, estimate
from llmkit.training.estimates.memory import gigabytes, memory_here
from llmkit.training.estimates.strategies import FORMULAS, MARGIN, bytes_per_gpu, choose_strategy
from llmkit.training.estimates.tracked import Subject

GIB = 2**30
GPU_COUNTS = (1, 2, 4, 8, 16, 64, 256, 1000)


class PlanResult(TypedDict):
    """The document of --json; bytes, seconds, and the currency of the price."""

    schema: int
    command: str
    task: str
    model: str
    parameters: int
    trained: int
    memory: dict[str, int]
    total_bytes: int
    available_bytes: int
    fits: bool
    batch_size: int
    largest_batch_size: int
    steps: int
    flops_per_step: int
    flops: int
    seconds: float | None
    seconds_source: str | None
    cost: float | None
    source: str
    remedies: dict[str, int]
    strategy: dict[str, str]
    gpus: list[dict[str, int]]
    formulas: dict[str, str]


@dataclass(frozen=True)
class Timing:
    """How long a training takes, and how that is known."""

    seconds: float
    source: str


def plan_of(subject: Subject, options: PlanOptions) -> PlanResult:
    """Return all that is told of a training before it begins."""
    subject = replace(subject, for_gpu=options.gpu_memory is not None)
    known = estimate(subject)
    available = round(options.gpu_memory * GIB) if options.gpu_memory else memory_here(subject.device)
    timing, fits = _on_paper(known, options), known.memory.total <= available
    strategy, reason = choose_strategy(known, options.gpus or 1, available)
    return {
        "schema": 1,
        "command": subject.job.command,
        "task": subject.job.task.name,
        "model": subject.job.resolved.name,
        "parameters": known.parameters,
        "trained": known.trained,
        "memory": known.memory.parts,
        "total_bytes": known.memory.total,
        "available_bytes": available,
        "fits": fits,
        "batch_size": known.rows,
        "largest_batch_size": room(subject, known).rows(available),
        "steps": known.steps,
        "flops_per_step": known.flops,
        "flops": known.flops * known.steps,
        "seconds": None if timing is None else timing.seconds,
        "seconds_source": None if timing is None else timing.source,
        "cost": _cost(timing, options),
        "source": known.source,
        "remedies": {} if known.memory.total <= MARGIN * available else dict(_remedies(subject, known)),
        "strategy": {"name": strategy, "reason": reason},
        "gpus": _gpus(known, (options.gpus,) if options.gpus else GPU_COUNTS),
        "formulas": FORMULAS,
    }


def timed(plan: PlanResult, measured: Timing, options: PlanOptions) -> PlanResult:
    """Return a plan with the time of steps that were really trained."""
    return {**plan, "seconds": measured.seconds, "seconds_source": measured.source, "cost": _cost(measured, options)}


def _cost(timing: Timing | None, options: PlanOptions) -> float | None:
    if timing is None or options.price_per_hour is None:
        return None
    return timing.seconds / 3600 * (options.gpus or 1) * options.price_per_hour


def _gpus(known: Estimate, counts: Sequence[int]) -> list[dict[str, int]]:
    return [{"gpus": n, **{name: bytes_per_gpu(known, name, n) for name in FORMULAS}} for n in counts]


def _on_paper(known: Estimate, options: PlanOptions) -> Timing | None:
    """Return the time at a share of what the data sheet of a GPU says."""
    if options.gpu_tflops is None:
        return None
    rate = options.gpu_tflops * 1e12 * options.utilization * (options.gpus or 1)
    source = f"on paper: {options.utilization:.0%} of {options.gpu_tflops:g} TFLOP/s on each of {options.gpus or 1}"
    return Timing(known.flops * known.steps / rate, source)


def _remedies(subject: Subject, known: Estimate) -> Iterator[tuple[str, int]]:
    """Yield what takes less memory, with the bytes that it takes then."""
    recipe, spec = subject.recipe, subject.spec
    if recipe.halves is not None:
        yield recipe.halves, estimate(subject.with_batch_size(recipe.half)).memory.total
    if not recipe.checkpoint_activations:
        changed = replace(subject, recipe=replace(recipe, checkpoint_activations=True))
        yield "--checkpoint-activations", estimate(changed).memory.total
    if subject.job.command == "finetune" and not spec.trains_less:
        adapter = replace(spec.adapter, lora=True)
        yield "--lora", estimate(replace(subject, spec=replace(spec, adapter=adapter, share=None))).memory.total
    yield "--strategy fsdp, on 8 GPUs", bytes_per_gpu(known, "fsdp", 8)


def lines_of(plan: PlanResult) -> Iterator[str]:
    """Yield the lines that tell a person the same."""
    fits = "it fits" if plan["fits"] else "it does not fit"
    yield f"{plan['command']}: {plan['task']}, {plan['model']}"
    yield f"parameters: {plan['parameters']:,}, trained {plan['trained']:,}"
    parts = ", ".join(f"{name} {gigabytes(count)}" for name, count in plan["memory"].items())
    yield f"memory: about {gigabytes(plan['total_bytes'])} ({parts}); {plan['source']}"
    yield f"of {gigabytes(plan['available_bytes'])}: {fits}; the largest batch that does: {plan['largest_batch_size']}"
    yield f"FLOPs: {plan['flops_per_step']:.3g} a step, {plan['flops']:.3g} in {plan['steps']:,} steps"
    if plan["seconds"] is not None:
        yield f"time: about {_time(plan['seconds'])} ({plan['seconds_source']})"
    else:
        yield "time: --measure-steps 5 measures it here, --gpu-tflops N tells it on paper"
    if plan["cost"] is not None:
        yield f"cost: about {plan['cost']:,.2f} at that price"
    for flags, count in plan["remedies"].items():
        yield f"with {flags}: about {gigabytes(count)}"
    yield f"strategy: {plan['strategy']['name']}: {plan['strategy']['reason']}"


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def table_of(plan: PlanResult) -> list[list[str]]:
    """Return the memory of a GPU by their number, a row for each, in the order of `FORMULAS`."""
    return [[str(row["gpus"]), *(gigabytes(row[name]) for name in FORMULAS)] for row in plan["gpus"]]
