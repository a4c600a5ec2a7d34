"""What `llmkit plan` does: a command is checked up to its first costly step, estimated, and on request measured."""

from __future__ import annotations

import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

from llmkit.options import FinetuneRequest, PretrainRequest, TalkOptions
from llmkit.options.planning import PlanOptions
from llmkit.output.report import Report
from llmkit.training import jobs
from llmkit.training.estimates.report import PlanResult, Timing, plan_of, timed
from llmkit.training.estimates.step_clock import StepClock
from llmkit.training.estimates.tracked import Subject
from llmkit.training.finetuning import planned_finetuning
from llmkit.training.loop.job import OpenModel
from llmkit.training.model_spec import open_model
from llmkit.training.pretraining import open_planned, planned

SKIPPED_STEPS = 2  # of a measurement, which the first steps are not typical of


def forecast(request: FinetuneRequest | PretrainRequest, options: PlanOptions, report: Report) -> PlanResult:
    """Return what a training takes; nothing is trained but the steps that are asked for, and nothing is kept.

    Raises:
        OptionError, DataError, ModelError, EmptyError: as the training itself.
    """
    with tempfile.TemporaryDirectory(prefix="llmkit-plan-") as folder:
        request = replace(request, run=replace(request.run, output=Path(folder) / "run", resume=False, track=["none"]))
        subject = _subject(request, report)
        result = plan_of(subject, options)  # before anything is trained: that leaves memory behind
        if options.measure_steps is None:
            return result
        report.say(f"measuring {options.measure_steps} steps, after {SKIPPED_STEPS} that are not typical")
        return timed(result, _measured(subject, options.measure_steps), options)


def _subject(request: FinetuneRequest | PretrainRequest, report: Report) -> Subject:
    subject = planned_finetuning(request, report) if isinstance(request, FinetuneRequest) else planned(request, report)
    if request.launch.processes is not None:
        subject = replace(subject, processes=request.launch.processes)
    return subject


def _measured(subject: Subject, steps: int) -> Timing:
    """Return the time of a training from a few of its steps, really trained: the median, and how far they differ."""
    clock = StepClock(SKIPPED_STEPS, steps)
    session = replace(subject.session, report=Report(TalkOptions(quiet=True)), callbacks=(clock,))
    total = subject.recipe.steps(len(subject.job.encoded_train))
    recipe = replace(subject.recipe, max_steps=max(total, SKIPPED_STEPS + steps + 1))  # the last one is measured
    jobs.learn(subject.job, _opened(subject), recipe, session)
    median, least, most = statistics.median(clock.seconds), min(clock.seconds), max(clock.seconds)
    source = f"{median:.3g} s a step on this machine, the median of {steps}, {least:.3g} to {most:.3g}"
    return Timing(median * total, f"{source}; measurements come on top")


def _opened(subject: Subject) -> OpenModel:
    if subject.job.command == "pretrain":
        return open_planned(subject)
    return open_model(subject.job, subject.spec, subject.session.options)
