"""Conversations that come with more than a role and a content for each turn: one column of messages is made of them.

Whatever speaks for itself in today's columns stays as it is; what is read here are cells of JSON, system messages,
tools and earlier turns in columns of their own, calls of tools, weights of turns, and what the flags say of turns.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from llmkit.data.columns import Row, is_string, item_of
from llmkit.data.conversations import INVALID_ROWS, Conversation, conversation_of
from llmkit.data.conversions.base import Conversion
from llmkit.data.conversions.turn_keys import hold_messages, messages_in, what_is_read
from llmkit.data.conversions.writing import with_columns
from llmkit.data.turns import CALL_KEYS, LOSS_KEYS, MASK_KEYS, ROLE_AND_CONTENT_KEYS, Dialect, Message
from llmkit.errors import DataError, shortened_repr
from llmkit.options import TaskFlags

if TYPE_CHECKING:
    from datasets import Dataset, List

MEDIA = ("image", "images", "image_path", "video", "videos", "audio", "audios")  # columns of what no text model reads
MESSAGE_TYPES = {
    "role": "string",
    "content": "string",
    "tool_calls": "string",
    "tool_call_id": "string",
    "name": "string",
    "train": "bool",
}
ROWS_PER_BATCH = 1000  # that are read at a time
MIN_ROWS = 20  # that a share is taken of, where rows come a few at a time


@dataclass(frozen=True)
class Skipped:
    """Rows that were left out of those that a conversion was found in."""

    count: int = 0
    rows: int = 0
    first: str = ""  # the first of them, by its number, and what is wrong with it

    @property
    def phrase(self) -> str:
        """How many rows were left out, and of what kind, or nothing."""
        return f"; --skip-invalid leaves out {self.count} of {self.rows} rows ({self.first})" if self.count else ""


NONE_SKIPPED = Skipped()


@dataclass(frozen=True)
class ChatConversion(Conversion):
    """Conversations as one column `messages` whose turns have one form, with a column `tools` where there are any."""

    sources: tuple[tuple[str, str], ...]  # columns by role, as they are in the rows
    media: tuple[str, ...] = ()
    speakers: tuple[tuple[str, str], ...] = ()
    merge_turns: bool = False
    skip_invalid: float | None = None
    skipped: Skipped = NONE_SKIPPED
    how: tuple[str, ...] = ()  # what is read of the turns beside their roles and texts

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(name for role, name in self.sources if role in ("messages", "prompt", "completion"))

    @property
    def writes(self) -> tuple[str, ...]:
        return tuple(self.columns.values())

    @property
    def columns(self) -> dict[str, str]:
        """The columns of the converted rows by role."""
        tools = {"tools": "tools"} if "tools" in dict(self.sources) else {}
        return {"messages": "messages", **tools}

    @property
    def sentence(self) -> str:
        names = ", ".join(f"{role}={name}" for role, name in self.sources)
        history = "; nothing is learned of the history" if "history" in dict(self.sources) else ""
        merged = "; neighbours of one role are joined" if self.merge_turns else ""
        how = f" ({', '.join(self.how)})" if self.how else ""
        return f"conversations are made of {names}{how}{history}{merged}{self.skipped.phrase}"

    def apply(self, rows: Dataset) -> Dataset:
        from datasets import Dataset, Features, Value

        found = list(self.read(rows))
        invalid = [number for number, (_, error) in enumerate(found, start=1) if error]
        if invalid:
            first = f"row {invalid[0]}: {found[invalid[0] - 1][1]}"
            require_few(len(invalid), max(len(rows), MIN_ROWS), self.skip_invalid, first)
        conversations = [conversation for conversation, _ in found]
        features = {"messages": messages_feature(), "tools": Value("string")}
        new: dict[str, list[object]] = {"messages": [_written(conversation) for conversation in conversations]}
        if "tools" in self.columns:
            new["tools"] = [conversation.tools if conversation else None for conversation in conversations]
        made = Dataset.from_dict(new, features=Features({name: features[name] for name in new}))
        return with_columns(rows, made)

    def read(self, rows: Dataset) -> Iterator[tuple[Conversation | None, str]]:
        """Yield the conversation of each row, or None and what is wrong with the row, nothing where it is blank."""
        columns = {role: name for role, name in self.sources if name in rows.column_names}
        media = [name for name in self.media if name in rows.column_names]
        dialect = Dialect(dict(self.speakers), self.merge_turns)
        for row in cells_of(rows, [*columns.values(), *media]):
            try:
                require_text_alone(row, media)
                yield conversation_of(parsed_messages(row, columns), columns, dialect), ""
            except DataError as error:
                yield None, str(error)


def find(rows: Dataset, columns: Mapping[str, str], flags: TaskFlags) -> ChatConversion | None:
    """Return how conversations in the columns, which are given by role, become messages; None where they can stay.

    Raises:
        DataError: more rows are invalid than --skip-invalid lets go.
    """
    media = media_columns(rows)
    flagged = flags.role or flags.merge_turns or flags.skip_invalid is not None
    apart = set(columns) & {"tools", "history"} or {"messages", "system"} <= set(columns)
    if not (flagged or apart or media or any(_needs_reading(rows, role, name) for role, name in columns.items())):
        return None
    conversion = ChatConversion(
        tuple(columns.items()),
        media,
        tuple(flags.speakers.items()),
        bool(flags.merge_turns),
        flags.skip_invalid,
        how=tuple(what_is_read(rows, columns)),
    )
    if flags.skip_invalid is None:
        return conversion
    errors = [error for _, error in conversion.read(rows)]
    return replace(conversion, skipped=skipped_of(errors, flags.skip_invalid))


def media_columns(rows: Dataset) -> tuple[str, ...]:
    """Return the columns that hold images, sounds or films."""
    return tuple(name for name in rows.column_names if name.lower() in MEDIA)


def require_text_alone(row: Row, media: list[str]) -> None:
    """Refuse a row with an image or the like.

    Raises:
        DataError: a phrase.
    """
    for name in media:
        if row[name]:
            raise DataError(f"it comes with {name} {shortened_repr(row[name])}, and only text is read")


def cells_of(rows: Dataset, columns: list[str]) -> Iterator[Row]:
    """Yield the rows with some columns alone."""
    for batch in rows.select_columns(list(dict.fromkeys(columns))).iter(ROWS_PER_BATCH):
        yield from (dict(zip(batch, cells, strict=True)) for cells in zip(*batch.values(), strict=True))


def parsed_messages(row: Row, columns: Mapping[str, str]) -> Row:
    """Return a row in which texts of a prompt and of answers that are JSON of messages are lists."""
    names = [name for role, name in columns.items() if role in ("prompt", "completion", "chosen", "rejected")]
    texts = ((name, row[name]) for name in names)
    lists = {name: messages_in(text) for name, text in texts if isinstance(text, str)}
    return {**row, **{name: value for name, value in lists.items() if value is not None}}


def require_few(count: int, total: int, share: float | None, first: str) -> None:
    """Refuse invalid rows that are more than a share of all.

    Raises:
        DataError: naming the first.
    """
    if share is None:
        raise DataError(first if INVALID_ROWS in first else f"{first}; {INVALID_ROWS}")
    if count > share * total:
        more = f": --skip-invalid {math.ceil(100 * count / total) / 100:g} does" if count < total else ""
        raise DataError(
            f"{_without_hint(first)}; {count} of {total} rows are invalid, which is more than "
            f"--skip-invalid {share:g} leaves out{more}"
        )


def skipped_of(errors: list[str], share: float) -> Skipped:
    """Return how many rows were left out, by what is wrong with each.

    Raises:
        DataError: they are more than the share.
    """
    numbers = [number for number, error in enumerate(errors, start=1) if error]
    if not numbers:
        return Skipped(0, len(errors))
    first = _without_hint(f"row {numbers[0]}: {errors[numbers[0] - 1]}")
    require_few(len(numbers), len(errors), share, first)
    return Skipped(len(numbers), len(errors), first)


def messages_feature() -> List:
    """Return the feature of a column of lists of messages with all their fields."""
    from datasets import List, Value

    return List({name: Value(kind) for name, kind in MESSAGE_TYPES.items()})


def canonical(message: Message, has_loss: bool) -> dict[str, str | bool | None]:
    """Return a message with all its fields, as they stand in a column."""
    return {**{name: message.get(name) for name in MESSAGE_TYPES}, "train": has_loss}


def _without_hint(error: str) -> str:
    return error.replace(f", and {INVALID_ROWS}", "").replace(f"; {INVALID_ROWS}", "")


def _written(conversation: Conversation | None) -> list[dict[str, str | bool | None]] | None:
    if conversation is None:
        return None
    with_loss = set(conversation.completion_turns)
    return [canonical(message, place in with_loss) for place, message in enumerate(conversation.messages)]


def _needs_reading(rows: Dataset, role: str, name: str) -> bool:
    """Tell whether a column holds more than texts, and messages of a role and a text."""
    from datasets import Value

    feature = rows.features[name]
    if role == "messages" and is_string(feature):
        return True
    if role in ("prompt", "completion") and is_string(feature):
        return hold_messages(rows, name)
    if role not in ("messages", "prompt", "completion") or isinstance(feature, Value):
        return False
    item = item_of(feature)
    if not isinstance(item, dict) or set(item) & {*LOSS_KEYS, *MASK_KEYS, *CALL_KEYS}:
        return True
    return not any(all(key in item and is_string(item[key]) for key in keys) for keys in ROLE_AND_CONTENT_KEYS)
