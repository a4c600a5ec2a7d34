"""A row of the benchmark, and the ways of doing the same that it compares."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pairs.inputs import Inputs

ROOT = Path(__file__).parents[3]
PLAIN = Path(__file__).parents[1] / "plain"


@dataclass(frozen=True)
class Output:
    """What one run of a way left: its standard output, the seconds between its first and last piece, its file."""

    text: str
    written_in: float
    file: Path | None


@dataclass(frozen=True)
class Way:
    """One way of doing what a row is about: a command, and how its rate once running is read from what it left."""

    name: str
    command: tuple[str, ...]
    kind: str = "plain"  # llmkit, plain; floor: what nothing can be faster than; peer: an optional package
    file: Path | None = None  # where it writes, cleared before each run
    rate: Callable[[Output], float | None] | None = None
    terminal: bool = False  # its standard output is a terminal, where text is streamed
    copies: int = 1  # so many at once; the seconds are those until the last has ended
    fails: bool = False  # ends with an error, which is what is timed
    absent: str = ""  # why it cannot run here


@dataclass(frozen=True)
class Row:
    """One case: the first way is llmkit's, the others are what it is held against."""

    name: str
    what: str
    ways: Callable[[Inputs], list[Way]]
    seconds: int  # of one round, on two cores
    quality: Callable[[Mapping[str, Output], Inputs], str] | None = None  # of each round
    once: Callable[[Inputs], str] | None = None  # quality that is judged in one round, beside the timing
    unit: str = ""  # of the rate
    of_memory: bool = False  # peak memory is what is compared, not time
    long: bool = False  # only with --long


def llmkit(*arguments: object, name: str = "llmkit", **rest: object) -> Way:
    """Return llmkit's own way: the command of this checkout, with these arguments."""
    command = (sys.executable, "-m", "llmkit", *(str(argument) for argument in arguments))
    return Way(name, command, kind="llmkit", **rest)  # type: ignore[arg-type]


def plain(name: str, script: str, *arguments: object, **rest: object) -> Way:
    """Return the way of a script in `plain/`."""
    command = (sys.executable, str(PLAIN / script), *(str(argument) for argument in arguments))
    return Way(name, command, **rest)  # type: ignore[arg-type]


def peer(package: str, module: str, way: Way, absent: str = "") -> Way:
    """Return the way of an optional package, which says so where it is not installed."""
    if importlib.util.find_spec(module) is None:
        absent = "not installed"
    return replace(way, name=package, kind="peer", absent=absent)
