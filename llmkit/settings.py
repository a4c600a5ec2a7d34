"""`--set key=value`: the one door to the rest of a library's options, checked by name."""

from __future__ import annotations

import re
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


def parse_value(text: str) -> Any:
    """Read a value as YAML does, and 1e-4 as the number that it is."""
    import yaml

    if re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", text):
        return float(text)
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text
