"""The text of an answer while its tokens come, and what ends it: an end token, or one of the stop texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from llmkit.models.text.ends import AnswerEnds
from llmkit.models.text.special_tokens import control_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

INCOMPLETE = "\ufffd"  # what a decoder makes of bytes that are no character yet
# how vocabularies call the bytes 0x80 and 0xa0, one of which can follow any first byte (RFC 3629): as GPT-2, as Llama
CONTINUATION_BYTES = (("\u0122", "\u0142"), ("<0x80>", "<0xA0>"))
CONTEXT = 16  # tokens of the prompt that are decoded with an answer: some decoders drop a space from a text's start
NO_ENDS = AnswerEnds()


class AnswerText:
    """An answer of which tokens come one after the other: whatever way they are handed over, the text is the same.

    Only complete characters are in `text`, and nothing from the first complete stop text on. Each token is decoded
    once, with those since the last complete character, as a text is decoded that is not known in full.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, prompt: Sequence[int], ends: AnswerEnds) -> None:
        self.tokenizer, self.ends = tokenizer, ends
        self.context = self._context_of(prompt)
        self.clear()

    def another(self) -> AnswerText:
        """Return an answer to the same prompt that has no tokens yet."""
        return AnswerText(self.tokenizer, self.context, self.ends)

    def clear(self) -> None:
        """Forget the tokens, so that others can come."""
        self.ids: list[int] = []  # the tokens of the answer, its end token among them
        self.text = ""
        self.ended = False  # whether an end token or a stop text came
        self.handed_out = 0  # characters
        self._window = list(self.context)  # the tokens since the last complete character, and those before them
        self._decoded = len(self._window)  # how many tokens of the window are in `text`

    def read(self, ids: Sequence[int]) -> None:
        """Take all tokens that there are by now; those that came before are not decoded again.

        Where others came before, as in a search that went on with another beam, all of them are.
        """
        known = len(self.ids)
        if list(ids[:known]) != self.ids[: len(ids)]:
            self.clear()
            known = 0
        for token in ids[known:]:
            if self.ended:
                break
            self._add(token)

    def finish(self) -> str:
        """Return the text when no token comes any more, without a character that was cut in its middle."""
        if not self.ended or self._decoded < len(self._window):
            self._extend(self._without_cut_character(self._new_text()))
        self.ended, self._decoded = True, len(self._window)
        return self.text

    def new_text(self) -> str:
        """Return what can be shown and was not handed out before: nothing that may be the beginning of a stop text."""
        until = len(self.text)
        if not self.ended:
            until -= max((_begun(self.text, stop) for stop in self.ends.stops), default=0)
        piece = self.text[self.handed_out : until]
        self.handed_out = max(until, self.handed_out)
        return piece

    def _add(self, token: int) -> None:
        self.ids.append(token)
        self.ended = token in self.ends.tokens
        if self.ended and token in control_tokens(self.tokenizer).ids.values():
            return  # decoders leave out those alone that are marked as special
        self._window.append(token)
        piece = self._new_text()
        if piece and not piece.endswith(INCOMPLETE):
            self._window, self._decoded = self._window[self._decoded :], len(self._window) - self._decoded
            self._extend(piece)

    def _new_text(self) -> str:
        """Return what the tokens that are not in `text` yet add to those before them."""
        return self._decode(self._window)[len(self._decode(self._window[: self._decoded])) :]

    def _context_of(self, prompt: Sequence[int]) -> list[int]:
        """Return the last tokens of a prompt, more of them where they would begin within a character.

        A decoder that goes by runs of bytes takes none of a run for a character whose beginning is cut off.
        """
        size = CONTEXT
        while size < len(prompt) and self._decode(list(prompt[-size:])).startswith(INCOMPLETE):
            size *= 2
        return list(prompt[-size:])

    def _decode(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True)) if ids else ""

    def _without_cut_character(self, rest: str) -> str:
        """Return the last text of an answer without the character of which only the first bytes came.

        It is one where bytes that go on make a character of it. Other bytes that are no character stay as they are.
        """
        if not rest.endswith(INCOMPLETE):
            return rest
        before = len(self._decode(self._window[: self._decoded]))
        for added in _continuations(self.tokenizer):
            whole = self._decode([*self._window, *added])[before:]
            if not whole.endswith(INCOMPLETE):
                return whole[:-1]
        return rest

    def _extend(self, piece: str) -> None:
        known, self.text = len(self.text), self.text + piece
        found: list[tuple[int, int]] = []
        for stop in self.ends.stops:
            place = self.text.find(stop, max(known - len(stop) + 1, 0))
            if place >= 0:
                found.append((place + len(stop), place))
        if found:  # the first that is complete, wherever tokens part
            self.text, self.ended = self.text[: min(found)[1]], True
            self._decoded = len(self._window)


def answer_text(
    tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], prompt: Sequence[int] = (), ends: AnswerEnds = NO_ENDS
) -> str:
    """Return the text of the tokens of an answer to the tokens of a prompt: see `AnswerText`."""
    answer = AnswerText(tokenizer, prompt, ends)
    answer.read(ids)
    return answer.finish()


def _continuations(tokenizer: PreTrainedTokenizerBase) -> Iterator[list[int]]:
    """Yield tokens of bytes, one to three, that can complete a character in UTF-8; none for a vocabulary of words."""
    vocabulary = tokenizer.get_vocab()
    for names in CONTINUATION_BYTES:
        low, high = (vocabulary.get(name) for name in names)
        if low is not None and high is not None:
            for count in range(3):
                yield from ([first, *[low] * count] for first in (low, high))


def _begun(text: str, stop: str) -> int:
    """Return how many characters at the end of a text are the beginning of a stop text."""
    longest = min(len(stop) - 1, len(text))
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
