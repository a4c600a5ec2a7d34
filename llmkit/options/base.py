"""What every option group is: a frozen dataclass that refuses to exist with a bad value."""

from __future__ import annotations

import errno
import math
import os
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Literal, Union, get_args, get_origin, get_type_hints

import typer

from llmkit.errors import OptionError
from llmkit.options.config_file import read_config
from llmkit.options.flags import flag
from llmkit.options.urls import unsigned_fields

TOKENS, ROWS = 1_000_000, 65_536  # more of a context, and of a batch, than any model or machine takes
LIMITS: dict[str, tuple[float, float]] = {  # the least and the most of an option, beyond which it hangs or fails
    "accumulate": (1, ROWS),
    "batch_size": (1, ROWS),
    "beta": (1e-6, 1000),
    "check_invariance": (0, TOKENS),
    "concurrency": (1, 4096),
    "data_parallel_size": (1, 4096),
    "distill_states": (0, 1e6),
    "distill_temperature": (1e-3, 1000),
    "epochs": (1e-6, 100_000),
    "gpu_memory": (1e-3, 10_000),
    "gpu_tflops": (1e-6, 1e6),
    "gpus": (1, 1_000_000),
    "join_timeout": (1, 10**6),
    "learning_rate": (1e-12, 1e40),
    "limit": (1, 10**12),
    "lora_alpha": (1e-6, 1e6),
    "lora_rank": (1, 16_384),
    "max_length": (4, TOKENS),
    "max_new_tokens": (1, TOKENS),
    "max_steps": (1, 10**9),
    "measure_steps": (1, 10_000),
    "node_rank": (0, 10**6),
    "nodes": (1, 10**6),
    "num_beams": (1, 1024),
    "num_fewshot": (0, 1000),
    "num_return_sequences": (1, 1024),
    "passages": (1, 1000),
    "patience": (1, TOKENS),
    "price_per_hour": (1e-6, 1e6),
    "processes": (1, 4096),
    "repetition_penalty": (0.01, 100),
    "port": (1, 65_535),
    "prompt_lookup": (1, 1024),
    "resamples": (0, 100_000),
    "search": (2, 10_000),
    "seeds": (2, 1000),
    "skip_invalid": (1e-6, 1),
    "skip_rows": (0, 10**9),
    "stride": (1, TOKENS),
    "student_layers": (1, 10_000),
    "target_length": (1, TOKENS),
    "temperature": (1e-4, 1000),
    "tensor_parallel_size": (1, 4096),
    "timeout": (1e-3, 86_400),
    "top": (1, TOKENS),
    "top_k": (1, TOKENS),
    "vocab_size": (64, 2_000_000),
    "warmup": (0, 10**9),
    "weight_decay": (0, 1000),
    "workers": (1, 1024),
}


def print_version(asked: bool) -> None:
    """Print the version and leave, when it is asked for."""
    if asked:
        from importlib import metadata

        print(f"llmkit {metadata.version('llmkit')}")
        raise typer.Exit


@dataclass(frozen=True, kw_only=True)
class Options:
    """A group of options that refuses to exist with a bad value."""

    def __post_init__(self) -> None:
        unsigned_fields(self)
        problems = (*self.problems(), *self.beyond_limits(), *self.beyond_choices())
        if problems:
            raise OptionError(*problems)

    def problems(self) -> Iterator[str]:
        """Yield a phrase for each value out of its limits."""
        yield from ()

    def beyond_limits(self) -> Iterator[str]:
        """Yield a phrase for each number above 0 that is beyond the limits of its option."""
        for name in (field.name for field in fields(self) if field.name in LIMITS):
            value, (least, most) = getattr(self, name), LIMITS[name]
            if isinstance(value, int | float) and (value > most or 0 < value < min(least, 1)):
                bound = f"at most {_spelled(most)}" if value > most else f"at least {_spelled(least)}"
                yield f"--{name.replace('_', '-')} must be {bound}, not {_spelled(value)}"

    def beyond_choices(self) -> Iterator[str]:
        """Yield a phrase for each value that is none of those that its option takes; Typer looks at flags alone."""
        for name, choices in _choices_of(type(self)).items():
            value = getattr(self, name)
            if value not in choices:
                named = ", ".join(map(str, (choice for choice in choices if choice is not None)))
                yield f"--{name.replace('_', '-')} is one of {named}, not {value!r}"

    def at_least(self, least: float, *names: str) -> Iterator[str]:
        """Yield a phrase for each named option that is set and lower than `least`."""
        for name in names:
            value = getattr(self, name)
            if value is not None and not value >= least:  # so that NaN fails too
                yield f"--{name.replace('_', '-')} must be at least {least}, not {value}"

    def writable(self, path: Path | None, flag: str = "--output") -> Iterator[str]:
        """Yield a phrase when nothing can be made at `path`; known now, not after an hour of work."""
        if path is not None:
            parent = next(folder for folder in path.absolute().parents if folder.exists())
            if not _takes_files(parent):
                yield f"{flag} {str(path)!r} cannot be made: {str(parent)!r} is no folder that can be written to"

    def writable_file(self, path: Path | None, flag: str) -> Iterator[str]:
        """Yield a phrase when no file can be made at `path`."""
        yield from self.writable(path, flag)
        if path is not None and path.is_dir():
            yield f"{flag} {str(path)!r} is a folder; a file is wanted"


