"""A worker of a search: a process that is sent the training once, and trains the trials that it is given."""

from __future__ import annotations

import errno
import sys
import tempfile
import traceback
from dataclasses import replace
from multiprocessing.connection import Connection

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from llmkit.errors import Interrupted, LlmkitError, ResourceError, Stopped, one_line
from llmkit.errors.libraries import translate
from llmkit.output.report import Report, Talk
from llmkit.runs.interrupts import SAVING, StopRequest, ask_to_stop
from llmkit.training.series.attempt import Outcome, Proposal, attempt
from llmkit.training.series.messages import Crashed, Failed, Halted, Measured, Ready, Said, Stop, Verdict
from llmkit.training.series.trial import TrialRun


class Line:
    """The line to the search; `asked_to_stop` is what came between the answers."""

    def __init__(self, connection: Connection) -> None:
        self.connection, self.asked_to_stop = connection, False

    def send(self, message: object) -> None:
        """Send a message, or the training's outcome."""
        self.connection.send(message)

    def receive(self) -> object:
        """Return the next message that is no request to stop; None where that is all that came."""
        message = self.connection.recv()
        if not isinstance(message, Stop):
            return message
        self.asked_to_stop = True
        return None

    def look(self) -> bool:
        """Tell whether the search has asked to stop, without waiting for a word of it."""
        while self.connection.poll():
            self.receive()
        return self.asked_to_stop

    def prunes(self, measured: int, value: float) -> bool:
        """Ask the search, which has the study, whether the trial is to be pruned."""
        self.send(Measured(measured, value))
        verdict = self.receive() or self.receive()  # a request to stop may come before it
        assert isinstance(verdict, Verdict)
        return verdict.prunes


class LineReport(Report):
    """Says everything by the line: the search speaks for all of its workers, and nothing is drawn."""

    def __init__(self, line: Line, talk: Talk) -> None:
        super().__init__(talk)
        self.to_search = line

    @property
    def draws(self) -> bool:
        """Nothing is drawn."""
        return False

    def say(self, text: str) -> None:
        """Tell what is being done; not in answer to a signal, which may have come in the middle of a message."""
        if not self.quiet and text != SAVING:
            self.to_search.send(Said(text, warns=False))

    def warn(self, text: str) -> None:
        """Tell what is likely to be a mistake."""
        self.warnings.append(text)
        self.to_search.send(Said(text, warns=True))


class StopByLine(TrainerCallback):
    """Takes a request to stop that comes by the line for a signal, which training answers by saving after its step."""

    def __init__(self, line: Line, stop_request: StopRequest) -> None:
        self.to_search, self.stop_request = line, stop_request

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        if self.to_search.look() or self.stop_request.asked:
            ask_to_stop()


def work(line: Line) -> None:
    """Train each trial that comes by the line, until a request to stop does."""
    line.send(Ready())
    trial_run = line.receive()
    if not isinstance(trial_run, TrialRun):
        return
    report = LineReport(line, trial_run.session.report)
    trial_run = replace(trial_run, session=replace(trial_run.session, report=report))
    with StopRequest(report, reply="") as stop_request:
        while not (stop_request.asked or line.asked_to_stop):
            proposal = line.receive()
            if not isinstance(proposal, Proposal):
                return
            line.send(_attempted(trial_run, proposal, line, stop_request))
    line.send(Halted())


def _attempted(trial_run: TrialRun, proposal: Proposal, line: Line, stop_request: StopRequest) -> Outcome:
    """Train a trial, or leave the process with a last word by the line."""
    try:
        return attempt(trial_run, proposal, line, StopByLine(line, stop_request))
    except (Stopped, Interrupted, KeyboardInterrupt):
        line.send(Halted())
    except LlmkitError as error:
        line.send(Failed(type(error), str(error)))
    except Exception as error:
        line.send(_last_word(error))
    sys.exit(0)


def _last_word(error: Exception) -> Failed | Crashed:
    """Return what is said of an error that is not llmkit's own; a full disk is full for each trial."""
    known = translate(error)
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return Failed(ResourceError, f"no space left on the disk for {error.filename or 'the output'}")
    if known is not None:
        return Failed(type(known), str(known)) if "no space left" in str(known) else Crashed(str(known))
    with tempfile.NamedTemporaryFile("w", prefix="llmkit-", suffix=".log", delete=False, encoding="utf-8") as log:
        traceback.print_exception(error, file=log)
    return Crashed(f"{type(error).__name__}: {one_line(error, 200)}; the traceback is in {log.name}")
