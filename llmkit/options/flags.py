"""Let a Typer command take option groups: one frozen dataclass becomes one set of flags."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable
from typing import Any

import typer

from llmkit.errors import OptionError


def flag(*names: str, panel: str, help: str, **more: Any) -> Any:
    """Return a `typer.Option` that stands in the named help panel."""
    return typer.Option(*names, help=help, rich_help_panel=panel, **more)


def option_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Show Typer the fields of every dataclass parameter of `command` as flags.

    Raises:
        ValueError: when the command is defined, if two groups hold a flag of one name.
        OptionError: when the command is called, with the problems of all its groups together.
    """
    hints = typing.get_type_hints(command, include_extras=True)
    groups = {name: kind for name, kind in hints.items() if dataclasses.is_dataclass(kind)}
    own = inspect.signature(command).parameters.values()
    parameters = [p.replace(annotation=hints[p.name]) for p in own if p.name not in groups]
    parameters += [flag for kind in groups.values() for flag in _flags(kind)]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        command(**_build(groups, given))

    shown = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
    run.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]  # a name used twice is an error here
    run.__annotations__ = {flag.name: flag.annotation for flag in shown}
    return run


def _build(groups: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    problems: list[str] = []
    for name, kind in groups.items():
        fields = {field.name: given.pop(field.name) for field in dataclasses.fields(kind)}
        try:
            given[name] = kind(**fields)
        except OptionError as error:
            problems += error.problems
    if problems:
        raise OptionError(*problems)
    return given


def _flags(kind: Any) -> list[inspect.Parameter]:
    hints = typing.get_type_hints(kind, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in dataclasses.fields(kind)
    ]


def with_examples(*lines: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Attach example command lines to a command; the help page ends with them."""

    def attach(command: Callable[..., Any]) -> Callable[..., Any]:
        shown = (line.replace("[", r"\[") for line in lines)  # the page is rich markup
        command.epilog = "\n\n".join(["[bold]Examples[/bold]", *shown])  # type: ignore[attr-defined]
        return command

    return attach
