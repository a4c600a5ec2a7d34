"""What a search and its workers say to each other, beside the trials and what they came to."""

from __future__ import annotations

from dataclasses import dataclass

from llmkit.errors import LlmkitError


@dataclass(frozen=True)
class Ready:
    """A worker: it has its imports behind it, and can be sent the training."""


@dataclass(frozen=True)
class Said:
    """A worker: a line for the person who waits."""

    text: str
    warns: bool


@dataclass(frozen=True)
class Measured:
    """A worker: what its trial measured on the way; a `Verdict` is the answer."""

    measured: int
    value: float


@dataclass(frozen=True)
class Failed:
    """A worker, its last word: an error that every trial would meet, and which ends the search."""

    kind: type[LlmkitError]
    sentence: str


@dataclass(frozen=True)
class Crashed:
    """A worker, its last word: an error that nobody foresaw."""

    problem: str


@dataclass(frozen=True)
class Halted:
    """A worker, its last word: a signal came, and what can be gone on with is saved."""


@dataclass(frozen=True)
class Verdict:
    """The search: whether the trial is pruned."""

    prunes: bool


@dataclass(frozen=True)
class Stop:
    """The search: finish the step, save, and end; or end where nothing is trained."""
