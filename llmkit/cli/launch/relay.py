"""What goes on beside a launch: signals handed to the ranks, and ranks ended that outlive one that failed."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from llmkit.cli.launch.fleet import Fleet
from llmkit.distributed.outcomes import outcomes
from llmkit.runs.interrupts import WATCHED, SignalHandler

GRACE = 10.0  # seconds that the others have when one failed: a collective of NCCL may never notice
LAST_GRACE = 5.0  # and when the user asked twice
START = 1.0  # seconds in which a rank that was just started says its number


class Relay:
    """While the context lasts, SIGINT and SIGTERM of this process are for its ranks, once each.

    A thread does it, for the main one may wait in C++ for other nodes, where Python handles no signal.
    """

    def __init__(self, folder: Path, fleet: Fleet) -> None:
        self.folder, self.fleet = folder, fleet
        self.received: list[int] = []
        self.killed: set[int] = set()
        self._sent: dict[int, int] = {}  # how many of the signals each rank was sent
        self._deadline: float | None = None
        self._asked_at = 0.0
        self._over = threading.Event()
        self._previous: dict[signal.Signals, SignalHandler] = {}
        self._reads, self._writes = socket.socketpair()
        self._wakeup = -1
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)

    def __enter__(self) -> Self:
        for end in (self._reads, self._writes):
            end.setblocking(False)
        if threading.current_thread() is threading.main_thread():  # Python allows handlers nowhere else
            self._wakeup = signal.set_wakeup_fd(self._writes.fileno(), warn_on_full_buffer=False)
            self._previous = {number: signal.signal(number, _leave_it) for number in WATCHED}
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if self._previous:
            signal.set_wakeup_fd(self._wakeup)
        self._reads.close()
        self._writes.close()

    def _run(self) -> None:
        while not self._over.is_set():
            ready, _, _ = select.select([self._reads], [], [], 0.1)
            if ready:
                self._note(self._reads.recv(64))
            self._look()

    def _note(self, numbers: bytes) -> None:
        for number in numbers:
            if number not in WATCHED:
                continue
            self.received.append(number)
            self._asked_at = time.monotonic()
            if len(self.received) == 2:
                self._end_in(LAST_GRACE)

    def _look(self) -> None:
        """Hand on what each rank was not sent yet; end those that had their time."""
        ranks = self._ranks()
        for rank, pid in ranks.items():
            for number in self.received[self._sent.get(rank, 0) :]:
                _send(pid, number)
                self._sent[rank] = self._sent.get(rank, 0) + 1
        if self.received and not ranks and time.monotonic() - self._asked_at > START:
            self._leave()
        if self._deadline is None and self._one_failed(ranks):
            self._end_in(GRACE)
        if self._deadline is not None and time.monotonic() > self._deadline:
            self.killed.update(rank for rank, pid in ranks.items() if _send(pid, signal.SIGKILL))

    def _end_in(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        self._deadline = end if self._deadline is None else min(self._deadline, end)

    def _ranks(self) -> dict[int, int]:
        """Return the process numbers of the ranks that have said theirs, those that ended too."""
        found = {}
        for path in self.folder.glob("pid-*"):
            if path.suffix != ".part":
                found[int(path.stem.partition("-")[2])] = int(path.read_text(encoding="utf-8"))
        return found

    def _one_failed(self, ranks: dict[int, int]) -> bool:
        ends = outcomes(self.folder)
        gone = (rank not in ends and not _is_child(pid) for rank, pid in ranks.items())
        return any(end.failed for end in ends.values()) or any(gone)

    def _leave(self) -> None:
        """End this process, of which no rank was started yet: it waits for other nodes."""
        shutil.rmtree(self.folder, ignore_errors=True)
        number = self.received[0]
        if number == signal.SIGINT:
            print("error: interrupted, nothing was saved", file=sys.stderr, flush=True)
        os._exit(128 + number)


def _leave_it(number: int, frame: FrameType | None) -> None:
    """Do nothing: the thread reads of the signal."""


def _is_child(pid: int) -> bool:
    """Tell whether a process is one that this one started and has not waited for."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _send(pid: int, number: int) -> bool:
    """Send a signal to a rank; False where it is gone."""
    if not _is_child(pid):
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False
