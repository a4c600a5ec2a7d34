"""A text while it is generated: its pieces as tokens come, and what ends it early."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import StoppingCriteria
from transformers.generation.streamers import BaseStreamer

from llmkit.runs.interrupts import StopRequest

UNFINISHED = "\ufffd"  # what a decoder makes of bytes that are no character yet


class StopOnRequest(StoppingCriteria):
    """Ends all answers once a stop is asked for."""

    def __init__(self, stop_request: StopRequest) -> None:
        self.stop_request = stop_request

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **more: Any) -> torch.Tensor:
        """Return for each row, (rows,), whether it ends."""
        return torch.full((len(input_ids),), self.stop_request.asked, dtype=torch.bool, device=input_ids.device)


class TextStreamer(BaseStreamer):
    """Hands over text as tokens come: complete characters only, and nothing of a stop text."""

    def __init__(self, decode: Callable[[list[int]], str], stops: Sequence[str], emit: Callable[[str], None]) -> None:
        self.decode, self.stops, self.emit = decode, stops, emit
        self.ids: list[int] = []
        self.emitted = 0  # characters
        self.has_prompt, self.stopped = False, False

    def put(self, value: torch.Tensor) -> None:
        """Take the prompt, then one token at a time."""
        if not self.has_prompt:
            self.has_prompt = True  # which `decode` knows
            return
        self.ids += value.reshape(-1).tolist()
        text = self.decode(self.ids)
        held_back = max((len(stop) for stop in self.stops), default=1) - 1
        self._emit(text, self.emitted if text.endswith(UNFINISHED) else len(text) - held_back)

    def end(self) -> None:
        """Hand over what was held back."""
        text = self.decode(self.ids)
        self._emit(text, len(text))

    def _emit(self, text: str, until: int) -> None:
        if self.stopped:
            return
        ends = [text.find(stop) for stop in self.stops if stop in text]
        if ends:
            until, self.stopped = min(ends), True
        if until > self.emitted:
            self.emit(text[self.emitted : until])
            self.emitted = until
