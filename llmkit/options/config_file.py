"""`--config FILE`: options from a YAML file. Flags win over the file, the file over the defaults."""

from __future__ import annotations

from pathlib import Path

import typer

from llmkit.errors import OptionError, did_you_mean, one_line
from llmkit.options.overrides import field_name

MAY_BE_EMPTY = ("context", "pair", "prefix", "system", "system_instruction", "texts", "prompts")  # texts that are read


def read_config(context: typer.Context, path: Path | None) -> Path | None:
    """Make the file's values the defaults of the command that `context` parses.

    Raises:
        OptionError: when there is no such file, it is not a YAML mapping, or it names an option that the command lacks.
    """
    if path is None or context.resilient_parsing:
        return path
    known = {parameter.name: parameter for parameter in context.command.params if parameter.name}
    flags = {flag: name for name, parameter in known.items() for flag in parameter.opts if flag.startswith("--")}
    others = {field_name(flag.removeprefix("--")): name for flag, name in flags.items()}
    defaults: dict[str, object] = {}
    for key, value in _read(path).items():
        name = field_name(key)
        name = name if name in known else others.get(name, name)
        if name not in known or name == "config":
            raise OptionError(f"{path}: {context.info_name} has no option {key!r}{did_you_mean(name, known)}")
        if isinstance(value, dict):  # set: {weight_decay: 0.1} reads as --set weight_decay=0.1
            value = [f"{inner}={text}" for inner, text in value.items()]
        if value == "" and name not in MAY_BE_EMPTY:
            raise OptionError(f"{path}: {key} must not be empty")
        defaults[name] = value
    context.default_map = defaults
    return path


def _read(path: Path) -> dict[str, object]:
    values = read_yaml(path, "--config")
    if not isinstance(values, dict):
        raise OptionError(f"--config {path} must hold a mapping such as `epochs: 3`")
    return values


def read_yaml(path: Path, flag: str, otherwise: str = "not YAML") -> object:
    """Return what the file that a flag names holds.

    Raises:
        OptionError: there is no such file, or it is `otherwise`.
    """
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionError(f"{flag} {path}: {error.strerror or error}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise OptionError(f"{flag} {path} is {otherwise}: {one_line(error)}") from None
