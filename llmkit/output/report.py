"""The one output object: the result goes to stdout, the talk to stderr, and nothing else writes to either."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from llmkit.distributed.world import world
from llmkit.errors.extras import is_installed

if TYPE_CHECKING:
    from rich.console import Console


class Talk(Protocol):
    """How loud a command is, and in which form: `options.TalkOptions` has these."""

    @property
    def json(self) -> bool: ...
    @property
    def quiet(self) -> bool: ...
    @property
    def verbose(self) -> bool: ...


class Advance(Protocol):
    """What a progress bar gives to its loop: call it with the number of items done."""

    def __call__(self, steps: int = 1) -> None: ...


class Report:
    """Speaks for one command, as loud and in the form that its options ask for; of its processes for the main one."""

    def __init__(self, talk: Talk | None = None) -> None:
        self.json = bool(talk and talk.json)
        self.speaks = world().is_main
        self.quiet = bool(talk and talk.quiet) or not self.speaks
        self.verbose = bool(talk and talk.verbose)
        self.warnings: list[str] = []

    @property
    def table_wanted(self) -> bool:
        """Whether rows are for a person: stdout is a terminal and --json was not given."""
        return sys.stdout.isatty() and not self.json

    @property
    def draws(self) -> bool:
        """Whether what is going on is drawn, and redrawn: on a terminal or in a notebook, and --quiet was not given."""
        return not self.quiet and (sys.stderr.isatty() or _in_notebook())

    def say(self, text: str) -> None:
        """Tell what is being done or was chosen."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    def say_all(self, texts: Iterable[str]) -> None:
        """Tell several things, each on a line."""
        for text in texts:
            self.say(text)

    def debug(self, text: str) -> None:
        """Tell what only --verbose wants to know."""
        if self.verbose:
            self.say(text)

    def warn(self, text: str) -> None:
        """Tell what is likely to be a mistake."""
        self.warnings.append(text)
        self.say(f"warning: {text}")

    def error_line(self, text: str) -> None:
        """Tell what failed in a command that goes on without it; --quiet does not hide it."""
        if self.speaks:
            print(text, file=sys.stderr, flush=True)

    def line(self, text: str) -> None:
        """Write one line of the result."""
        if self.speaks:
            print(text, flush=True)

    def json_line(self, row: Mapping[str, object]) -> None:
        """Write one JSON line of the result."""
        self.line(to_json(row))

    def stream(self, text: str) -> None:
        """Write a piece of streamed text."""
        if not self.speaks:
            return
        sys.stdout.write(text)
        sys.stdout.flush()

    def table(self, title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Write rows as a table: drawn on a terminal, separated by tabs in a pipe."""
        if not self.speaks:
            return
        if not sys.stdout.isatty():
            for row in (header, *rows):
                self.line("\t".join(" ".join(cell.split()) for cell in row))
            return
        from rich.table import Table
        from rich.text import Text

        table = Table(title=title or None, title_justify="left", header_style="bold")
        for column, name in enumerate(header):
            numeric = bool(rows) and all(_looks_numeric(row[column]) for row in rows)
            table.add_column(Text(name), justify="right" if numeric else "left")
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))  # Text: a cell such as [/red] is no markup
        console().print(table)

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Advance]:
        """Show a progress bar on stderr when it is a terminal; yield the function that advances it."""
        if not self.draws:
            yield _no_advance
            return
        from rich.progress import Progress

        with Progress(console=console(stderr=True), transient=True) as bars:
            bar = bars.add_task(what, total=total)
            yield lambda steps=1: bars.advance(bar, steps)


def _in_notebook() -> bool:
    """Tell whether this is the process of a notebook where rich can draw: it needs ipywidgets for what changes."""
    return world().size == 1 and console(stderr=True).is_jupyter and is_installed("ipywidgets")


def _no_advance(steps: int = 1) -> None:
    """Stand in for a progress bar where none is wanted."""


def _looks_numeric(cell: str) -> bool:
    return cell.replace(".", "").replace("-", "").replace("%", "").replace(",", "").isdigit()


def console(stderr: bool = False) -> Console:
    """Return a rich console on stdout, or on stderr."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


def to_json(value: object, indent: int | None = None) -> str:
    """Serialize to JSON that any reader accepts: NaN and infinity become null."""
    return json.dumps(_plain(value), ensure_ascii=False, indent=indent, allow_nan=False)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((_plain(item) for item in value), key=str)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:  # a numpy or torch scalar
        value = value.item()
    if isinstance(value, float) and not (value == value and abs(value) != float("inf")):
        return None
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)


def quiet_libraries(talk: Talk, offline: bool = False) -> None:
    """Set what the libraries read at import: the network switch, and bars only on a terminal.

    Call before transformers, datasets or huggingface_hub are imported.
    """
    if offline:
        os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")
    if talk.quiet or not sys.stderr.isatty():
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "info" if talk.verbose else "error")
    os.environ.setdefault("HF_HUB_VERBOSITY", "info" if talk.verbose else "error")
    os.environ.setdefault("DATASETS_VERBOSITY", "info" if talk.verbose else "critical")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
