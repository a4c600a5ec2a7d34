"""Answers while they are generated: shown piece by piece, and ended early."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from llmkit.models.text.answer_text import AnswerText
from llmkit.runs.interrupts import StopRequest

if TYPE_CHECKING:
    import torch


class AnswerStops:
    """Ends each answer where its text does, and all of them once a stop is asked for.

    `answers` are one for each prompt, `start` is the number of tokens before them; `emit` gets the text of the first
    as it comes. It is of no class of transformers, which takes anything to call for a criterion, and whose import takes
    seconds.
    """

    def __init__(
        self,
        answers: Sequence[AnswerText],
        start: int,
        emit: Callable[[str], None] | None = None,
        stop_request: StopRequest | None = None,
    ) -> None:
        self.answers, self.start, self.emit, self.stop_request = list(answers), start, emit, stop_request

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **more: Any) -> torch.Tensor:
        """Return for each row, (rows,), whether it ends."""
        import torch

        repeats = len(input_ids) // len(self.answers)  # a search looks at several rows for each prompt
        if repeats > 1:
            self.answers = [answer.another() for answer in self.answers for _ in range(repeats)]
        for answer, ids in zip(self.answers, input_ids[:, self.start :].tolist(), strict=True):
            answer.read(ids)
        self.show()
        asked = self.stop_request is not None and self.stop_request.asked
        return torch.tensor([asked or answer.ended for answer in self.answers], device=input_ids.device)

    @property
    def ended(self) -> list[bool]:
        """Which of the answers have ended."""
        return [answer.ended for answer in self.answers]

    def keep(self, places: Sequence[int]) -> None:
        """Go on with some of the answers."""
        self.answers = [self.answers[place] for place in places]

    def show(self) -> None:
        """Hand over what of the first answer can be shown by now."""
        piece = self.answers[0].new_text() if self.emit is not None else ""
        if piece and self.emit is not None:
            self.emit(piece)
