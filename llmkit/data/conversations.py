"""Conversations: rows of the usual four shapes as messages of a role and a content, checked turn by turn.

The columns are known by their roles:

    messages                        {"role": "user", "content": ...} and so on, or ShareGPT's "from" and "value"
    prompt, completion              two texts, or two lists of messages of which the second is learned
    prompt, input, completion       Alpaca's instruction, input and output; `input` may be empty
    system                          what the system says, may be empty
    history                         turns before the prompt, of which nothing is learned: pairs of texts, or messages
    tools                           what the assistant can call: a list of objects, or JSON of one
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from llmkit.data.columns import Row
from llmkit.data.conversions.literals import parsed, without_nulls
from llmkit.data.turns import Dialect, Message, Turn, joined, turns_of
from llmkit.errors import DataError, shortened_repr

TURN_ORDER = "after an optional system message, user and assistant take turns"
INVALID_ROWS = "--skip-invalid 0.1 leaves out such rows, up to a tenth"
OUT_OF_ORDER = f"--merge-turns joins neighbours of one role, and {INVALID_ROWS}"
PLAIN = Dialect()


@dataclass(frozen=True)
class Conversation:
    """Messages in order, the assistant's last; the first `given` are a prompt, of which nothing is learned."""

    messages: tuple[Message, ...]
    given: int = 0
    without_loss: frozenset[int] = frozenset()  # places of other turns of which nothing is learned
    tools: str = ""  # what the assistant can call, as JSON

    @property
    def completion_turns(self) -> list[int]:
        """The places of the turns that are learned: the assistant's, behind the prompt."""
        turns = enumerate(self.messages)
        places = [place for place, turn in turns if turn["role"] == "assistant" and place >= self.given]
        return [place for place in places if place not in self.without_loss]


def conversation_of(row: Row, columns: Mapping[str, str], dialect: Dialect = PLAIN) -> Conversation | None:
    """Return the conversation of a row whose columns are given by role, or None where a turn of it is blank.

    Raises:
        DataError: a phrase on what is wrong with the row, which the caller names.
    """
    cells = {role: row.get(column) for role, column in columns.items()}
    if "messages" in columns:
        listed = _in_turn(_listed(cells["messages"], columns["messages"]))
        prompt, completion = [], turns_of(listed, "assistant", dialect)
    else:
        prompt, completion = prompt_turns(cells, dialect), turns_of(cells["completion"], "assistant", dialect)
        if not prompt or not completion:
            return None
    turns = _after(cells, [*prompt, *completion], dialect)
    if not turns:
        return None
    given = len(turns) - len(completion) if prompt else 0
    if dialect.merge_turns:
        turns = joined([*(Turn(turn.message, False) for turn in turns[:given]), *turns[given:]])
        given = 0 if not prompt else next((n for n, turn in enumerate(turns) if turn.has_loss), 0)
    require_ordered([turn.message for turn in turns], may_open=True, may_call=True)
    if turns[0].role == "system" and turns[0].is_blank:
        turns, given = turns[1:], max(given - 1, 0)  # an empty column; what templates say without one is better
    if any(turn.is_blank for turn in turns):
        return None
    messages = tuple(turn.message for turn in turns)
    return Conversation(messages, given, _without_loss(turns, given), tools_of(cells.get("tools")))


def messages_of(cell: object, role: str) -> list[Message]:
    """Return the messages of a cell: a list of them, or a text, which is one of that role; none of an empty cell.

    Raises:
        DataError: it is neither, or a turn has no role that is known.
    """
    return [turn.message for turn in turns_of(cell, role)]


def require_turns(
    messages: Sequence[Message], ends: str = "assistant", may_open: bool = False, may_call: bool = False
) -> None:
    """Refuse messages that are no conversation which ends with a turn of the role `ends`.

    With `may_open` the assistant can speak before the user; with `may_call` results of tools can stand behind a turn of
    the assistant's.

    Raises:
        DataError: a phrase that names the turn.
    """
    if ends == "assistant" and not any(message["role"] == "assistant" for message in messages):
        answered = any(turn["role"] == "system" for turn in messages[1:])
        hint = ": --role system=assistant says that it speaks as system" if answered else ""
        raise DataError(f"no turn is the assistant's, so there is nothing to learn{hint}")
    first = ("system", "user", "assistant") if may_open else ("system", "user")
    following = {
        "system": first[1:],
        "user": ("assistant",),
        "assistant": ("user", "tool") if may_call else ("user",),
        "tool": ("assistant", "tool"),
    }
    allowed: tuple[str, ...] = first
    for number, message in enumerate(messages, start=1):
        if message["role"] not in allowed:
            raise DataError(f"turn {number} is the {message['role']}'s, out of order: {TURN_ORDER}")
        allowed = following[message["role"]]
        if message.get("tool_calls"):
            allowed = ("tool",)
    if messages[-1]["role"] != ends:
        raise DataError(f"the last turn is the {messages[-1]['role']}'s, and the {ends}'s is wanted: {TURN_ORDER}")
    if not any(message["role"] == "user" for message in messages):
        raise DataError("no turn is the user's, so there is nothing to answer")


