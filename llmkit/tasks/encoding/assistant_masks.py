"""Conversations as a chat template spells them, with the part of the text that the assistant is to write.

A template with `{% generation %}` says itself what that is. Of any other, what a turn of the assistant adds to what a
model is asked with (the rendering of the turns before it, generation prompt included) is what the model has to write.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from jinja2 import TemplateSyntaxError
from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import render_jinja_template

from llmkit.data.conversations import Conversation, Message
from llmkit.errors import DataError, ModelError, brief, shortened

GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
OTHER = "--chat-template FILE takes another"
UNTOLD = "so what the assistant writes cannot be told; --chat-template FILE takes one that marks it by {% generation %}"

Span = tuple[int, int]


@dataclass(frozen=True)
class Rendering:
    """A conversation as text, and the spans of it, in characters, that are learned."""

    text: str
    spans: tuple[Span, ...]

    def learned(self, offsets: Sequence[Span]) -> list[bool]:
        """Tell of each token, given by its characters, whether it is learned: whole or in part in a span."""
        starts = [start for start, _ in offsets]
        ends = list(accumulate((end for _, end in offsets), max))
        told = [False] * len(offsets)
        for start, end in self.spans:
            first, stop = bisect_right(ends, start), bisect_left(starts, end)
            told[first:stop] = [True] * (stop - first)
        return told


def render(conversation: Conversation, tokenizer: PreTrainedTokenizerBase) -> Rendering:
    """Return a conversation in the tokenizer's chat template, every turn of it there and in its order.

    Raises:
        DataError: a phrase: the template refuses the turns, or drops or changes one.
        ModelError: the template is broken.
    """
    template = tokenizer.get_chat_template()
    if GENERATION.search(template):
        return _marked(conversation, tokenizer)
    turns = list(conversation.messages)
    whole, done = _text(turns, tokenizer), 0
    spans: list[Span] = []
    for place in conversation.completion_turns:
        before = _text(turns[:place], tokenizer, add_generation_prompt=True)
        after = whole if place == len(turns) - 1 else _text(turns[: place + 1], tokenizer)
        if not whole.startswith(after):  # Phi-3's puts the end-of-text token behind the last turn, whatever it is
            after = after.removesuffix(tokenizer.eos_token or "")
        if not after.startswith(before):
            raise DataError(
                f"the chat template spells what is before turn {place + 1} otherwise in its prompt, {UNTOLD}"
            )
        if not whole.startswith(after):
            raise DataError(f"the chat template spells turn {place + 1} otherwise where others follow, {UNTOLD}")
        _find(turns, range(done, place), whole, spans[-1][1] if spans else 0, len(before))
        _find(turns, range(place, place + 1), whole, len(before), len(after))
        spans.append((len(before), len(after)))
        done = place + 1
    return Rendering(whole, tuple(spans))


def _marked(conversation: Conversation, tokenizer: PreTrainedTokenizerBase) -> Rendering:
    """Return the rendering of a template that marks what the assistant writes."""
    turns = list(conversation.messages)
    text, marked = _render(turns, tokenizer, return_assistant_tokens_mask=True)
    _find(turns, range(len(turns)), text, 0, len(text))
    begin = _find(turns, range(conversation.given), text, 0, len(text))
    eos = tokenizer.eos_token or ""
    # a model that is not taught to end its turn never ends it
    ends = [end + len(eos) if text.startswith(eos, end) else end for _, end in marked]
    spans = [(start, end) for (start, _), end in zip(marked, ends, strict=True) if start >= begin and end > start]
    inside = "\n".join(text[start:end] for start, end in spans)
    _find(turns, conversation.completion_turns, inside, 0, len(inside))
    return Rendering(text, tuple(spans))


def _find(turns: Sequence[Message], places: Sequence[int], text: str, start: int, end: int) -> int:
    """Return where the last of some turns ends in a part of a text, in which all must stand in their order."""
    for place in places:
        content = turns[place]["content"].strip()
        found = text.find(content, start, end)
        if found < 0:
            raise DataError(
                f"the chat template drops or changes turn {place + 1}, the {turns[place]['role']}'s "
                f"{shortened(content)}; {OTHER}"
            )
        start = found + len(content)
    return start


def _text(messages: Sequence[Message], tokenizer: PreTrainedTokenizerBase, **more: Any) -> str:
    return _render(messages, tokenizer, **more)[0]


def _render(messages: Sequence[Message], tokenizer: PreTrainedTokenizerBase, **more: Any) -> tuple[str, list[Span]]:
    """Return messages in the template, as `apply_chat_template` spells them, and the characters that it marks."""
    try:
        rendered, marked = render_jinja_template(
            [list(messages)], chat_template=tokenizer.get_chat_template(), **tokenizer.special_tokens_map, **more
        )
    except TemplateSyntaxError as error:
        raise ModelError(f"the chat template is broken: {brief(error)} (line {error.lineno}); {OTHER}") from error
    except Exception as error:  # templates raise what they like
        raise DataError(f"the chat template refuses it: {brief(error)}; {OTHER}") from error
    return str(rendered[0]), marked[0] if marked else []
