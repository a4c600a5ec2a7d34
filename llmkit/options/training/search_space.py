"""What a search for a better recipe varies, and between which limits."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from llmkit.errors import OptionError, did_you_mean, listing
from llmkit.options import AdapterOptions, Options, TrainingOptions, TunedRecipeOptions
from llmkit.options.config_file import read_yaml
from llmkit.options.overrides import field_types, main_type, numbers

if TYPE_CHECKING:
    from optuna import Trial

Value = float | int | str

SEARCHED: dict[str, Options] = {  # the group whose limits hold for each name that can be searched
    **dict.fromkeys(("learning_rate", "batch_size", "epochs"), TrainingOptions()),
    **dict.fromkeys(("weight_decay", "warmup", "label_smoothing", "accumulate", "schedule"), TunedRecipeOptions()),
    **dict.fromkeys(("lora_rank", "lora_alpha"), AdapterOptions(lora=True)),
}


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; `log`: of like chance per factor; `integer`: no fractions."""

    low: float
    high: float
    log: bool = False
    integer: bool = False

    def suggest(self, trial: Trial, name: str) -> Value:
        """Let an optuna trial choose."""
        number: float = (
            trial.suggest_int(name, int(self.low), int(self.high), log=self.log)
            if self.integer
            else trial.suggest_float(name, self.low, self.high, log=self.log)
        )
        return number

    def holds(self, value: object) -> bool:
        """Tell whether it could choose that."""
        return isinstance(value, int | float) and self.low <= value <= self.high and not (self.integer and value % 1)

    @property
    def ends(self) -> tuple[Value, ...]:
        """The extremes."""
        return self.low, self.high

    def as_dict(self) -> dict[str, float]:
        """Return what run.json holds of it."""
        return {"low": self.low, "high": self.high, "log": self.log, "whole": self.integer}

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}{' (log)' if self.log else ''}"


@dataclass(frozen=True)
class Categorical:
    """Values in a list."""

    values: tuple[Value, ...]

    def suggest(self, trial: Trial, name: str) -> Value:
        """Let an optuna trial choose."""
        value: Value = trial.suggest_categorical(name, list(self.values))
        return value

    def holds(self, value: object) -> bool:
        """Tell whether it could choose that."""
        return value in self.values

    @property
    def ends(self) -> tuple[Value, ...]:
        """All of them."""
        return self.values

    def as_dict(self) -> dict[str, tuple[Value, ...]]:
        """Return what run.json holds of it."""
        return {"values": self.values}

    def __str__(self) -> str:
        return listing(self.values).replace(", ", "|")


Distribution = Range | Categorical
Space = Mapping[str, Distribution]


def described(space: Space) -> dict[str, Mapping[str, object]]:
    """Return what run.json holds of a space."""
    return {name: distribution.as_dict() for name, distribution in space.items()}


def read_space(path: Path) -> Space:
    """Read a YAML file of `name: {low:, high:, log:}` and `name: [value, value]`.

    Raises:
        OptionError: an unknown name (the nearest is suggested), an impossible range, or a value out of its limits.
    """
    content = read_yaml(path, "--search-space")
    if not isinstance(content, dict) or not content:
        raise OptionError(
            f"--search-space {path} must hold a mapping such as `learning_rate: {{low: 1e-5, high: 1e-3}}`"
        )
    problems: list[str] = []
    space: dict[str, Distribution] = {}
    for name, value in content.items():
        try:
            space[str(name)] = _distribution(str(name), numbers(value))
        except OptionError as error:
            problems += error.problems
    if problems:
        raise OptionError(*(f"--search-space {path}: {problem}" for problem in problems))
    return space


def _distribution(name: str, value: object) -> Distribution:
    if name not in SEARCHED:
        known = listing(SEARCHED)
        raise OptionError(f"there is no {name!r} to search{did_you_mean(name, SEARCHED)}; there are {known}")
    kind = main_type(field_types(type(SEARCHED[name]))[name])
    distribution = _categorical(name, value, kind) if isinstance(value, list) else _range(name, value, kind)
    for end in distribution.ends:
        replace(SEARCHED[name], **{name: end})  # refuses what the flag refuses
    return distribution


def _range(name: str, value: object, kind: object) -> Range:
    form = f"{name} takes {{low: NUMBER, high: NUMBER}}, with log: true if wanted, or a list of values"
    numeric = kind is int or kind is float
    if not numeric or not isinstance(value, dict) or not {"low", "high"} <= set(value) <= {"low", "high", "log"}:
        raise OptionError(f"{form}, not {value!r}")
    low, high, log = value["low"], value["high"], value.get("log", False)
    if not (_is_number(low) and _is_number(high) and isinstance(log, bool)):
        raise OptionError(f"{form}, not {value!r}")
    if not low < high:
        raise OptionError(f"{name}: low must be less than high, and {low:g} is not less than {high:g}")
    if log and not low > 0:
        raise OptionError(f"{name}: a range with log: true begins above 0, not at {low:g}")
    integer = isinstance(low, int) and isinstance(high, int) and (kind is int or name == "epochs")
    if kind is int and not integer:
        raise OptionError(f"{name} takes whole numbers, not {low:g} to {high:g}")
    return Range(low, high, log, integer)


def _categorical(name: str, values: list[Value], kind: object) -> Categorical:
    if len(values) < 2 or len(set(map(str, values))) < len(values):
        raise OptionError(f"{name} takes two or more different values, not {values!r}")
    allowed = typing.get_args(kind)  # of a Literal
    for value in values:
        if allowed and value not in allowed:
            raise OptionError(f"{name} takes {listing(allowed)}, not {value!r}{did_you_mean(str(value), allowed)}")
        if not allowed and not (_is_number(value) and (kind is float or isinstance(value, int))):
            raise OptionError(f"{name} takes {'whole ' if kind is int else ''}numbers, not {value!r}")
    return Categorical(tuple(values))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")
