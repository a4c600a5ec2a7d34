"""A signal as a request to stop, whenever it comes."""

from __future__ import annotations

import os
import signal

from llmkit.output.report import Report
from llmkit.runs.interrupts import SAVING, StopRequest


class Writing(Report):
    """A report that is in the middle of a line."""

    def say(self, text: str) -> None:
        raise RuntimeError("reentrant call inside <_io.BufferedWriter name='<stderr>'>")


def test_a_signal_in_the_middle_of_a_line_is_answered_too(capfd):
    with StopRequest(Writing()) as stop:
        os.kill(os.getpid(), signal.SIGTERM)
    assert stop.asked
    assert SAVING in capfd.readouterr().err
