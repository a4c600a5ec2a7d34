"""How long the steps of a training take."""

from __future__ import annotations

import time

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class StepClock(TrainerCallback):
    """Measures so many steps after the first ones, which are not typical, and ends the training then."""

    def __init__(self, skipped: int, steps: int) -> None:
        self.skipped, self.last, self.begun = skipped, skipped + steps, 0.0
        self.seconds: list[float] = []

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        self.begun = time.monotonic()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        if state.global_step > self.skipped:
            self.seconds.append(time.monotonic() - self.begun)
        control.should_evaluate = control.should_save = False
        if state.global_step >= self.last:
            control.should_training_stop = True
