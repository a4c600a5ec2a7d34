"""What one run settled about its task."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TypeVar

from llmkit.data.labels import Labels
from llmkit.models.reference import Reference

TARGET_ROLES = frozenset(  # roles that are no input
    {"label", "labels", "tags", "answers", "answer_start", "answer", "target", "reference"}
)

S = TypeVar("S")


def input_columns(columns: dict[str, str]) -> dict[str, str]:
    """Return the columns that a model reads, by role."""
    return {role: column for role, column in columns.items() if role not in TARGET_ROLES}


@dataclass(frozen=True)
class TaskSettings:
    """Columns by role, labels, lengths, seeds, and in `specific` the dataclass of what one task alone settles."""

    columns: dict[str, str]
    max_length: int
    labels: Labels | None = None
    merge: tuple[int, ...] | None = None  # the label that each output of the model counts towards; None: its own
    benchmark: str | None = None
    positive: str | None = None
    stride: int | None = None
    per_row: bool = False
    seed: int = 42
    reference: Reference | None = None  # the model that a training began from, where answers are measured against it
    split_special_tokens: bool | None = None  # whether a control token that a text spells stays text; None: usual
    stop_strings: tuple[str, ...] = ()  # the texts before which an answer ends by the model's own generation config
    calibrate: bool = False  # whether the trained model is to settle something on the validation rows
    specific: object = None

    @property
    def inputs(self) -> dict[str, str]:
        """The columns that the model reads, by role."""
        return input_columns(self.columns)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the labels in the order of their ids; none for a regression or a task without labels."""
        return self.labels.names if self.labels else ()

    @property
    def keeps_text(self) -> bool:
        """Whether the spelling of a control token in a prompt, a turn or an answer stays text: usually so."""
        return self.split_special_tokens is not False

    def as_dict(self) -> dict[str, object]:
        """Return the value of each field by its name; those of `specific` stand beside the shared ones."""
        shared = asdict(self)
        specific = shared.pop("specific") or {}
        return {**shared, **specific}

    def of(self, kind: type[S]) -> S:
        """Return what one task alone settled, as its own dataclass; its defaults where nothing is settled yet."""
        return self.specific if isinstance(self.specific, kind) else kind()

    def with_specific(self, kind: type[S], **changes: object) -> TaskSettings:
        """Return the settings with other values of one task's own dataclass."""
        return replace(self, specific=replace(self.of(kind), **changes))  # type: ignore[type-var]
