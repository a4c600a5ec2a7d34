"""`--set key=value`: the one door to the rest of a library's options, checked by name."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from llmkit.errors import OptionError, did_you_mean


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


WORDS = {"true": True, "false": False, "none": None, "null": None}


def parse_value(text: str) -> Any:
    """Read a value: a number, true, false, none, a {mapping}, a [list], "text" in quotes; else text as it stands."""
    import yaml

    if text.lower() in WORDS:
        return WORDS[text.lower()]
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


def numbers(value: Any) -> Any:
    """Make numbers of the texts that YAML takes 1e-3 for."""
    if isinstance(value, dict):
        return {key: numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [numbers(item) for item in value]
    return parse_value(value) if isinstance(value, str) and value[:1] not in {"{", "["} else value
