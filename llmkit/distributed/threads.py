"""How many threads a process computes with, and how they wait: so that two processes of one machine do not crawl.

The threads of OpenMP spin while they wait for one another, which takes the core away from whatever else runs. Two
processes of two threads on two cores: 180 ms a token each instead of 60, with no gain for one alone (56 ms either way).
"""

from __future__ import annotations

import math
import os
from pathlib import Path

WAIT_POLICY, SPIN_COUNT, THREADS = "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS"
SHORT_SPIN = "1000"  # turns, some microseconds: small products follow one another faster than a thread falls asleep
QUOTA_V2 = Path("/sys/fs/cgroup/cpu.max")  # "200000 100000": microseconds in each period, or "max 100000"
QUOTA_V1 = (Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us"))


def share_cores() -> None:
    """Let the threads of this process wait without spinning, and be no more than its container has cores.

    What OpenMP reads is set, and only where the user has not: OMP_WAIT_POLICY (or GOMP_SPINCOUNT), OMP_NUM_THREADS. It
    is read once, when torch is first imported.
    """
    if WAIT_POLICY not in os.environ and SPIN_COUNT not in os.environ:
        os.environ[WAIT_POLICY] = "passive"  # every OpenMP knows it; GNU's is told to spin shortly
        os.environ[SPIN_COUNT] = SHORT_SPIN
    cores = usable_cores()
    if THREADS not in os.environ and cores < allowed_cores():
        os.environ[THREADS] = str(cores)


def usable_cores() -> int:
    """Return the number of cores that this process may use: those it may run on, within the quota of its container."""
    quota = container_quota()
    return allowed_cores() if quota is None else min(allowed_cores(), max(1, math.floor(quota)))


def allowed_cores() -> int:
    """Return the number of cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def container_quota() -> float | None:
    """Return how many cores' time the container of this process gets, or None where nothing limits it.

    Docker's --cpus and the CPU limits of Kubernetes set it; the number of cores that the system tells is not changed.
    """
    for read in (_quota_v2, _quota_v1):
        try:
            quota, period = read()
        except (OSError, ValueError):
            continue
        if quota > 0 and period > 0:
            return quota / period
    return None


def _quota_v2() -> tuple[int, int]:
    quota, period = QUOTA_V2.read_text(encoding="ascii").split()
    return int(quota), int(period)


def _quota_v1() -> tuple[int, int]:
    quota, period = (int(path.read_text(encoding="ascii")) for path in QUOTA_V1)
    return quota, period
