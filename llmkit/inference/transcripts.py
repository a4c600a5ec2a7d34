"""Conversations as JSONL that training reads: a line {"messages": [{"role":, "content":}, ...]} for each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from llmkit.data.columns import Row
from llmkit.data.conversations import messages_of, require_turns
from llmkit.data.files import decode, read_rows
from llmkit.data.turns import Message
from llmkit.errors import DataError
from llmkit.output.atomic import write_whole
from llmkit.output.report import to_json


def line_of(messages: Sequence[Message]) -> str:
    """Return the line of a conversation."""
    return to_json({"messages": list(messages)})


def save_conversation(path: Path, messages: Sequence[Message], saved_line: str | None) -> int:
    """Write a conversation into a file and return the number of its line: the last one.

    It is added to what the file holds; but where the last line is `saved_line`, of the same conversation when it was
    shorter, that line is replaced.

    Raises:
        DataError: the file is not named .jsonl, cannot be written, or holds no text.
    """
    if path.suffix != ".jsonl":
        raise DataError(f"a conversation is saved in a file that ends in .jsonl, not {path.name!r}")
    try:
        content = path.read_bytes() if path.exists() else b""
        lines = decode(content, "utf-8", str(path)).rstrip("\n").split("\n") if content.strip() else []
        if lines and lines[-1] == saved_line:
            lines.pop()
        lines.append(line_of(messages))
        write_whole(path, "".join(f"{line}\n" for line in lines))
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}") from error
    return len(lines)


def load_conversation(path: Path) -> tuple[list[Message], int]:
    """Return the last conversation of a JSONL file, and the number of its line.

    Raises:
        DataError: there is no such file, or its last line is no conversation of user and assistant in turns.
        EmptyError: the file is empty.
    """
    if not path.is_file():
        raise DataError(f"there is no file {str(path)!r}")
    rows = read_rows(path)
    return _conversation(rows[-1], f"{path}, row {len(rows)}"), len(rows)


def _conversation(row: Row, name: str) -> list[Message]:
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages:
        raise DataError(f'{name}: a conversation is {{"messages": [{{"role":, "content":}}, ...]}}, and this is none')
    try:
        conversation = messages_of(messages, "user")
        last = "user" if conversation[-1]["role"] == "user" else "assistant"  # a prompt is a conversation too
        require_turns(conversation, last)
    except DataError as error:
        raise DataError(f"{name}: {error}") from None
    return conversation
