"""Conversations as a chat template spells them, with the part of the text that the assistant is to write.

A template with `{% generation %}` says itself what that is. Of any other, what a turn of the assistant adds to what a
model is asked with (the rendering of the turns before it, generation prompt included) is what the model has to write.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING

from llmkit.data.conversations import INVALID_ROWS, Conversation, tool_name
from llmkit.data.turns import Message
from llmkit.errors import DataError, ModelError, brief, listing, shortened
from llmkit.models.text.prompts import RenderedPrompt, encode_rendered_with_offsets, protect_chat
from llmkit.tasks.encoding.collation import IGNORED
from llmkit.tasks.encoding.tool_calls import name_pattern, printed_as_python, template_message, written_pieces

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

GENERATION_BLOCK = re.compile(r"\{%-?\s*generation\s*-?%\}")
OTHER_TEMPLATE = "--chat-template FILE takes another"
OTHER_ROWS = f"{OTHER_TEMPLATE}, and {INVALID_ROWS}"
MARKED_TEMPLATE = (
    "so what the assistant writes cannot be told; --chat-template FILE takes one that marks it by {% generation %}"
)

CharSpan = tuple[int, int]  # where characters of a text start and end


@dataclass(frozen=True)
class Rendering:
    """A conversation as text, and the spans of it that the assistant writes."""

    text: str
    spans: tuple[CharSpan, ...]
    literal: tuple[int, ...] = ()  # where the spelling of a control token begins that is text

    def assistant_mask(self, offsets: Sequence[CharSpan]) -> list[bool]:
        """Tell of each token, given by its characters, whether the assistant writes it, or a part of it."""
        starts = [start for start, _ in offsets]
        ends = list(accumulate((end for _, end in offsets), max))
        mask = [False] * len(offsets)
        for start, end in self.spans:
            first, stop = bisect_right(ends, start), bisect_left(starts, end)
            mask[first:stop] = [True] * (stop - first)
        return mask


@dataclass(frozen=True)
class _Template:
    """A tokenizer's chat template with what one conversation gives it beside messages."""

    tokenizer: PreTrainedTokenizerBase
    tools: tuple[dict[str, object], ...] = ()
    arguments_as_text: bool = False
    split_special_tokens: bool = True

    def text(self, messages: Sequence[Message], add_generation_prompt: bool = False) -> str:
        """Return messages in the template."""
        return self.render(messages, add_generation_prompt=add_generation_prompt)[0].text

    def render(self, messages: Sequence[Message], **flags: bool) -> tuple[RenderedPrompt, list[CharSpan]]:
        """Return messages as `apply_chat_template` spells them, and the characters that the template marks."""
        from jinja2 import TemplateSyntaxError
        from transformers.utils.chat_template_utils import render_jinja_template

        chat = protect_chat(
            self.tokenizer,
            [template_message(message, self.arguments_as_text) for message in messages],
            tools=self.tools,
            split_special_tokens=self.split_special_tokens,
        )
        try:
            rendered, marked = render_jinja_template(
                [chat.messages],
                tools=chat.tools,
                chat_template=self.tokenizer.get_chat_template(),
                **self.tokenizer.special_tokens_map,
                **flags,
            )
        except TemplateSyntaxError as error:
            raise ModelError(
                f"the chat template is broken: {brief(error)} (line {error.lineno}); {OTHER_TEMPLATE}"
            ) from error
        except Exception as error:  # templates raise what they like
            raise DataError(f"the chat template refuses it: {brief(error)}; {OTHER_ROWS}") from error
        return chat.restored(str(rendered[0])), marked[0] if marked else []


def encode_conversations(
    conversations: Sequence[Conversation],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    split_special_tokens: bool = True,
) -> Iterator[dict[str, list[int] | int | bool]]:
    """Yield each conversation as input_ids and labels, -100 where the assistant does not write, cut at `max_length`.

    Beside them `length` in tokens, whether it is `truncated`, and how many `target_tokens` are left.

    Raises:
        DataError, ModelError: as `render`.
    """
    renderings = [render(conversation, tokenizer, split_special_tokens) for conversation in conversations]
    encoded = encode_rendered_with_offsets(tokenizer, [RenderedPrompt(each.text, each.literal) for each in renderings])
    for rendering, (ids, offsets) in zip(renderings, encoded, strict=True):
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