def require_ordered(messages: Sequence[Message], may_open: bool = False, may_call: bool = False) -> None:
    """Refuse rows that `require_turns` refuses, with the flags that let them go.

    Raises:
        DataError: a phrase that names the turn and the flags.
    """
    try:
        require_turns(messages, may_open=may_open, may_call=may_call)
    except DataError as error:
        twice = any(turn["role"] == after["role"] for turn, after in pairwise(messages))
        raise DataError(f"{error}; {OUT_OF_ORDER if twice else INVALID_ROWS}") from None


def prompt_turns(cells: Mapping[str, object], dialect: Dialect | None = None) -> list[Turn]:
    """Return the turns of a prompt, an input in a line below its instruction, as LLaMA-Factory puts it.

    Raises:
        DataError: a phrase: the input is no text, or goes with no text.
    """
    prompt, more = cells.get("prompt"), cells.get("input")
    if isinstance(more, int | float) and not isinstance(more, bool):
        more = "".join(turn.message["content"] for turn in turns_of(more, "user"))
    if not isinstance(more, str | None):
        raise DataError(f"its input is {shortened_repr(more)}, and a text is wanted")
    turns = turns_of(prompt, "user", dialect)
    if not turns or not more or not more.strip():
        return turns
    if isinstance(prompt, Mapping | list):
        raise DataError(f"its input is {shortened_repr(more)} beside a list of messages, and goes with a text")
    return [Turn({"role": "user", "content": f"{turns[0].message['content']}\n{more}"})]


def with_system(system: object, turns: list[Turn]) -> list[Turn]:
    """Return turns that begin with what a system column says, where it says anything.

    Raises:
        DataError: a phrase: it is no text, or the turns have another system message.
    """
    if not isinstance(system, str | None):
        raise DataError(f"its system is {shortened_repr(system)}, and a text is wanted")
    if not system or not turns:
        return turns
    first = turns[0]
    if first.role == "system" and first.message["content"].strip() not in ("", system.strip()):
        raise DataError(
            f"its column of system messages says {shortened_repr(system)}, and turn 1 says "
            f"{shortened_repr(first.message['content'])}; one is wanted, and {INVALID_ROWS}"
        )
    return [Turn({"role": "system", "content": system}), *turns[first.role == "system" :]]


def tools_of(cell: object) -> str:
    """Return the tools of a cell as JSON in the form that chat templates read, or "" where there are none.

    Raises:
        DataError: a phrase: the cell is no list of objects that have names.
    """
    listed = parsed(cell) if isinstance(cell, str) and cell.strip() else cell
    if not listed or isinstance(listed, str):
        if listed is None and isinstance(cell, str) and cell.strip():
            raise DataError(f"its tools are {shortened_repr(cell)}, and a list of tools or JSON of one is wanted")
        return ""
    tools = [without_nulls(tool) for tool in (listed if isinstance(listed, list) else [listed])]
    for tool in tools:
        if not tool_name(tool):
            raise DataError(f"its tools hold {shortened_repr(tool)}, which names no function")
    functions = [tool if "function" in tool else {"type": "function", "function": tool} for tool in tools]  # type: ignore[operator]
    return json.dumps(functions, ensure_ascii=False)


def tool_name(tool: object) -> str:
    """Return the name of the function of a tool or of a call, or "" where it has none."""
    function = tool.get("function", tool) if isinstance(tool, Mapping) else None
    return str(function.get("name") or "") if isinstance(function, Mapping) else ""


def _without_loss(turns: Sequence[Turn], given: int) -> frozenset[int]:
    """Return the places of the assistant's turns of which nothing is learned: told so, or before any question."""
    asked = next(place for place, turn in enumerate(turns) if turn.role == "user")
    places = (place for place, turn in enumerate(turns) if turn.role == "assistant" and place >= given)
    return frozenset(place for place in places if place < asked or not turns[place].has_loss)


def _listed(cell: object, column: str) -> object:
    """Return the list of a cell of messages, which a text can hold as JSON."""
    if not isinstance(cell, str | Sequence | Mapping | None):
        raise DataError(f"{shortened_repr(cell)} is neither a text nor a list of messages")
    if not isinstance(cell, str) or not cell.strip():
        return None if isinstance(cell, str) else cell
    found = parsed(cell)
    if found is None:
        raise DataError(
            f"its {column} are {shortened_repr(cell)}, and a list is wanted, or JSON of one; {INVALID_ROWS}"
        )
    return found


def _in_turn(cell: object) -> object:
    """Return messages of a list of texts, which the user and the assistant say in turn; another cell as it is."""
    if not isinstance(cell, list) or not cell or not all(isinstance(item, str) for item in cell):
        return cell
    return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(cell)]


def _after(cells: Mapping[str, object], turns: list[Turn], dialect: Dialect) -> list[Turn]:
    """Return turns behind those of a history, and all behind what a system column says."""
    history = cells.get("history")
    if isinstance(history, str):
        history = _listed(history, "earlier turns (history)")
    before = [Turn(turn.message, False) for turn in turns_of(history, "user", dialect)]
    if before and turns and turns[0].role == "system":
        turns, before = turns[1:], [turns[0], *before]
    return with_system(cells.get("system"), [*before, *turns] if turns else [])
