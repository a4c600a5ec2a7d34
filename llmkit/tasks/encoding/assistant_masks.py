"""Conversations as a chat template spells them, with the part of the text that the assistant is to write.

A template with `{% generation %}` says itself what that is. Of any other, what a turn of the assistant adds to what a
model is asked with (the rendering of the turns before it, generation prompt included) is what the model has to write.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from jinja2 import TemplateSyntaxError
from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import render_jinja_template

from llmkit.data.conversations import Conversation, Message
from llmkit.errors import DataError, ModelError, brief, shortened
from llmkit.tasks.encoding.collation import IGNORED

GENERATION_BLOCK = re.compile(r"\{%-?\s*generation\s*-?%\}")
OTHER_TEMPLATE = "--chat-template FILE takes another"
MARKED_TEMPLATE = (
    "so what the assistant writes cannot be told; --chat-template FILE takes one that marks it by {% generation %}"
)

CharSpan = tuple[int, int]  # where characters of a text start and end


@dataclass(frozen=True)
class Rendering:
    """A conversation as text, and the spans of it that the assistant writes."""

    text: str
    spans: tuple[CharSpan, ...]

    def assistant_mask(self, offsets: Sequence[CharSpan]) -> list[bool]:
        """Tell of each token, given by its characters, whether the assistant writes it, or a part of it."""
        starts = [start for start, _ in offsets]
        ends = list(accumulate((end for _, end in offsets), max))
        mask = [False] * len(offsets)
        for start, end in self.spans:
            first, stop = bisect_right(ends, start), bisect_left(starts, end)
            mask[first:stop] = [True] * (stop - first)
        return mask


def encode_conversations(
    conversations: Sequence[Conversation], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> Iterator[dict[str, list[int] | int | bool]]:
    """Yield each conversation as input_ids and labels, -100 where the assistant does not write, cut at `max_length`.

    Beside them `length` in tokens, whether it is `truncated`, and how many `target_tokens` are left.

    Raises:
        DataError, ModelError: as `render`.
    """
    renderings = [render(conversation, tokenizer) for conversation in conversations]
    encoded = tokenizer(
        [rendering.text for rendering in renderings],
        add_special_tokens=False,
        return_attention_mask=False,
        return_offsets_mapping=True,
    )
    for rendering, ids, offsets in zip(renderings, encoded["input_ids"], encoded["offset_mapping"], strict=True):
        mask = rendering.assistant_mask(offsets)
        mask[0] = False  # nothing predicts the first token
        labels = [token if is_target else IGNORED for token, is_target in zip(ids, mask, strict=True)][:max_length]
        yield {
            "input_ids": ids[:max_length],
            "labels": labels,
            "length": len(labels),
            "truncated": len(ids) > max_length,
            "target_tokens": sum(mask[:max_length]),
        }


def render(conversation: Conversation, tokenizer: PreTrainedTokenizerBase) -> Rendering:
    """Return a conversation in the tokenizer's chat template, every turn of it there and in its order.

    Raises:
        DataError: a phrase: the template refuses the turns, or drops or changes one.
        ModelError: the template is broken.
    """
    template = tokenizer.get_chat_template()
    if GENERATION_BLOCK.search(template):
        return _render_marked(conversation, tokenizer)
    turns = list(conversation.messages)
    text, rendered_turns = _text(turns, tokenizer), 0
    spans: list[CharSpan] = []
    for index in conversation.completion_turns:
        prompt = _text(turns[:index], tokenizer, add_generation_prompt=True)
        answered = text if index == len(turns) - 1 else _text(turns[: index + 1], tokenizer)
        if not text.startswith(answered):  # Phi-3's puts the end-of-text token behind the last turn, whatever it is
            answered = answered.removesuffix(tokenizer.eos_token or "")
        if not answered.startswith(prompt):
            raise DataError(
                f"the chat template spells what is before turn {index + 1} otherwise in its prompt, {MARKED_TEMPLATE}"
            )
        if not text.startswith(answered):
            raise DataError(
                f"the chat template spells turn {index + 1} otherwise where others follow, {MARKED_TEMPLATE}"
            )
        _find_turns(turns, range(rendered_turns, index), text, (spans[-1][1] if spans else 0, len(prompt)))
        _find_turns(turns, range(index, index + 1), text, (len(prompt), len(answered)))
        spans.append((len(prompt), len(answered)))
        rendered_turns = index + 1
    return Rendering(text, tuple(spans))


def _render_marked(conversation: Conversation, tokenizer: PreTrainedTokenizerBase) -> Rendering:
    """Return the rendering of a template that marks what the assistant writes."""
    turns = list(conversation.messages)
    text, marked = _render(turns, tokenizer, return_assistant_tokens_mask=True)
    _find_turns(turns, range(len(turns)), text, (0, len(text)))
    prompt_end = _find_turns(turns, range(conversation.given), text, (0, len(text)))
    eos = tokenizer.eos_token or ""
    # a model that is not taught to end its turn never ends it
    ends = [end + len(eos) if text.startswith(eos, end) else end for _, end in marked]
    spans = [(start, end) for (start, _), end in zip(marked, ends, strict=True) if start >= prompt_end and end > start]
    answers = "\n".join(text[start:end] for start, end in spans)
    _find_turns(turns, conversation.completion_turns, answers, (0, len(answers)))
    return Rendering(text, tuple(spans))


def _find_turns(turns: Sequence[Message], indices: Sequence[int], text: str, span: CharSpan) -> int:
    """Return where the last of the turns at `indices` ends in a span of a text, in which all stand in their order.

    Raises:
        DataError: one of them does not.
    """
    start, end = span
    for index in indices:
        content = turns[index]["content"].strip()
        position = text.find(content, start, end)
        if position < 0:
            raise DataError(
                f"the chat template drops or changes turn {index + 1}, the {turns[index]['role']}'s "
                f"{shortened(content)}; {OTHER_TEMPLATE}"
            )
        start = position + len(content)
    return start


def _text(messages: Sequence[Message], tokenizer: PreTrainedTokenizerBase, add_generation_prompt: bool = False) -> str:
    return _render(messages, tokenizer, add_generation_prompt=add_generation_prompt)[0]


def _render(
    messages: Sequence[Message], tokenizer: PreTrainedTokenizerBase, **flags: bool
) -> tuple[str, list[CharSpan]]:
    """Return messages in the template, as `apply_chat_template` spells them, and the characters that it marks."""
    try:
        rendered, marked = render_jinja_template(
            [list(messages)], chat_template=tokenizer.get_chat_template(), **tokenizer.special_tokens_map, **flags
        )
    except TemplateSyntaxError as error:
        raise ModelError(
            f"the chat template is broken: {brief(error)} (line {error.lineno}); {OTHER_TEMPLATE}"
        ) from error
    except Exception as error:  # templates raise what they like
        raise DataError(f"the chat template refuses it: {brief(error)}; {OTHER_TEMPLATE}") from error
    return str(rendered[0]), marked[0] if marked else []
