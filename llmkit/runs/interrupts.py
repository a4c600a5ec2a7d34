"""Ctrl-C and SIGTERM as a request: finish the step, save, stop. A second one stops at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from types import FrameType, TracebackType
from typing import Self

from llmkit.output.report import Report

WATCHED = (signal.SIGINT, signal.SIGTERM)
SignalHandler = Callable[[int, FrameType | None], object] | int | None  # as `signal.signal` returns it
SAVING = "stopping after this step to save; once more stops at once"


class StopRequest:
    """While the context lasts, `asked` tells whether one of the `watched` signals asked to stop; `reply` answers it."""

    def __init__(self, report: Report, reply: str = SAVING, watched: Sequence[signal.Signals] = WATCHED) -> None:
        self.report, self.reply, self.watched, self.asked = report, reply, watched, False
        self._previous: dict[signal.Signals, SignalHandler] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # Python allows handlers nowhere else
            self._previous = {number: signal.signal(number, self._note) for number in self.watched}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
            outer = getattr(handler, "__self__", None)
            if self.asked and isinstance(outer, StopRequest):  # what this one was about ended, what is around goes on
                outer.asked = True

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        if self.reply:
            try:
                self.report.say(self.reply)
            except RuntimeError:  # the signal came while stderr was written to, which cannot be begun anew
                os.write(2, f"\n{self.reply}\n".encode())


def ask_to_stop() -> None:
    """Ask the innermost of the requests that watch for signals, as one would; to ask it again changes nothing."""
    request = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    if isinstance(request, StopRequest):
        request.asked = True
