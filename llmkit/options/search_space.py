"""What a search for a better recipe varies, and between which limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from llmkit.errors import OptionError, did_you_mean, listing
from llmkit.options import AdapterOptions, TrainingOptions, TunedRecipeOptions
from llmkit.options.config_file import read_yaml
from llmkit.options.overrides import numbers
from llmkit.options.training import Schedule

WHOLE = ("batch_size", "accumulate", "lora_rank")
WORDS: dict[str, tuple[str, ...]] = {"schedule": get_args(Schedule)}
GROUPS: dict[type[Any], tuple[str, ...]] = {  # whose limits hold for what is searched
    TrainingOptions: ("learning_rate", "batch_size", "epochs"),
    TunedRecipeOptions: ("weight_decay", "warmup", "label_smoothing", "accumulate", "schedule"),
    AdapterOptions: ("lora_rank", "lora_alpha"),
}
NAMES = tuple(name for names in GROUPS.values() for name in names)


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; `log`: of like chance per factor; `whole`: no fractions."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def suggest(self, trial: Any, name: str) -> Any:
        """Let an optuna trial choose."""
        if self.whole:
            return trial.suggest_int(name, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(name, self.low, self.high, log=self.log)

    def holds(self, value: Any) -> bool:
        """Tell whether it could choose that."""
        return isinstance(value, int | float) and self.low <= value <= self.high and not (self.whole and value % 1)

    @property
    def ends(self) -> tuple[Any, ...]:
        """The extremes."""
        return self.low, self.high

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}{' (log)' if self.log else ''}"


@dataclass(frozen=True)
class Choice:
    """Some values."""

    values: tuple[Any, ...]

    def suggest(self, trial: Any, name: str) -> Any:
        """Let an optuna trial choose."""
        return trial.suggest_categorical(name, list(self.values))

    def holds(self, value: Any) -> bool:
        """Tell whether it could choose that."""
        return value in self.values

    @property
    def ends(self) -> tuple[Any, ...]:
        """All of them."""
        return self.values

    def __str__(self) -> str:
        return listing(self.values).replace(", ", "|")


Space = Mapping[str, Range | Choice]


def described(space: Space) -> dict[str, Any]:
    """Return what run.json says of a space."""
    return {name: asdict(values) for name, values in space.items()}


def read_space(path: Path) -> Space:
    """Read a YAML file of `name: {low:, high:, log:}` and `name: [value, value]`.

    Raises:
        OptionError: an unknown name (the nearest is suggested), an impossible range, or a value out of its limits.
    """
    read = read_yaml(path, "--search-space")
    if not isinstance(read, dict) or not read:
        raise OptionError(
            f"--search-space {path} must hold a mapping such as `learning_rate: {{low: 1e-5, high: 1e-3}}`"
        )
    problems: list[str] = []
    space: dict[str, Range | Choice] = {}
    for name, value in read.items():
        try:
            space[str(name)] = _values(str(name), numbers(value))
        except OptionError as error:
            problems += error.problems
    if problems:
        raise OptionError(*(f"--search-space {path}: {problem}" for problem in problems))
    return space


def _values(name: str, value: Any) -> Range | Choice:
    if name not in NAMES:
        raise OptionError(f"there is no {name!r} to search{did_you_mean(name, NAMES)}; there are {listing(NAMES)}")
    found = _choice(name, value) if isinstance(value, list) else _range(name, value)
    group = next(group for group, names in GROUPS.items() if name in names)
    needed = {"lora": True} if group is AdapterOptions else {}
    for end in found.ends:
        group(**{name: end, **needed})  # refuses what the flag refuses
    return found


def _range(name: str, value: Any) -> Range:
    form = f"{name} takes {{low: NUMBER, high: NUMBER}}, with log: true if wanted, or a list of values"
    if name in WORDS or not isinstance(value, dict) or not {"low", "high"} <= set(value) <= {"low", "high", "log"}:
        raise OptionError(f"{form}, not {value!r}")
    low, high, log = value["low"], value["high"], value.get("log", False)
    if not (_is_number(low) and _is_number(high) and isinstance(log, bool)):
        raise OptionError(f"{form}, not {value!r}")
    if not low < high:
        raise OptionError(f"{name}: low must be less than high, and {low:g} is not less than {high:g}")
    if log and not low > 0:
        raise OptionError(f"{name}: a range with log: true begins above 0, not at {low:g}")
    whole = isinstance(low, int) and isinstance(high, int) and (name in WHOLE or name == "epochs")
    if name in WHOLE and not whole:
        raise OptionError(f"{name} takes whole numbers, not {low:g} to {high:g}")
    return Range(low, high, log, whole)


def _choice(name: str, values: list[Any]) -> Choice:
    if len(values) < 2 or len(set(map(str, values))) < len(values):
        raise OptionError(f"{name} takes two or more different values, not {values!r}")
    allowed = WORDS.get(name)
    for value in values:
        if allowed is not None and value not in allowed:
            raise OptionError(f"{name} takes {listing(allowed)}, not {value!r}{did_you_mean(str(value), allowed)}")
        if allowed is None and not (
            isinstance(value, int) and _is_number(value) if name in WHOLE else _is_number(value)
        ):
            raise OptionError(f"{name} takes {'whole ' if name in WHOLE else ''}numbers, not {value!r}")
    return Choice(tuple(values))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")
