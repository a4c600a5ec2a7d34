"""One run of one way: how long, how much memory, what it wrote. Children get the environment of a user's shell."""

from __future__ import annotations

import os
import selectors
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pairs.ways import ROOT, Output, Way


class WayFailed(Exception):
    """A command did not end as its row expects."""


@dataclass(frozen=True)
class Measured:
    """The figures of one run."""

    seconds: float
    peak_mb: float
    rate: float | None


@dataclass
class Copy:
    """A child under way: its standard output in pieces, and when the first and the last of them came."""

    process: subprocess.Popen[bytes]
    out: int  # the file descriptor to read
    errors: IO[bytes]
    pieces: list[bytes]
    times: list[float]


def environment(cache: Path) -> dict[str, str]:
    """Return a user's environment, for this checkout, without the network, with a cache of the benchmark's own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LLMKIT_", "PYTHON"))}
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "LLMKIT_CACHE": str(cache),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(cache / "datasets"),
    }


def clear(file: Path | None) -> None:
    if file is None:
        return
    if file.is_dir():
        shutil.rmtree(file)
    file.unlink(missing_ok=True)
    file.parent.mkdir(parents=True, exist_ok=True)


def measure(way: Way, cache: Path) -> tuple[Measured, Output]:
    """Run a way once; raises WayFailed when it does not end as it should."""
    clear(way.file)
    given = environment(cache)
    started = time.perf_counter()
    copies = [begin(way, given) for _ in range(way.copies)]
    read(copies)
    peaks = [end(copy, way) for copy in copies]
    seconds = time.perf_counter() - started
    first = copies[0]
    written_in = first.times[-1] - first.times[0] if first.times else 0.0
    output = Output(b"".join(first.pieces).decode(errors="replace"), written_in, way.file)
    rate = way.rate(output) if way.rate is not None else None
    return Measured(round(seconds, 4), round(max(peaks), 1), rate if rate is None else round(rate, 3)), output


def begin(way: Way, given: dict[str, str]) -> Copy:
    """Start a child, with a pipe or a terminal for its standard output."""
    errors = tempfile.TemporaryFile()  # noqa: SIM115 (read after the process has ended)
    out, theirs = os.openpty() if way.terminal else os.pipe()
    process = subprocess.Popen(way.command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=errors, env=given, cwd=ROOT)
    os.close(theirs)
    return Copy(process, out, errors, [], [])


def read(copies: list[Copy]) -> None:
    """Take what the children write, piece by piece, until all have closed their standard output."""
    with selectors.DefaultSelector() as selector:
        for copy in copies:
            selector.register(copy.out, selectors.EVENT_READ, copy)
        while selector.get_map():
            for key, _ in selector.select():
                piece = piece_of(key.fd)
                if not piece:
                    selector.unregister(key.fd)
                    os.close(key.fd)
                    continue
                key.data.pieces.append(piece)
                key.data.times.append(time.perf_counter())


def piece_of(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 16)
    except OSError:  # how a terminal says that nobody writes to it any more
        return b""


def end(copy: Copy, way: Way) -> float:
    """Wait for a child, and return its peak memory in MB."""
    _, status, usage = os.wait4(copy.process.pid, 0)
    code = copy.process.returncode = os.waitstatus_to_exitcode(status)
    with copy.errors as errors:
        errors.seek(0)
        said = errors.read().decode(errors="replace")
    if (code != 0) != way.fails:
        raise WayFailed(f"{way.name} ended with {code}: {' '.join(way.command)}\n{said[-2000:]}")
    return usage.ru_maxrss / 1024
