"""`--search N --workers M`: the processes that train the trials of one search at the same time.

A worker is a process of its own, with a GPU or a share of the cores of its own, so that one that is killed, out of
memory or broken by an error takes nothing along: its trial has failed, and another process takes its place. It is sent
the planned training once, pickled: rows are read, checked and encoded by the search alone, and all trials are of the
same ones. (A command line of its own for each trial would read and check them N times, take seconds of imports each
time, and know of no other trial to be pruned by.) It is given numbers and values by the line, and says by the line what
it measures; it never opens the study, which the search alone does.

Ctrl-C reaches the search alone, which asks each worker to stop by the line: a worker is in a session of its own.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import Self

from transformers.utils import HF_MODULES_CACHE

from llmkit.errors import ResourceError
from llmkit.output.report import Report
from llmkit.runs import RunFolder, read_run
from llmkit.training.series.attempt import Judge, Outcome, Proposal
from llmkit.training.series.devices import environments
from llmkit.training.series.messages import Crashed, Failed, Halted, Measured, Ready, Said, Stop, Verdict
from llmkit.training.series.trial import TrialRun

DEATHS = 3  # in a row, after which it is not the trials that are at fault
LOOK_AGAIN = 0.5  # seconds after which a signal is looked for


@dataclass(frozen=True)
class Ended:
    """A trial that a worker has come to the end of."""

    proposal: Proposal
    outcome: Outcome
    seconds: float


@dataclass
class Assignment:
    """What a worker trains now, who judges it, and since when."""

    proposal: Proposal
    judge: Judge
    begun: float

    def ended(self, outcome: Outcome) -> Ended:
        """Return the trial as one that has ended now."""
        return Ended(self.proposal, outcome, time.monotonic() - self.begun)


class Worker:
    """One process, and the search's end of the line to it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self.line, theirs = Pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "llmkit.training.series", str(theirs.fileno()), str(os.getpid())],
            pass_fds=[theirs.fileno()],
            env={**os.environ, **environment, "PYTHONPATH": _import_path(), "PYTHONSAFEPATH": "1"},
            stdin=subprocess.DEVNULL,
            stdout=2,  # what libraries print is no result
            start_new_session=True,
        )
        theirs.close()
        self.ready = self.halted = False
        self.assignment: Assignment | None = None
        self.crash: str | None = None

    def kill(self) -> None:
        """End the process at once."""
        self.process.kill()
        self.process.wait()
        self.line.close()

    def death(self) -> str:
        """Wait for the end of a process whose line is cut, and return what is known of it."""
        try:
            code = self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self.line.close()
        if self.crash is not None:
            return self.crash
        if code < 0:
            name = signal.Signals(-code).name
            memory = ", as one that is out of memory is" if -code == signal.SIGKILL else ""
            return f"its process was ended by {name}{memory}"
        return f"its process ended with code {code}"


class Workers:
    """The processes of a search; in its context they live, and no longer."""

    def __init__(self, trial_run: TrialRun, count: int) -> None:
        self.report = trial_run.session.report
        session = replace(trial_run.session, report=Report(self.report))
        self._training = pickle.dumps(replace(trial_run, session=session))
        self._environments = environments(count, session.options)
        self._workers: list[Worker] = []
        self._deaths, self._asked_to_stop = 0, False
        self.were_stopped = False  # by a signal that came to one of them

    def __enter__(self) -> Self:
        self._workers = [Worker(environment) for environment in self._environments]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.kill()

    @property
    def in_hand(self) -> set[int]:
        """The numbers of the trials that are trained now."""
        return {worker.assignment.proposal.number for worker in self._workers if worker.assignment is not None}

    @property
    def are_wanted(self) -> bool:
        """Whether one of them could be given a trial."""
        return any(worker.assignment is None for worker in self._workers)

    def train(self, proposal: Proposal, judge: Judge) -> None:
        """Give a trial to one that has none; one that still imports gets it when it is ready."""
        worker = next(worker for worker in self._workers if worker.assignment is None)
        worker.assignment = Assignment(proposal, judge, time.monotonic())
        if worker.ready:
            self._send(worker, proposal)

    def stop(self) -> None:
        """Ask each of them to finish its step, to save and to end."""
        if not self._asked_to_stop:
            self._asked_to_stop = True
            for worker in self._workers:
                self._send(worker, Stop())

    def wait(self) -> Iterator[Ended]:
        """Wait for a word of any of them, but not for long, and yield the trials that have ended.

        Raises:
            LlmkitError: one met what every trial would meet.
            ResourceError: several in a row died without a trial that came to its end.
        """
        by_line = {worker.line: worker for worker in self._workers}
        for line in wait(list(by_line), timeout=LOOK_AGAIN):
            assert isinstance(line, Connection)
            try:
                ended = self._hear(by_line[line], line.recv())
            except (EOFError, OSError, pickle.UnpicklingError):
                ended = self._bury(by_line[line])
            if ended is not None:
                yield ended

    def _hear(self, worker: Worker, message: object) -> Ended | None:
        """Answer a worker; return its trial where that is the end of it."""
        assignment = worker.assignment
        match message:
            case Ready():
                worker.ready = True
                self._send_training(worker)
            case Said():
                self._say(worker, message)
            case Measured() if assignment is not None:
                self._send(worker, Verdict(assignment.judge.prunes(message.measured, message.value)))
            case Outcome() if assignment is not None:
                worker.assignment = None
                self._deaths = 0 if message.state != "failed" else self._deaths
                return assignment.ended(message)
            case Failed():
                raise message.kind(message.sentence)
            case Crashed():
                worker.crash = message.problem
            case Halted():
                worker.halted = self.were_stopped = True
        return None

    def _send_training(self, worker: Worker) -> None:
        with suppress(OSError):  # its end is heard as any other's
            worker.line.send_bytes(self._training)
        if worker.assignment is not None:
            worker.assignment.begun = time.monotonic()  # the imports are no part of a trial
            self._send(worker, worker.assignment.proposal)

    def _send(self, worker: Worker, message: object) -> None:
        with suppress(OSError):
            worker.line.send(message)

    def _say(self, worker: Worker, message: Said) -> None:
        number = worker.assignment.proposal.number if worker.assignment else None
        text = message.text if number is None else f"trial {number}: {message.text}"
        (self.report.warn if message.warns else self.report.say)(text)

    def _bury(self, worker: Worker) -> Ended | None:
        """Part with a process that has ended, and put another in its place; its trial has failed.

        Raises:
            ResourceError: it is the last of several in a row.
        """
        problem, assignment = worker.death(), worker.assignment
        self._workers.remove(worker)
        if worker.halted or self._asked_to_stop:  # what it trained is gone on with by the same command
            return None
        self._deaths += 1
        if self._deaths >= DEATHS:
            raise ResourceError(
                f"{DEATHS} workers in a row ended in the middle of a trial, the last: {problem}; --workers 1 --resume "
                "goes on in one process, where the error ends the command"
            )
        self._workers.append(Worker(worker.environment))
        if assignment is None:
            return None
        folder = RunFolder(assignment.proposal.path)
        if read_run(folder.path) is not None:
            folder.update(status="failed")
        return assignment.ended(Outcome("failed", problem=problem))


def _import_path() -> str:
    """Return where a process finds this llmkit, be it installed or not, and the code that came with a model."""
    paths = [str(Path(__file__).parents[3]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.pathsep.join([*paths, *([HF_MODULES_CACHE] if HF_MODULES_CACHE in sys.path else [])])
