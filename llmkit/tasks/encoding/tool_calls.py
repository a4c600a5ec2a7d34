"""Calls of tools and their results, as chat templates read them, and as they stand in a rendered text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from llmkit.data.conversations import tool_name
from llmkit.data.turns import Message

TemplateMessage = dict[str, object]  # a message as a template reads it, with calls as objects


def template_message(message: Message, arguments_as_text: bool = False) -> TemplateMessage:
    """Return a message with its calls as objects; their arguments are objects too, or JSON as some templates want."""
    spelled: TemplateMessage = dict(message)
    if "tool_calls" in message:
        spelled["tool_calls"] = [_spelled(call, arguments_as_text) for call in calls_of(message)]
    return spelled


def calls_of(message: Message) -> list[dict[str, object]]:
    """Return the calls of a message."""
    calls: list[dict[str, object]] = json.loads(message.get("tool_calls", "[]"))
    return calls


def printed_as_python(message: Message, text: str) -> bool:
    """Tell whether a text holds the arguments of a call as Python prints objects: the template expects JSON there."""
    arguments = (_function(call).get("arguments") for call in calls_of(message))
    return any(isinstance(value, dict) and value and str(value) in text for value in arguments)


def written_pieces(message: Message) -> Iterator[tuple[str, list[str]]]:
    """Yield what a rendered text must hold of a message: in words, and as patterns of which one is to match."""
    content = message["content"].strip()
    if content:
        escaped = json.dumps(content, ensure_ascii=False)[1:-1]  # some templates write results of tools as JSON
        spellings = [content, escaped] if message["role"] == "tool" and escaped != content else [content]
        yield "", [re.escape(spelling) for spelling in spellings]
    for call in calls_of(message):
        yield f"call of {tool_name(call)!r}", [name_pattern(tool_name(call))]


def name_pattern(name: str) -> str:
    """Return a pattern of a name that stands alone, not inside of a longer one."""
    return rf"(?<!\w){re.escape(name)}(?!\w)"


def _spelled(call: dict[str, object], arguments_as_text: bool) -> dict[str, object]:
    function = dict(_function(call))
    if arguments_as_text and not isinstance(function.get("arguments"), str):
        function["arguments"] = json.dumps(function.get("arguments"), ensure_ascii=False)
    return {**call, "function": function}


def _function(call: Mapping[str, object]) -> Mapping[str, object]:
    function = call.get("function")
    return function if isinstance(function, Mapping) else {}
