"""Options that are written as text or YAML: `--set key=value`, --config files, suites, search spaces.

One way from what was written to the type of an option's field; the messages say what is wanted in its place.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

from llmkit.errors import OptionError, did_you_mean, listing

if typing.TYPE_CHECKING:
    from _typeshed import DataclassInstance

Group = TypeVar("Group", bound="DataclassInstance")


def parse_settings(
    pairs: Iterable[str] | None, known: Collection[str], owned: Mapping[str, str], what: str
) -> dict[str, Any]:
    """Return the settings as typed values; `owned` maps names that have a flag of their own to that flag.

    Raises:
        OptionError: a pair without `=`, an unknown name (the nearest is suggested), a name that has a flag.
    """
    settings: dict[str, Any] = {}
    problems: list[str] = []
    for pair in pairs or ():
        name, equals, text = pair.partition("=")
        if not equals:
            problems.append(f"--set takes key=value, not {pair!r}")
        elif name in owned:
            problems.append(f"--set {name}: use {owned[name]}")
        elif name not in known:
            problems.append(f"--set: {what} has no field {name!r}{did_you_mean(name, known)}")
        else:
            settings[name] = parse_value(text)
    if problems:
        raise OptionError(*problems)
    return settings


WORD_VALUES = {"true": True, "false": False, "none": None, "null": None}


def parse_value(text: str) -> Any:
    """Read a value: a number, true, false, none, a {mapping}, a [list], "text" in quotes; else text as it stands."""
    import yaml

    if text.lower() in WORD_VALUES:
        return WORD_VALUES[text.lower()]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    if text[:1] in {"{", "[", "'", '"'}:
        try:
            value = yaml.safe_load(text)
            return value if isinstance(value, str) else numbers(value)
        except yaml.YAMLError:
            return text
    return text


def numbers(value: object) -> Any:
    """Make numbers of the texts that YAML takes 1e-3 for."""
    if isinstance(value, dict):
        return {key: numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [numbers(item) for item in value]
    return parse_value(value) if isinstance(value, str) and value[:1] not in {"{", "["} else value


def from_mapping(group: Group, values: Mapping[str, Any], where: str) -> Group:
    """Return an option group with what a file gives where it has the default: flags win over the file.

    Args:
        group: as the command line made it.
        values: by the names of fields, in their types (see `field_values`); those of other groups are left out.
        where: begins each problem.

    Raises:
        OptionError: with all that is wrong: values out of their limits, or such as do not go together.
    """
    defaults = {field.name: field.default for field in fields(group)}
    given = {
        name: value for name, value in values.items() if name in defaults and getattr(group, name) == defaults[name]
    }
    try:
        return replace(group, **given)
    except OptionError as error:
        raise OptionError(*(f"{where}: {problem}" for problem in error.problems)) from None


def field_name(key: object) -> str:
    """Return the field that a key of a YAML mapping names: fail-under is fail_under."""
    return str(key).replace("-", "_")


def field_types(*groups: type[DataclassInstance]) -> dict[str, object]:
    """Return the type of each field of some option groups, by its name."""
    kinds: dict[str, object] = {}
    for group in groups:
        hints = typing.get_type_hints(group)
        kinds |= {field.name: hints[field.name] for field in fields(group)}
    return kinds


def other_names(*groups: type[DataclassInstance]) -> dict[str, str]:
    """Return the field of each further name that a flag has: choices is choice."""
    named: dict[str, str] = {}
    for group in groups:
        for name, hint in typing.get_type_hints(group, include_extras=True).items():
            declared = (getattr(each, "param_decls", None) for each in getattr(hint, "__metadata__", ()))
            flags = [flag for names in declared for flag in names or () if flag.startswith("--") and "/" not in flag]
            named |= {other: name for flag in flags if (other := field_name(flag.removeprefix("--"))) != name}
    return named


def field_values(
    mapping: Mapping[str, object], kinds: Mapping[str, object], where: str, problems: list[str]
) -> dict[str, Any]:
    """Return the values of a mapping as the types of their fields; null stays None, and takes back what was given.

    A phrase for each value of another type is added to `problems`.
    """
    values: dict[str, Any] = {}
    for name, value in mapping.items():
        try:
            values[name] = None if value is None else convert(value, kinds[name])
        except ValueError as error:
            problems.append(f"{where}: {name} must be {error}, not {value!r}")
    return values


def convert(value: object, kind: object) -> Any:
    """Return a YAML value as the type of an option's field.

    Raises:
        ValueError: it is something else; the message says what is wanted.
    """
    kind = main_type(kind)
    if typing.get_origin(kind) is list:
        return list(repeated(value))
    if typing.get_origin(kind) is typing.Literal:
        choices = typing.get_args(kind)
        if value not in choices or isinstance(value, bool):
            raise ValueError(f"one of {listing(choices)}")
        return value
    if kind is bool:
        if not isinstance(value, bool):
            raise ValueError("true or false")
        return value
    if kind is int or kind is float:
        return _number(value, kind)
    text = text_of(value)
    if kind is Path and not text:
        raise ValueError("a path")
    return Path(text) if kind is Path else text


def main_type(kind: object) -> object:
    """Return a field's type without its None: int of `int | None`."""
    union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    return next(part for part in (typing.get_args(kind) if union else (kind,)) if part is not type(None))


def _number(value: object, kind: type[int] | type[float]) -> int | float:
    if isinstance(value, str):  # YAML reads 1e-3 as text
        try:
            value = float(value)
        except ValueError:
            value = None
    if isinstance(value, bool) or not isinstance(value, int | float) or (kind is int and not float(value).is_integer()):
        raise ValueError("a whole number" if kind is int else "a number")
    return kind(value)


def repeated(value: object) -> Iterator[str]:
    """Yield the values of an option that repeats, a mapping's as key=value."""
    if isinstance(value, dict):
        yield from (f"{text_of(key)}={text_of(item)}" for key, item in value.items())
    elif isinstance(value, list):
        for item in value:
            yield from repeated(item) if isinstance(item, dict) else [text_of(item)]
    else:
        yield text_of(value)


def text_of(value: object) -> str:
    """Return a YAML value that is to be a text.

    Raises:
        ValueError: it is something else; the message says what is wanted.
    """
    if isinstance(value, bool):
        raise ValueError('text (in quotes where YAML reads "yes", "no", "on" and "off" as true or false)')
    if not isinstance(value, str | int | float):
        raise ValueError("text (in quotes, if YAML reads it as something else)")
    return str(value)
