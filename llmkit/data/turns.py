"""The turns of a chat, read from the words and the shapes that chats come in.

A turn is {"role": ..., "content": ...} or one of its dialects: ShareGPT's "from" and "value", a speaker and a text, a
pair of a question and its answer; its content a text or a list of parts; with calls of tools, and a weight of 0 or 1.
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from llmkit.data.conversions.literals import without_nulls
from llmkit.errors import DataError, listing, shortened_repr

Message = dict[str, str]  # role and content; of a call also tool_calls (JSON), of its result tool_call_id and name

ROLES = ("system", "user", "assistant", "tool")
SPEAKERS = {  # whose turn a name is, in lower case
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "model", "bot", "chatbot", "ai", "bing", "bard"), "assistant"),
    **dict.fromkeys(("tool", "function", "observation", "ipython", "tool_response", "function_response"), "tool"),
}
CALLERS = ("function_call", "tool_call", "tool_calls")  # turns of the assistant whose content is a call
ROLE_AND_CONTENT_KEYS = (("role", "content"), ("from", "value"))  # the usual ones
ROLE_KEYS = ("role", "from", "speaker", "author", "sender")
CONTENT_KEYS = ("content", "value", "text", "message", "utterance")
EXCHANGES = (  # keys of a question and of its answer, where both are one item
    ("user", "assistant"),
    ("human", "assistant"),
    ("human", "gpt"),
    ("question", "answer"),
    ("prompt", "response"),
    ("prompt", "completion"),
    ("instruction", "output"),
    ("input", "output"),
)
LOSS_KEYS = ("weight", "train", "trainable", "training", "loss")  # 0 or false: no loss
MASK_KEYS = ("masked",)  # 1 or true: no loss
CALL_KEYS = ("tool_calls", "function_call", "tool_call_id")
WEIGHTS = {"0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}
SHAPE = '{"role": ..., "content": ...}'


@dataclass(frozen=True)
class Dialect:
    """What flags say of turns: whose a name is, and whether neighbours of one role are joined."""

    speakers: Mapping[str, str] = field(default_factory=dict)  # by the name in lower case
    merge_turns: bool = False


@dataclass(frozen=True)
class Turn:
    """A message, and whether what it says is learned where the assistant says it."""

    message: Message
    has_loss: bool = True

    @property
    def role(self) -> str:
        """Whose turn it is."""
        return self.message["role"]

    @property
    def is_blank(self) -> bool:
        """Whether it says and calls nothing; a tool can answer nothing."""
        message = self.message
        return message["role"] != "tool" and not message["content"].strip() and "tool_calls" not in message


def are_keys_of_turns(keys: Iterable[str]) -> bool:
    """Tell whether an object of these keys is a turn: it has a role and a content, or a question and its answer."""
    known = {key.lower() for key in keys}
    is_turn = not known.isdisjoint(ROLE_KEYS) and not known.isdisjoint(CONTENT_KEYS)
    return is_turn or any(known.issuperset(keys) for keys in EXCHANGES[: len(EXCHANGES) - 4])


def turns_of(cell: object, role: str, dialect: Dialect | None = None) -> list[Turn]:
    """Return the turns of a cell: a list of them, or a text, which is one of that role; none of an empty cell.

    Raises:
        DataError: it is neither, or a turn cannot be read.
    """
    if isinstance(cell, int | float) and not isinstance(cell, bool):
        cell = "" if math.isnan(cell) else str(cell)
    if cell is None or cell == "":
        return []
    if isinstance(cell, str):
        return [Turn({"role": role, "content": cell})]
    if isinstance(cell, Mapping):
        cell = _items(cell)
    if not isinstance(cell, Sequence):
        raise DataError(f"{shortened_repr(cell)} is neither a text nor a list of messages")
    return [turn for number, item in enumerate(cell, start=1) for turn in _turns(number, item, dialect)]


def joined(turns: Sequence[Turn]) -> list[Turn]:
    """Return turns with neighbours of one role as one, a blank line between what they say; results of tools stay.

    Raises:
        DataError: one of two neighbours has a loss and the other has none.
    """
    merged: list[Turn] = []
    for number, turn in enumerate(turns, start=1):
        if not merged or merged[-1].role != turn.role or turn.role == "tool":
            merged.append(turn)
            continue
        before = merged[-1]
        if before.has_loss != turn.has_loss and turn.role == "assistant":
            raise DataError(
                f"turn {number} and the one before it are both the assistant's, and one of them has no loss"
            )
        message = {**before.message, **turn.message}
        texts = (before.message["content"], turn.message["content"])
        message["content"] = "\n\n".join(text for text in texts if text.strip())
        if "tool_calls" in before.message and "tool_calls" in turn.message:
            calls = [*json.loads(before.message["tool_calls"]), *json.loads(turn.message["tool_calls"])]
            message["tool_calls"] = json.dumps(calls, ensure_ascii=False)
        merged[-1] = Turn(message, before.has_loss)
    return merged


def _items(cell: Mapping[str, object]) -> Sequence[object]:
    """Return the messages of an object: a column of lists, as `datasets` gives it, a list under a key, or one turn."""
    lists = {key: value for key, value in cell.items() if isinstance(value, list)}
    if lists and len(lists) == len(cell) and any(key in lists for key in ROLE_KEYS):
        return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]
    for key in ("messages", "conversations", "conversation", "turns"):
        if key in lists:
            return lists[key]
    return [cell]


def _turns(number: int, item: object, dialect: Dialect | None) -> Iterator[Turn]:
    exchange = _exchange(item)
    if exchange is not None:
        for role, text in zip(("user", "assistant"), exchange, strict=True):
            yield Turn({"role": role, "content": _text(text, role, number)})
        return
    if not isinstance(item, Mapping):
        raise DataError(f"turn {number} is {shortened_repr(item)}, and {SHAPE} is wanted")
    if not any(key in item for key in ROLE_KEYS):
        item = {str(key).lower(): value for key, value in item.items()}
    role, is_call = _role(item, number, dialect)
    content_key = next((key for key in CONTENT_KEYS if item.get(key) is not None), "content")
    content, calls = _text(item.get(content_key), content_key, number), _calls(item, number)
    if is_call:
        content, calls = "", [_call(call, number) for call in _parsed_calls(content, number)]
    message = {"role": role, "content": content}
    if calls and role != "assistant":
        raise DataError(f"turn {number} calls a tool, and is the {role}'s; calls are the assistant's")
    if calls:
        message["tool_calls"] = json.dumps(calls, ensure_ascii=False)
    if role == "tool":
        names = {key: item[key] for key in ("tool_call_id", "name") if isinstance(item.get(key), str)}
        message |= names
    yield Turn(message, _has_loss(item, number))


def _exchange(item: object) -> tuple[object, object] | None:
    """Return a question and its answer where an item of the list is both."""
    if isinstance(item, Sequence) and not isinstance(item, str):
        texts = all(isinstance(text, str | None) for text in item)
        return (item[0], item[1]) if len(item) == len(("question", "answer")) and texts else None
    if not isinstance(item, Mapping) or any(item.get(key) is not None for key in ROLE_KEYS):
        return None
    found = (keys for keys in EXCHANGES if all(isinstance(item.get(key), str) for key in keys))
    keys = next(found, None)
    return (item[keys[0]], item[keys[1]]) if keys else None


def _role(item: Mapping[str, object], number: int, dialect: Dialect | None) -> tuple[str, bool]:
    """Return whose turn it is, and whether it is nothing but a call."""
    given = next((item[key] for key in ROLE_KEYS if item.get(key) is not None), None)
    if isinstance(given, Mapping):  # ChatGPT's own export
        given = given.get("role")
    if given is None:
        raise DataError(f"turn {number} has no role: {shortened_repr(dict(item))}, and {SHAPE} is wanted")
    name = str(given).strip().lower()
    of_flags = dialect.speakers if dialect else {}
    if name in of_flags:
        return of_flags[name], False
    name = name.replace("-", "_")
    if name in CALLERS:
        return "assistant", True
    if name not in SPEAKERS:
        flags = (f"--role {shlex.quote(f'{given}={role}')}" for role in ("user", "assistant"))
        flag = f"; {' or '.join(flags)} says whose it is" if dialect else ""
        raise DataError(
            f"turn {number} has the role {shortened_repr(given)}, none of {listing(ROLES)} and their usual names{flag}"
        )
    return SPEAKERS[name], False


def _text(content: object, key: str, number: int) -> str:
    """Return what a content says: a text, or the texts of its parts."""
    if isinstance(content, Mapping):
        content = content.get("parts") or [content]
    if isinstance(content, str | None):
        return content or ""
    if isinstance(content, int | float) and not isinstance(content, bool):
        return str(content)
    if not isinstance(content, Sequence):
        raise DataError(f"the {key} of turn {number} is {shortened_repr(content)}, and a text is wanted")
    return "".join(_part(part, key, number) for part in content)


def _part(part: object, key: str, number: int) -> str:
    if isinstance(part, str):
        return part
    kind = part.get("type") if isinstance(part, Mapping) else None
    text = part.get("text") if isinstance(part, Mapping) else None
    if kind in (None, "text", "input_text", "output_text") and isinstance(text, str):
        return text
    if kind is None or kind == "text":
        raise DataError(f"the {key} of turn {number} holds {shortened_repr(part)}, and parts of text are wanted")
    raise DataError(f"the {key} of turn {number} holds a part of type {kind!r}, and only text is read")


def _calls(item: Mapping[str, object], number: int) -> list[object]:
    """Return the calls beside the content of a turn, in the form that chat templates read."""
    calls = without_nulls(item.get("tool_calls")) or without_nulls(item.get("function_call")) or []
    if isinstance(calls, str):
        return [_call(call, number) for call in _parsed_calls(calls, number)]
    listed = calls if isinstance(calls, list) else [calls]
    return [_call(call, number) for call in listed]


def _parsed_calls(text: str, number: int) -> list[object]:
    try:
        calls = json.loads(text)
    except ValueError:
        calls = None
    if not isinstance(calls, dict | list):
        raise DataError(
            f'turn {number} is a call, and holds {shortened_repr(text)}, no JSON of {{"name", "arguments"}}'
        )
    return calls if isinstance(calls, list) else [calls]


def _call(call: object, number: int) -> dict[str, object]:
    function = (call.get("function") or call) if isinstance(call, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(call, Mapping) or not isinstance(function, Mapping) or not isinstance(name, str):
        raise DataError(f"turn {number} has the call {shortened_repr(call)}, which names no function")
    arguments = function.get("arguments", function.get("parameters"))
    if isinstance(arguments, str):
        with suppress(ValueError):  # what a model wrote can be no JSON
            arguments = json.loads(arguments) if arguments.strip() else {}
    spelled = {"name": name, "arguments": without_nulls(arguments) if arguments is not None else {}}
    more = {"id": call["id"]} if isinstance(call.get("id"), str) else {}
    return {**more, "type": "function", "function": spelled}


def _has_loss(item: Mapping[str, object], number: int) -> bool:
    given = {key: item[key] for key in (*LOSS_KEYS, *MASK_KEYS) if item.get(key) is not None}
    for key, value in given.items():
        weight = WEIGHTS.get(str(value).strip().lower())
        if weight is None:
            raise DataError(
                f"the {key} of turn {number} is {shortened_repr(value)}, and 1 (it is learned) or 0 (it is not) is read"
            )
        if weight == (key in MASK_KEYS):
            return False
    return True
