"""A process that does not outlive the one that started it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux, in linux/prctl.h


def end_with_parent(parent: int) -> None:
    """Let the kernel kill this process as soon as its parent is gone, by SIGKILL too; where there is no Linux, nothing.

    A process that came too late, whose parent is gone already, leaves at once.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
