"""What `llmkit plan` does: a command is checked up to its first costly step, estimated, and on request measured."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from llmkit.options import FinetuneRequest, PretrainRequest
from llmkit.options.planning import PlanOptions
from llmkit.output.report import Report
from llmkit.training.estimates.report import PlanResult, Timing, plan_of
from llmkit.training.estimates.tracked import Subject
from llmkit.training.finetuning import planned_finetuning, run_finetune
from llmkit.training.pretraining import planned, run_pretrain

WARMUP_STEPS = 2  # of a measurement, which the first steps are not typical of


def forecast(request: FinetuneRequest | PretrainRequest, options: PlanOptions, report: Report) -> PlanResult:
    """Return what a training takes; nothing is trained but the steps that are asked for, and nothing is kept.

    Raises:
        OptionError, DataError, ModelError, EmptyError: as the training itself.
    """
    with tempfile.TemporaryDirectory(prefix="llmkit-plan-") as folder:
        request = replace(request, run=replace(request.run, output=Path(folder) / "run", resume=False, track=["none"]))
        subject = (
            planned_finetuning(request, report) if isinstance(request, FinetuneRequest) else planned(request, report)
        )
        if request.launch.processes is not None:
            subject = replace(subject, processes=request.launch.processes)
        timing = None if options.measure_steps is None else _measured(request, subject, options.measure_steps)
        return plan_of(subject, options, timing)


def _subject(request: FinetuneRequest | PretrainRequest, report: Report) -> Subject:
    return planned_finetuning(request, report) if isinstance(request, FinetuneRequest) else planned(request, report)


def _measured(request: FinetuneRequest | PretrainRequest, subject: Subject, steps: int) -> Timing:
    """Return the time of a training from a few of its steps, really trained: short runs of two lengths."""
    seconds = [_seconds(request, count) for count in (WARMUP_STEPS, WARMUP_STEPS + steps)]
    of_step = max(0.0, seconds[1] - seconds[0]) / steps
    total = subject.recipe.steps(len(subject.job.encoded_train))
    return Timing(
        of_step * total, f"{of_step:.2f} s a step, from {steps} steps on this machine; measurements come on top"
    )


def _seconds(request: FinetuneRequest | PretrainRequest, steps: int) -> float:
    """Return how long a run of so many steps trains, measured once at its end."""
    training = replace(request.training, max_steps=steps, epochs=None)
    assert request.run.output is not None
    run = replace(request.run, output=request.run.output.with_name(f"steps-{steps}"))
    short, quiet = replace(request, training=training, run=run), Report()
    done = run_finetune(short, quiet) if isinstance(short, FinetuneRequest) else run_pretrain(short, quiet)
    return 0.0 if done is None else float(done.run_record["training"]["seconds"])