def render(
    conversation: Conversation, tokenizer: PreTrainedTokenizerBase, split_special_tokens: bool = True
) -> Rendering:
    """Return a conversation in the tokenizer's chat template, every turn of it there and in its order.

    Raises:
        DataError: a phrase: the template refuses the turns, or drops or changes one.
        ModelError: the template is broken.
    """
    template = _template_for(conversation, _Template(tokenizer, split_special_tokens=split_special_tokens))
    if GENERATION_BLOCK.search(tokenizer.get_chat_template()):
        return _render_marked(conversation, template)
    turns = list(conversation.messages)
    whole, rendered_turns, rendered_end = template.render(turns)[0], 0, 0
    text = whole.text
    spans: list[CharSpan] = []
    for index in conversation.completion_turns:
        prompt = template.text(turns[:index], add_generation_prompt=True)
        answered = text if index == len(turns) - 1 else template.text(turns[: index + 1])
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
        _find_turns(turns, range(rendered_turns, index), text, (rendered_end, len(prompt)))
        _find_turns(turns, range(index, index + 1), text, (len(prompt), len(answered)))
        spans.append((len(prompt), len(answered)))
        rendered_turns, rendered_end = index + 1, len(answered)
    _find_turns(turns, range(rendered_turns, len(turns)), text, (rendered_end, len(text)))
    return Rendering(text, tuple(spans), whole.literal)


def _template_for(conversation: Conversation, template: _Template) -> _Template:
    """Return the template with the tools of a conversation, and with the arguments of calls in the form it reads.

    Raises:
        DataError: a phrase: the template does not write the tools.
    """
    template = replace(template, tools=tuple(json.loads(conversation.tools)) if conversation.tools else ())
    turns = conversation.messages
    calls = [turn for turn in turns if "tool_calls" in turn]
    if calls and _wants_text(template, turns, calls):
        template = replace(template, arguments_as_text=True)
    if not template.tools:
        return template
    text, bare = template.text(turns), replace(template, tools=()).text(turns)
    missing = [tool_name(tool) for tool in template.tools if not re.search(name_pattern(tool_name(tool)), text)]
    if missing or text == bare:
        names = listing(missing or map(tool_name, template.tools))
        raise DataError(f"the chat template does not write its tools ({names}); {OTHER_ROWS}")
    return template


def _wants_text(template: _Template, turns: Sequence[Message], calls: Sequence[Message]) -> bool:
    """Tell whether a template fails on arguments that are objects, or prints them as Python does."""
    try:
        text = template.text(turns)
    except DataError:
        return True
    return any(printed_as_python(turn, text) for turn in calls)


def _render_marked(conversation: Conversation, template: _Template) -> Rendering:
    """Return the rendering of a template that marks what the assistant writes."""
    turns = list(conversation.messages)
    whole, marked = template.render(turns, return_assistant_tokens_mask=True)
    text = whole.text
    _find_turns(turns, range(len(turns)), text, (0, len(text)))
    prompt_end = _find_turns(turns, range(conversation.given), text, (0, len(text)))
    eos = template.tokenizer.eos_token or ""
    # a model that is not taught to end its turn never ends it
    ends = [end + len(eos) if text.startswith(eos, end) else end for _, end in marked]
    spans = [(start, end) for (start, _), end in zip(marked, ends, strict=True) if end > start]
    if conversation.without_loss:
        spans = _of_turns(spans, conversation)
    spans = [(start, end) for start, end in spans if start >= prompt_end]
    answers = "\n".join(text[start:end] for start, end in spans)
    _find_turns(turns, conversation.completion_turns, answers, (0, len(answers)))
    return Rendering(text, tuple(spans), whole.literal)


def _of_turns(spans: list[CharSpan], conversation: Conversation) -> list[CharSpan]:
    """Return the marked spans of the turns that are learned.

    Raises:
        DataError: a phrase: it is not one span for each turn of the assistant.
    """
    joint: list[CharSpan] = []
    for start, end in spans:  # an end of text can be marked by itself
        if joint and start <= joint[-1][1]:
            joint[-1] = (joint[-1][0], max(end, joint[-1][1]))
        else:
            joint.append((start, end))
    places = [place for place, turn in enumerate(conversation.messages) if turn["role"] == "assistant"]
    if len(joint) != len(places):
        raise DataError(
            f"the chat template marks {len(joint)} parts of {len(places)} turns of the assistant, "
            f"so which have no loss cannot be told; {OTHER_ROWS}"
        )
    with_loss = set(conversation.completion_turns)
    return [span for place, span in zip(places, joint, strict=True) if place in with_loss]


def _find_turns(turns: Sequence[Message], indices: Sequence[int], text: str, span: CharSpan) -> int:
    """Return where the last of the turns at `indices` ends in a span of a text, in which all stand in their order.

    Raises:
        DataError: one of them does not.
    """
    start, end = span
    for index in indices:
        for name, patterns in written_pieces(turns[index]):
            matches = (re.compile(pattern).search(text, start, end) for pattern in patterns)
            match = next((match for match in matches if match), None)
            if match is None:
                raise DataError(
                    f"the chat template drops or changes turn {index + 1}, the {turns[index]['role']}'s "
                    f"{name or shortened(turns[index]['content'].strip())}; {OTHER_ROWS}"
                )
            start = match.end()
    return start
