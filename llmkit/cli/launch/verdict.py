"""Which of the ends of several ranks is the command's: the earliest that is a cause and not a consequence."""

from __future__ import annotations

import signal
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from llmkit.distributed.outcomes import Outcome
from llmkit.errors import one_line

ASKED = (2, 4, 5)  # what the user asked for is wrong, whichever rank noticed
STOPS = (75, 130)
INTERRUPTED = "interrupted, nothing was saved"


def verdict(ends: Mapping[int, Outcome], ranks: int, received: Sequence[int]) -> tuple[int, str]:
    """Return the exit code of a command on so many `ranks`, and what is said of it; nothing where a rank said it.

    `received` are the signals that the launcher was sent.
    """
    failed = [end for end in ends.values() if end.failed]
    first = ends[min(ends)] if ends else Outcome(0, 0)
    if not first.failed and all(end.consequence for end in failed):  # the main one left, and others waited for it
        return first.code, first.sentence
    causes = [end for end in failed if not end.consequence and end.code not in STOPS]
    if received and all(_by_signal(end) for end in causes):
        interrupted = 130 in {end.code for end in failed} or received[0] == signal.SIGINT
        return (130, INTERRUPTED) if interrupted else (128 + received[0], "")
    end = min(causes or failed, key=lambda end: end.time)
    same = {(cause.code, cause.sentence) for cause in causes} == {(end.code, end.sentence)}
    if not end.sentence or (same and len(causes) == ranks) or (end.rank == 0 and end.code in ASKED):
        return end.code, end.sentence
    return end.code, end.sentence if end.sentence.startswith("rank ") else f"rank {end.rank}: {end.sentence}"


def _by_signal(end: Outcome) -> bool:
    return end.code in {128 + signal.SIGINT, 128 + signal.SIGTERM, 128 + signal.SIGKILL}


def ended_without_words(
    ends: Mapping[int, Outcome], failures: Mapping[int, tuple[int, float]], killed: Collection[int], folder: Path
) -> dict[int, Outcome]:
    """Return the ends with those added of ranks that could not say how they ended, by their exit codes and times.

    Those that the launcher itself `killed`, or that torch ended by SIGTERM when another had failed, are consequences.
    """
    every = dict(ends)
    for rank, (code, when) in failures.items():
        if rank in ends:
            continue
        if code < 0:
            ended_here = rank in killed or code == -signal.SIGTERM
            words = "" if code == -signal.SIGKILL else _last_words(folder, rank)  # it came from outside, at any point
            said = f"rank {rank} {_of_signal(-code)}{words}"
            every[rank] = Outcome(rank, 128 - code, said, ended_here, float(when))
        else:
            said = f"rank {rank} ended with exit code {code}{_last_words(folder, rank)}"
            every[rank] = Outcome(rank, code, said, False, float(when))
    return every


def _of_signal(number: int) -> str:
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    return f"was killed by {name}" + (" (out of memory?)" if number == signal.SIGKILL else "")


def _last_words(folder: Path, rank: int) -> str:
    """Return the last line that a rank wrote to its stderr, behind a colon."""
    log = folder / f"stderr-{rank}"
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.exists() else []
    last = next((line for line in reversed(lines) if line.strip()), "")
    return f": {one_line(last, 200)}" if last else ""
