"""Every error that a user can meet, and the exit code that it carries.

    LlmkitError            3   llmkit itself failed
    ├── MembersFailed          members of a suite failed: the worst of their codes
    ├── RanksFailed            a process of several failed: its code
    ├── GateMissed         1   a gate was not met: the model is worse, nothing is broken
    ├── OptionError        2   a flag, or two that do not go together
    ├── DataError          2   a dataset, a file or a row
    │   └── UndecidedError 2   data that can be read in several ways
    ├── ModelError         2   a model or a tokenizer
    ├── HubError           4   the Hub, the network, access
    ├── LaunchError        4   processes or nodes that do not find each other
    ├── EmptyError         5   nothing to train or evaluate on
    ├── DivergedError     11   the loss is not a number any more
    ├── ResourceError     12   out of memory or disk
    ├── Stopped           75   stopped and saved: the same command goes on
    └── Interrupted      130   stopped with nothing to save

Messages are one sentence: what was wrong, what was expected, what to type next.
"""

from __future__ import annotations

from llmkit.errors.phrases import brief as brief
from llmkit.errors.phrases import did_you_mean as did_you_mean
from llmkit.errors.phrases import listing as listing
from llmkit.errors.phrases import one_line as one_line
from llmkit.errors.phrases import shortened as shortened
from llmkit.errors.phrases import shortened_repr as shortened_repr


class LlmkitError(Exception):
    """The root of what llmkit raises on purpose."""

    exit_code = 3


class MembersFailed(LlmkitError):
    """Members of a suite failed; `exit_code` is the worst of theirs."""

    def __init__(self, sentence: str, exit_code: int) -> None:
        self.exit_code = exit_code
        super().__init__(sentence)


class RanksFailed(LlmkitError):
    """One of the processes of a command failed; `exit_code` is its own, and the sentence may have been said by it."""

    def __init__(self, sentence: str, exit_code: int) -> None:
        self.exit_code = exit_code
        super().__init__(sentence)


class GateMissed(LlmkitError):
    exit_code = 1


class OptionError(LlmkitError):
    """One or more wrong flags; `problems` holds a phrase for each."""

    exit_code = 2

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("; ".join(problems))


class DataError(LlmkitError):
    exit_code = 2


class UndecidedError(DataError):
    """Data that can be read in several ways; `readings` holds a phrase and the flags of each."""

    def __init__(self, sentence: str, readings: tuple[tuple[str, str], ...]) -> None:
        self.sentence, self.readings = sentence, readings
        super().__init__(f"{sentence}: say {' or '.join(flags for _, flags in readings)}")


class ModelError(LlmkitError):
    exit_code = 2


class HubError(LlmkitError):
    exit_code = 4


class LaunchError(LlmkitError):
    exit_code = 4


class EmptyError(LlmkitError):
    exit_code = 5


class DivergedError(LlmkitError):
    exit_code = 11


class ResourceError(LlmkitError):
    exit_code = 12


class Stopped(LlmkitError):
    exit_code = 75


class Interrupted(LlmkitError):
    exit_code = 130
