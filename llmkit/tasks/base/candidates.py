"""A way to read a dataset: as which task, with which columns, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from llmkit.data.conversions import Conversion


class Confidence(IntEnum):
    """How sure a reading of a dataset is."""

    UNLIKELY = 0  # only where it is asked for
    POSSIBLE = 1  # by what the columns hold alone
    LIKELY = 2  # by what they hold, and by names that say the same in other words
    CERTAIN = 3  # by the task's own names of columns, or by a structure that nothing else has


@dataclass(frozen=True)
class Candidate:
    """A way to read a dataset as one task: its columns by role, how sure that is, and why."""

    columns: dict[str, str]
    confidence: Confidence = Confidence.CERTAIN
    reason: str = ""  # a phrase; what the columns are called and hold
    conversions: tuple[Conversion, ...] = ()
    flags: str = ""  # that have to be given where another task can read the rows too
    remark: str = ""  # a sentence on how it is read, with the flag for another way
    problem: str = ""  # a sentence: why the dataset cannot be read so, though it is this task's

    @property
    def given_columns(self) -> dict[str, str]:
        """The columns by role as --column takes them: labels that are made of several columns are all of these."""
        made = [one.reads for one in self.conversions if one.writes == ("labels",) and "labels" not in one.reads]
        return {**self.columns, "labels": ",".join(made[0])} if made and "labels" in self.columns else self.columns
