"""Examples for the help pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def with_examples(*lines: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Attach example command lines to a command; the help page ends with them."""

    def attach(command: Callable[..., Any]) -> Callable[..., Any]:
        shown = (line.replace("[", r"\[") for line in lines)  # the page is rich markup
        command.epilog = "\n\n".join(["[bold]Examples[/bold]", *shown])  # type: ignore[attr-defined]
        return command

    return attach
