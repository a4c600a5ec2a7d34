"""Let a Typer command take option groups: one frozen dataclass becomes one set of flags."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from llmkit.errors import OptionError
from llmkit.options.urls import REFERENCES, unsigned

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Command = TypeVar("Command", bound=Callable[..., None])


def flag(*names: str, panel: str, help: str, **more: Any) -> Any:
    """Return a `typer.Option` that stands in the named help panel."""
    return typer.Option(*names, help=help, rich_help_panel=panel, **more)


def option_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Show Typer the fields of every dataclass parameter of `command` as flags.

    A field that is a dataclass itself, as the groups of a request are, gives its own fields.

    Raises:
        ValueError: when the command is defined, if two groups hold a flag of one name.
        OptionError: when the command is called, with the problems of all its groups together.
    """
    hints = typing.get_type_hints(command, include_extras=True)
    groups = {name: kind for name, kind in hints.items() if isinstance(kind, type) and dataclasses.is_dataclass(kind)}
    declared = inspect.signature(command).parameters.values()
    parameters = [p.replace(annotation=hints[p.name]) for p in declared if p.name not in groups]
    parameters += [flag for kind in groups.values() for flag in _flags(kind)]

    @functools.wraps(command)
    def run(**given: object) -> None:
        given = {name: unsigned(value) if name in REFERENCES else value for name, value in given.items()}
        problems: list[str] = []
        built = {name: _build(kind, given, problems) for name, kind in groups.items()}
        if problems:
            raise OptionError(*problems)
        command(**given, **built)

    flags = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
    run.__signature__ = inspect.Signature(flags)  # type: ignore[attr-defined]  # a name used twice is an error here
    run.__annotations__ = {flag.name: flag.annotation for flag in flags}
    return run


def _build(kind: type[DataclassInstance], given: dict[str, object], problems: list[str]) -> object:
    """Return the dataclass made of the values that it takes out of `given`; what is wrong is added to `problems`."""
    hints = typing.get_type_hints(kind)
    values = {
        field.name: _build(hints[field.name], given, problems)
        if dataclasses.is_dataclass(hints[field.name])
        else given.pop(field.name)
        for field in dataclasses.fields(kind)
    }
    try:
        return kind(**values)
    except OptionError as error:
        problems += error.problems
        return None


def _flags(kind: type[DataclassInstance]) -> list[inspect.Parameter]:
    hints = typing.get_type_hints(kind, include_extras=True)
    parameters = []
    for field in dataclasses.fields(kind):
        if dataclasses.is_dataclass(hints[field.name]):
            parameters += _flags(hints[field.name])
            continue
        default = inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default
        if default is not inspect.Parameter.empty:
            hints[field.name] = _of_one_type(hints[field.name])
        parameters.append(
            inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hints[field.name])
        )
    return parameters


def _of_one_type(hint: Any) -> Any:
    """Return the annotation of a flag of several types as one of text, which the flag's parser reads."""
    option = next((each for each in getattr(hint, "__metadata__", ()) if getattr(each, "parser", None)), None)
    return hint if option is None else Annotated[str | None, option]


def with_examples(*lines: str) -> Callable[[Command], Command]:
    """Attach example command lines to a command; the help page ends with them."""

    def attach(command: Command) -> Command:
        escaped = (line.replace("[", r"\[") for line in lines)  # the page is rich markup
        command.epilog = "\n\n".join(["[bold]Examples[/bold]", *escaped])  # type: ignore[attr-defined]
        return command

    return attach
