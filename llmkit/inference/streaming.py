"""A text while it is generated: its pieces as tokens come, and a wish that ends it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import StoppingCriteria
from transformers.generation.streamers import BaseStreamer


class Until(StoppingCriteria):
    """Ends all answers once it is wished for."""

    def __init__(self, wished: Callable[[], bool]) -> None:
        self.wished = wished

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **more: Any) -> torch.Tensor:
        return torch.full((len(input_ids),), self.wished(), dtype=torch.bool, device=input_ids.device)


class TextPieces(BaseStreamer):
    """Hands over text as tokens come: whole characters only, and nothing of a stop text."""

    def __init__(self, decode: Callable[[list[int]], str], stops: Sequence[str], emit: Callable[[str], None]) -> None:
        self.decode, self.stops, self.emit = decode, stops, emit
        self.ids: list[int] = []
        self.shown, self.begun, self.stopped = 0, False, False

    def put(self, value: Any) -> None:
        """Take the prompt, then one token at a time."""
        if not self.begun:
            self.begun = True  # the prompt, which `decode` knows
            return
        self.ids += value.reshape(-1).tolist()
        text = self.decode(self.ids)
        held = max((len(stop) for stop in self.stops), default=1) - 1
        self._show(text, len(text) - held if not text.endswith("\ufffd") else self.shown)

    def end(self) -> None:
        """Hand over what was held back."""
        text = self.decode(self.ids)
        self._show(text, len(text))

    def _show(self, text: str, until: int) -> None:
        if self.stopped:
            return
        ends = [text.find(stop) for stop in self.stops if stop in text]
        if ends:
            until, self.stopped = min(ends), True
        if until > self.shown:
            self.emit(text[self.shown : until])
            self.shown = until
