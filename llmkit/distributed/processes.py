"""Processes of this machine: a port for them to meet at, and how one ends with the one that started it."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys

SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux, in linux/prctl.h
LOOPBACK = "127.0.0.1"


def free_port(host: str = LOOPBACK) -> int:
    """Return a port of an address of this machine at which nobody listens now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def end_with_parent(parent: int, number: int = signal.SIGKILL) -> None:
    """Let the kernel send this process a signal as soon as its parent is gone, by SIGKILL too; on Linux alone.

    A process that came too late, whose parent is gone already, leaves at once.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, number)
    if os.getppid() != parent:
        os._exit(137)
