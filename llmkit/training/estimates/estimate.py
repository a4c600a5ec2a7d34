"""What one training holds and computes: of its real model where that can be run without data, else by formula."""

from __future__ import annotations

from dataclasses import dataclass, replace

from llmkit.errors import brief
from llmkit.models import modules, with_config_values
from llmkit.training.estimates import batches, formula
from llmkit.training.estimates.memory import Memory, gigabytes, memory_here, resident
from llmkit.training.estimates.tracked import Subject, track

CUDA_CONTEXT = 600_000_000  # what a process holds of a GPU before its first tensor
LATER_LIBRARIES = 40_000_000  # what a training imports and reads after its plan
# what the C allocator holds beyond the tensors of a step: measured on the configurations of tests/real/test_memory.py
ALLOCATOR_SHARE = 0.19  # of which 0.06 are what `kept_memory` keeps
FROZEN_SHARE = 0.42  # of activations and temporary tensors, on top where few weights are trained
CHECKPOINT_SHARE = 0.2  # the same where activations are computed twice
ACCUMULATION_SHARE = 0.2  # the same where gradients of an earlier batch lie among those of the next
# of the tensors of 4 to 32 MiB that pass through a step whose activations are computed twice: the nodes of the graph
# are kept and lie between the holes that those tensors leave, so that glibc neither joins the holes nor gives them back
PASSING_SHARE = 0.22


@dataclass(frozen=True)
class Estimate:
    """The memory of a training by part, and what its steps compute."""

    memory: Memory
    flops: int  # of one step
    parameters: int
    trained: int
    rows: int  # of a forward pass
    tokens: int  # of its largest batch, padding counted
    steps: int
    layers: int
    source: str  # how it was found
    upper: bool = False  # what the C allocator keeps of a step is not known well enough: it takes at most that

    def sentence(self, here: int) -> str:
        """Return what is said of it before a training; `here` are the bytes that there are."""
        about = "at most about" if self.upper else "about"
        return f"memory: {about} {self.memory.description}; {gigabytes(here)} here; {self.source}"


def estimate(subject: Subject) -> Estimate:
    """Return the estimate of a training, tracked where it can be; no weights are opened."""
    process = _process(subject)
    try:
        tracked = track(subject)
    except Exception as error:  # of any class: a family's own code, or a private module of torch that has changed
        by_formula = quick_estimate(subject)
        reason = f"as the model does not run without data: {brief(error)}"
        return replace(by_formula, source=f"{by_formula.source}, {reason}")
    measured = tracked.measurement
    peak = tracked.step.total
    if measured is not tracked.step:
        peak = max(peak, measured.total + tracked.step.parts["optimizer"])
    held = dict(tracked.step.parts)
    held["temporary"] += peak - tracked.step.total
    memory = Memory(teacher=tracked.teacher, process=process, **held)
    memory = replace(memory, parameters=memory.parameters - tracked.teacher)
    share = tracked.share
    memory = replace(memory, allocator=_allocator(subject, memory, share.trained < share.total, tracked.step.passing))
    return replace(
        _frame(subject, share.total, share.trained, tracked.tokens),
        memory=memory,
        flops=tracked.step.flops * subject.recipe.accumulation,
        source="one step of the model run without data",
    )


def quick_estimate(subject: Subject) -> Estimate:
    """Return the estimate by the closed formula alone."""
    job, recipe = subject.job, subject.recipe
    config = with_config_values(job.resolved.config, job.task.head_config(job.settings))
    auto_class = job.task.auto_class_for(config)
    share = subject.spec.share
    if share is None:
        share = modules.share(modules.skeleton(config, auto_class, subject.session.options.trust_remote_code))
    rows = batches.share_of_one(job, batches.largest_batch(job, recipe), subject.processes)
    tokens = len(rows) * max(job.encoded_train[row]["length"] for row in set(rows))
    half, checkpointed = subject.half is not None, recipe.checkpoint_activations
    memory = replace(
        formula.model_states(share.total, share.trained),
        activations=formula.activation_bytes(config, tokens, half, checkpointed),
        process=_process(subject),
    )
    if any(kind in auto_class for kind in ("CausalLM", "MaskedLM", "Seq2SeqLM")):
        in_chunks = "Seq2SeqLM" not in auto_class and recipe.label_smoothing == 0 and job.teacher is None
        memory = replace(memory, temporary=formula.logits_bytes(config, tokens, in_chunks))
    memory = replace(memory, allocator=_allocator(subject, memory, share.trained < share.total))
    flops = formula.flops(share.total, share.trained, tokens, checkpointed) * recipe.accumulation
    return replace(_frame(subject, share.total, share.trained, tokens), memory=memory, flops=flops)


def _frame(subject: Subject, parameters: int, trained: int, tokens: int) -> Estimate:
    """Return what is known of a training without its memory."""
    job, recipe = subject.job, subject.recipe
    return Estimate(
        memory=Memory(),
        flops=0,
        parameters=parameters,
        trained=trained,
        rows=recipe.batch_size,
        tokens=tokens,
        steps=recipe.steps(len(job.encoded_train)),
        layers=formula.layer_count(job.resolved.config),
        upper=recipe.checkpoint_activations and not subject.on_gpu,
        source="by formula (ZeRO, 2020; Korthikanti et al., 2022; 6 FLOPs a weight and token)",
    )


def _process(subject: Subject) -> int:
    return CUDA_CONTEXT if subject.on_gpu else resident() + LATER_LIBRARIES


def _allocator(subject: Subject, memory: Memory, trains_less: bool, passing: int = 0) -> int:
    """Return what the allocator holds beside the tensors: on a CPU a share that was measured.

    `passing` are the bytes of the tensors of a step that lie in its heap.
    """
    if subject.on_gpu:
        return 0
    recipe = subject.recipe
    share = FROZEN_SHARE * trains_less + CHECKPOINT_SHARE * recipe.checkpoint_activations
    share += ACCUMULATION_SHARE * (recipe.accumulation > 1)
    more = share * (memory.activations + memory.temporary)
    held = round(ALLOCATOR_SHARE * (memory.total - memory.process) + more)
    return max(held, round(PASSING_SHARE * passing)) if recipe.checkpoint_activations else held


def say_estimate(subject: Subject) -> None:
    """Tell what a training takes of the memory that is here: what a dry run ends with."""
    estimated, here = estimate(subject), memory_here(subject.device)
    subject.session.report.say(estimated.sentence(here))
    if estimated.memory.total > here:
        subject.session.report.warn("this does not fit: `llmkit plan` before the same command tells what would")


def too_large(subject: Subject) -> tuple[int, int] | None:
    """Return the bytes that a training takes by the closed formula and those that there are, if it takes more."""
    try:
        quick, here = quick_estimate(subject), memory_here(subject.device)
    except Exception:  # of any class: what cannot be built is refused in words when it is
        return None
    return (quick.memory.total, here) if quick.memory.total > here else None


def warn_if_too_large(subject: Subject) -> None:
    """Warn, by the closed formula alone, of a training that takes more memory than there is."""
    found = too_large(subject)
    if found is not None:
        subject.session.report.warn(
            f"this takes about {gigabytes(found[0])} of memory by the closed formula, and there are "
            f"{gigabytes(found[1])} here: a smaller --batch-size with --accumulate, --checkpoint-activations or --lora "
            "takes less, and `llmkit plan` tells how much"
        )
