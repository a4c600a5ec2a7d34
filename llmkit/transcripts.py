"""Conversations as JSONL that training reads: a line {"messages": [{"role":, "content":}, ...]} for each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmkit.errors import DataError
from llmkit.files import decode, read_rows
from llmkit.report import to_json
from llmkit.writing import write_whole

Message = dict[str, str]
ROLES = ("user", "assistant")  # in turns, after a system message or none


def line_of(messages: Sequence[Message]) -> str:
    """Return the line of a conversation."""
    return to_json({"messages": list(messages)})


def save_conversation(path: Path, messages: Sequence[Message], before: str | None) -> int:
    """Write a conversation into a file and return the number of its line: the last one.

    It is added to what the file holds; but where the last line is `before`, the same conversation when it was shorter,
    that line is replaced.

    Raises:
        DataError: the file is not named .jsonl, cannot be written, or holds no text.
    """
    if path.suffix != ".jsonl":
        raise DataError(f"a conversation is saved in a file that ends in .jsonl, not {path.name!r}")
    try:
        content = path.read_bytes() if path.exists() else b""
        lines = decode(content, "utf-8", str(path)).rstrip("\n").split("\n") if content.strip() else []
        if lines and lines[-1] == before:
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
    return _checked(rows[-1], f"{path}, row {len(rows)}"), len(rows)


def _checked(row: dict[str, Any], where: str) -> list[Message]:
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages:
        raise DataError(f'{where}: a conversation is {{"messages": [{{"role":, "content":}}, ...]}}, and this is none')
    if not all(isinstance(message, dict) and isinstance(message.get("content"), str) for message in messages):
        raise DataError(f"{where}: a message has a role and a content, both of them texts")
    roles = [message.get("role") for message in messages]
    turns = roles[1:] if roles[0] == "system" else roles
    wrong = next((place for place, role in enumerate(turns) if role != ROLES[place % 2]), None)
    if wrong is not None or not turns:
        got = f"{turns[wrong]!r} stands where {ROLES[wrong % 2]!r} is due" if wrong is not None else "there are none"
        raise DataError(f"{where}: user and assistant speak in turns, and {got}")
    return [{"role": str(message["role"]), "content": message["content"]} for message in messages]
