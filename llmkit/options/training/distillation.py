"""The group of distillation: who teaches, how softly, and what the student is cut from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Annotated

from llmkit.options.base import Options
from llmkit.options.flags import flag


@dataclass(frozen=True, kw_only=True)
class DistillingOptions(Options):
    """From which model another learns, and how much of its loss comes from there."""

    teacher: Annotated[
        str | None, flag(panel="Distillation", help="Hub id or folder of a model whose answers the student learns.")
    ] = None
    student_layers: Annotated[
        int | None, flag(panel="Distillation", help="Cut the student from the teacher: so many of its layers.")
    ] = None
    distill_temperature: Annotated[
        float | None, flag(panel="Distillation", help="Softens both sides' probabilities; default 2.")
    ] = None
    distill_mix: Annotated[
        float | None, flag(panel="Distillation", help="Share of the loss that is the teacher's; default 0.5.")
    ] = None

    distill_states: Annotated[
        float | None,
        flag(
            panel="Distillation", help="Weight of hidden states in what --student-layers learns; default 100; 0: none."
        ),
    ] = None

    @property
    def temperature(self) -> float:
        """What the logits of both are divided by."""
        return 2.0 if self.distill_temperature is None else self.distill_temperature

    @property
    def alpha(self) -> float:
        """The share of the loss that the teacher gives; the labels give the rest."""
        return 0.5 if self.distill_mix is None else self.distill_mix

    @property
    def hidden_state_weight(self) -> float:
        """The weight of how far hidden states of a student that is cut from its teacher are from the teacher's."""
        if not self.alpha:
            return 0.0
        default = 100.0 if self.student_layers is not None else 0.0
        return default if self.distill_states is None else self.distill_states

    @property
    def given(self) -> dict[str, object]:
        """The options that were given, for run.json: of runs before these options there were none."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def problems(self) -> Iterator[str]:
        yield from self.at_least(1, "student_layers")
        if self.teacher is not None and not self.teacher.strip():
            yield "--teacher must not be empty"
        if not self.temperature > 0:
            yield f"--distill-temperature must be more than 0, not {self.temperature:g}"
        if not 0 <= self.alpha <= 1:
            yield f"--distill-mix must lie between 0 and 1, not {self.alpha:g}"
        if self.distill_states is not None and not self.distill_states >= 0:
            yield f"--distill-states must be a number of at least 0, not {self.distill_states:g}"
        if self.distill_states and self.student_layers is None:
            yield "--distill-states needs --student-layers: only a student that is cut has the states of its teacher"
        for name in ("student_layers", "distill_temperature", "distill_mix", "distill_states"):
            if getattr(self, name) is not None and self.teacher is None:
                yield f"--{name.replace('_', '-')} needs --teacher"