@dataclass(frozen=True, kw_only=True)
class TalkOptions(Options):
    """How llmkit talks; every command takes it."""

    json: Annotated[bool, flag("--json/--no-json", panel="Output", help="Print the result as JSON.")] = False
    quiet: Annotated[
        bool, flag("--quiet/--no-quiet", "-q", panel="Output", help="Print only the result and errors.")
    ] = False
    verbose: Annotated[bool, flag("--verbose/--no-verbose", "-v", panel="Output", help="Say more on the way.")] = False
    dry_run: Annotated[
        bool,
        flag("--dry-run/--no-dry-run", panel="Output", help="Check everything up to the first costly step, then stop."),
    ] = False
    version: Annotated[
        bool, flag("--version", panel="Output", help="Print llmkit's version.", is_eager=True, callback=print_version)
    ] = False
    config: Annotated[
        Path | None,
        flag("--config", panel="Output", help="YAML file of options; flags win.", is_eager=True, callback=read_config),
    ] = None

    def problems(self) -> Iterator[str]:
        if self.quiet and self.verbose:
            yield "--quiet and --verbose contradict each other"


def _choices_of(group: type[Options]) -> dict[str, tuple[object, ...]]:
    """Return the values that each option of a group takes which has a list of them."""
    found = {}
    for name, hint in get_type_hints(group).items():
        parts = get_args(hint) if get_origin(hint) in {Union, UnionType} else (hint,)
        if any(get_origin(part) is Literal for part in parts) and all(
            get_origin(part) is Literal or part is NoneType for part in parts
        ):
            found[name] = tuple(value for part in parts for value in get_args(part) or (None,))
    return found


def _spelled(value: float) -> str:
    """Return a number as a person writes it; one of very many digits is shortened."""
    return str(value) if isinstance(value, int) and abs(value) < 10**15 else f"{value:g}"


def seed_problems(seed: int) -> Iterator[str]:
    """Yield a phrase for a seed that the random generators do not take."""
    if not seed >= 0:  # so that NaN fails too
        yield f"--seed must be at least 0, not {seed}"
    if seed >= 2**32:
        yield f"--seed must be less than 2**32, not {seed}"


def limit_problems(flag: str, pairs: list[str] | None, example: str) -> Iterator[str]:
    """Yield a phrase for each pair that is not metric=number."""
    names = []
    for pair in pairs or ():
        name, _, value = pair.partition("=")
        if not name or not is_number(value):
            yield f"{flag} takes metric=number ({example}), not {pair!r}"
        if name in names:
            yield f"{flag} names {name!r} twice; one limit is wanted"
        names.append(name)


def named_twice(names: Iterable[str]) -> str | None:
    """Return the first of some names that comes twice, however it is spelled in Unicode and with blanks around it."""
    plain = [unicodedata.normalize("NFC", name).strip() for name in names]
    return next((name for place, name in enumerate(plain) if name in plain[:place]), None)


def limits(pairs: list[str] | None) -> dict[str, float]:
    """Return the numbers of metric=number pairs by metric."""
    return {name: float(value) for name, _, value in (pair.partition("=") for pair in pairs or ())}


def is_number(text: str) -> bool:
    """Tell whether `text` is a finite number."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _takes_files(folder: Path) -> bool:
    """Tell whether a file can be made in a folder: one without a name is, for permissions alone do not tell."""
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        return False
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError as error:
        return error.errno in {errno.ENOSPC, errno.EDQUOT}  # which is said when the file is written
