"""What the turns of a column of messages hold beside roles and texts, and whether texts are such messages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING

from llmkit.data.columns import is_string, item_of
from llmkit.data.conversions.literals import parsed
from llmkit.data.turns import CALL_KEYS, CONTENT_KEYS, EXCHANGES, LOSS_KEYS, MASK_KEYS, ROLE_KEYS
from llmkit.errors import listing

if TYPE_CHECKING:
    from datasets import Dataset

ROWS_TO_JUDGE = 100  # of a column, by which it is told what its cells hold
READ_KEYS = frozenset({*ROLE_KEYS, *CONTENT_KEYS, *LOSS_KEYS, *MASK_KEYS, *CALL_KEYS, *chain(*EXCHANGES), "name", "id"})
THOUGHTS = re.compile(r"reason|think|thought|cot|rationale|analysis|image|audio|video|citation|context|weight")
WORDS_OF_KEY = 3  # of a value, above which a key of turns says something


def keys_of_turns(rows: Dataset, name: str) -> set[str]:
    """Return the keys of the turns of a column that hold something, judged by its first rows."""
    return {key for turn in _turns_of(rows, name) for key, value in turn.items() if value not in (None, "", [], {})}


def unread_keys(rows: Dataset, columns: Mapping[str, str]) -> list[str]:
    """Return the keys of turns that say something which nothing reads: reasoning_content, thinking, citations."""
    name = columns.get("messages")
    if name is None or name not in rows.column_names:
        return []
    found: dict[str, int] = {}
    for turn in _turns_of(rows, name):
        for key, value in turn.items():
            if key.lower() not in READ_KEYS and value not in (None, "", [], {}):
                matters = THOUGHTS.search(key.lower()) or (isinstance(value, str) and len(value.split()) > WORDS_OF_KEY)
                found[key] = found.get(key, 0) + bool(matters)
    return [key for key, count in found.items() if count]


def _turns_of(rows: Dataset, name: str) -> Iterator[Mapping[str, object]]:
    for cell in rows.select_columns([name])[:ROWS_TO_JUDGE][name]:
        listed = parsed(cell) if isinstance(cell, str) else cell
        yield from (turn for turn in listed if isinstance(turn, Mapping)) if isinstance(listed, list) else ()


def what_is_read(rows: Dataset, columns: Mapping[str, str]) -> Iterator[str]:
    """Yield what turns have beside a role and a text, and how their cells are written."""
    for role in ("messages", "prompt", "completion"):
        name = columns.get(role)
        if name is None or name not in rows.column_names:
            continue
        if is_string(rows.features[name]) and (role == "messages" or hold_messages(rows, name)):
            yield f"lists written as text in {name}"
        if role == "messages" and is_string(item_of(rows.features[name])):
            yield "texts of the user and the assistant in turn"
        keys = keys_of_turns(rows, name)
        losses, calls = sorted(keys & {*LOSS_KEYS, *MASK_KEYS}), sorted(keys & {*CALL_KEYS})
        if losses:
            yield f"{listing(losses)} of turns: which are learned"
        if calls:
            yield f"{listing(calls)} of turns"
        if any(isinstance(turn.get("content"), list) for turn in _turns_of(rows, name)):
            yield "parts of text joined"


def messages_in(text: str) -> object:
    """Return the messages that a text holds as JSON, or None where it is a text like any other."""
    found = parsed(text)
    listed = [found] if isinstance(found, dict) else found
    if not listed or not all(isinstance(item, dict) and any(key in item for key in ROLE_KEYS) for item in listed):
        return None
    return found


def hold_messages(rows: Dataset, name: str) -> bool:
    """Tell whether the texts of a column are lists of messages."""
    texts = [text for text in rows.select_columns([name])[:ROWS_TO_JUDGE][name] if text and text.strip()]
    return bool(texts) and all(messages_in(text) is not None for text in texts)
