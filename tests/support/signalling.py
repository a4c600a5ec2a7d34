"""A report that sends signals to the training that it is told of."""

from __future__ import annotations

import signal
from contextlib import contextmanager

from llmkit.output.report import Report


class Signalling(Report):
    """Sends signals to this process: one at the end of a training step, another as soon as the first is heard."""

    def __init__(self, step: int, first: signal.Signals, second: signal.Signals | None = None) -> None:
        super().__init__()
        self.step, self.first, self.second = step, first, second

    @contextmanager
    def progress(self, what, total):
        done = 0

        def advance(steps: int = 1) -> None:
            nonlocal done
            done += steps
            if what == "training" and done == self.step:
                signal.raise_signal(self.first)

        yield advance

    def say(self, text: str) -> None:
        super().say(text)
        if "once more stops at once" in text and self.second is not None:
            signal.raise_signal(self.second)
