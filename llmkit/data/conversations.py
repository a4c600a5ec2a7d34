"""Conversations: rows of the usual four shapes as messages of a role and a content, checked turn by turn.

The columns are known by their roles:

    messages                        {"role": "user", "content": ...} and so on, or ShareGPT's "from" and "value"
    prompt, completion              two texts, or two lists of messages of which the second is learned
    prompt, input, completion       Alpaca's instruction, input and output; `input` may be empty
    system                          beside a prompt: what the system says, may be empty
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmkit.data.columns import Row
from llmkit.errors import DataError, listing, shortened_repr

Message = dict[str, str]  # role and content

ROLES = ("system", "user", "assistant")
SPEAKERS = {**{role: role for role in ROLES}, "human": "user", "gpt": "assistant"}  # ShareGPT's names are the last two
ROLE_AND_CONTENT_KEYS = (("role", "content"), ("from", "value"))
TURN_ORDER = "after an optional system message, user and assistant take turns"


@dataclass(frozen=True)
class Conversation:
    """Messages in order, the assistant's last; the first `given` are a prompt, of which nothing is learned."""

    messages: tuple[Message, ...]
    given: int = 0

    @property
    def completion_turns(self) -> list[int]:
        """The places of the turns that are learned: the assistant's, behind the prompt."""
        turns = enumerate(self.messages)
        return [place for place, turn in turns if turn["role"] == "assistant" and place >= self.given]


def conversation_of(row: Row, columns: Mapping[str, str]) -> Conversation | None:
    """Return the conversation of a row whose columns are given by role, or None where a turn of it is blank.

    Raises:
        DataError: a phrase on what is wrong with the row, which the caller names.
    """
    cells = {role: row.get(column) for role, column in columns.items()}
    if "messages" in columns:
        if isinstance(cells["messages"], str):
            raise DataError(f"its {columns['messages']} are {shortened_repr(cells['messages'])}, and a list is wanted")
        prompt, completion = [], messages_of(cells["messages"], "assistant")
    else:
        prompt, completion = _prompt(cells), messages_of(cells["completion"], "assistant")
        if not prompt or not completion:
            return None
    messages = [*prompt, *completion]
    if not messages:
        return None
    require_turns(messages)
    if messages[0]["role"] == "system" and not messages[0]["content"].strip():
        messages, prompt = messages[1:], prompt[1:]  # an empty column; what templates say without one is better
    if not all(message["content"].strip() for message in messages):
        return None
    return Conversation(tuple(messages), len(prompt))


def messages_of(cell: object, role: str) -> list[Message]:
    """Return the messages of a cell: a list of them, or a text, which is one of that role; none of an empty cell.

    Raises:
        DataError: it is neither, or a turn has no role that is known.
    """
    if cell is None or cell == "":
        return []
    if isinstance(cell, str):
        return [{"role": role, "content": cell}]
    if not isinstance(cell, Sequence):
        raise DataError(f"{shortened_repr(cell)} is neither a text nor a list of messages")
    return [_message(number, turn) for number, turn in enumerate(cell, start=1)]


def require_turns(messages: Sequence[Message], ends: str = "assistant") -> None:
    """Refuse messages that are no conversation which ends with a turn of the role `ends`.

    Raises:
        DataError: a phrase that names the turn.
    """
    if ends == "assistant" and not any(message["role"] == "assistant" for message in messages):
        raise DataError("no turn is the assistant's, so there is nothing to learn")
    allowed: tuple[str, ...] = ROLES[:2]
    for number, message in enumerate(messages, start=1):
        if message["role"] not in allowed:
            raise DataError(f"turn {number} is the {message['role']}'s, out of order: {TURN_ORDER}")
        allowed = ("assistant",) if message["role"] == "user" else ("user",)
    if messages[-1]["role"] != ends:
        raise DataError(f"the last turn is the {messages[-1]['role']}'s, and the {ends}'s is wanted: {TURN_ORDER}")


def _prompt(cells: Mapping[str, Any]) -> list[Message]:
    """Return the messages of a prompt: a system message if there is one, and what the user asks.

    An input stands in a line below its instruction, as LLaMA-Factory puts it.
    """
    prompt, more, system = cells["prompt"], cells.get("input"), cells.get("system")
    for role, cell in (("input", more), ("system", system)):
        if not isinstance(cell, str | None):
            raise DataError(f"its {role} is {shortened_repr(cell)}, and a text is wanted")
    if more and more.strip() and prompt:
        if not isinstance(prompt, str):
            raise DataError(f"its input is {shortened_repr(more)} beside a list of messages, and goes with a text")
        prompt = f"{prompt}\n{more}"
    messages = messages_of(prompt, "user")
    return [{"role": "system", "content": system}, *messages] if system and messages else messages


def _message(number: int, turn: object) -> Message:
    if not isinstance(turn, Mapping):
        raise DataError(f'turn {number} is {shortened_repr(turn)}, and {{"role": ..., "content": ...}} is wanted')
    role_key, content_key = next(
        (keys for keys in ROLE_AND_CONTENT_KEYS if turn.get(keys[0]) is not None), ROLE_AND_CONTENT_KEYS[0]
    )
    role, content = turn.get(role_key), turn.get(content_key)
    if role not in SPEAKERS:
        raise DataError(f"turn {number} has the role {shortened_repr(role)}; there are {listing(SPEAKERS)}")
    if not isinstance(content, str | None):
        raise DataError(f"the {content_key} of turn {number} is {shortened_repr(content)}, and a text is wanted")
    return {"role": SPEAKERS[role], "content": content or ""}
