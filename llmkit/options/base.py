"""What every option group is: a frozen dataclass that refuses to exist with a bad value."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from llmkit.errors import OptionError
from llmkit.options.config_file import read_config
from llmkit.options.flags import flag


def print_version(asked: bool) -> None:
    """Print the version and leave, when it is asked for."""
    if asked:
        from importlib import metadata

        print(f"llmkit {metadata.version('llmkit')}")
        raise typer.Exit


@dataclass(frozen=True, kw_only=True)
class Options:
    """A group of options that refuses to exist with a bad value."""

    def __post_init__(self) -> None:
        problems = tuple(self.problems())
        if problems:
            raise OptionError(*problems)

    def problems(self) -> Iterator[str]:
        """Yield a phrase for each value out of its limits."""
        yield from ()

    def at_least(self, least: float, *names: str) -> Iterator[str]:
        """Yield a phrase for each named option that is set and lower than `least`."""
        for name in names:
            value = getattr(self, name)
            if value is not None and not value >= least:  # so that NaN fails too
                yield f"--{name.replace('_', '-')} must be at least {least}, not {value}"

    def writable(self, path: Path | None, flag: str = "--output") -> Iterator[str]:
        """Yield a phrase when nothing can be made at `path`; known now, not after an hour of work."""
        if path is not None:
            parent = next(folder for folder in path.absolute().parents if folder.exists())
            if not parent.is_dir() or not os.access(parent, os.W_OK):
                yield f"{flag} {str(path)!r} cannot be made: {str(parent)!r} is no folder that can be written to"

    def writable_file(self, path: Path | None, flag: str) -> Iterator[str]:
        """Yield a phrase when no file can be made at `path`."""
        yield from self.writable(path, flag)
        if path is not None and path.is_dir():
            yield f"{flag} {str(path)!r} is a folder; a file is wanted"


@dataclass(frozen=True, kw_only=True)
class TalkOptions(Options):
    """How llmkit talks; every command takes it."""

    json: Annotated[bool, flag("--json/--no-json", panel="Output", help="Print the result as JSON.")] = False
    quiet: Annotated[
        bool, flag("--quiet/--no-quiet", "-q", panel="Output", help="Print only the result and errors.")
    ] = False
    verbose: Annotated[bool, flag("--verbose/--no-verbose", "-v", panel="Output", help="Say more on the way.")] = False
    dry_run: Annotated[
        bool,
        flag("--dry-run/--no-dry-run", panel="Output", help="Check everything up to the first costly step, then stop."),
    ] = False
    version: Annotated[
        bool, flag("--version", panel="Output", help="Print llmkit's version.", is_eager=True, callback=print_version)
    ] = False
    config: Annotated[
        Path | None,
        flag("--config", panel="Output", help="YAML file of options; flags win.", is_eager=True, callback=read_config),
    ] = None

    def problems(self) -> Iterator[str]:
        if self.quiet and self.verbose:
            yield "--quiet and --verbose contradict each other"


def seed_problems(seed: int) -> Iterator[str]:
    """Yield a phrase for a seed that the random generators do not take."""
    if seed < 0:
        yield f"--seed must be at least 0, not {seed}"
    if seed >= 2**32:
        yield f"--seed must be less than 2**32, not {seed}"


def limit_problems(flag: str, pairs: list[str] | None, example: str) -> Iterator[str]:
    """Yield a phrase for each pair that is not metric=number."""
    names = []
    for pair in pairs or ():
        name, _, value = pair.partition("=")
        if not name or not is_number(value):
            yield f"{flag} takes metric=number ({example}), not {pair!r}"
        if name in names:
            yield f"{flag} names {name!r} twice; one limit is wanted"
        names.append(name)


def limits(pairs: list[str] | None) -> dict[str, float]:
    """Return the numbers of metric=number pairs by metric."""
    return {name: float(value) for name, _, value in (pair.partition("=") for pair in pairs or ())}


def is_number(text: str) -> bool:
    """Tell whether `text` is a number other than NaN."""
    try:
        return float(text) == float(text)
    except ValueError:
        return False
