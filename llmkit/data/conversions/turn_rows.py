"""One turn a row, as exports of chats have them: the rows of a conversation made into one with a list of messages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmkit.data.columns import is_string, usual_among
from llmkit.data.conversions.base import Conversion
from llmkit.data.turns import CONTENT_KEYS, ROLE_KEYS, SPEAKERS
from llmkit.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset


CONVERSATION = re.compile(
    r"(conversation|conv|dialog(ue)?|chat|thread|session|message_tree)s?(_?(id|idx|no|num|number))?"
)
TURN = ("turn", "turn_id", "turn_number", "turn_index", "message_index", "position", "order", "step")
PARENTS = ("parent_id", "parent", "parent_message_id", "reply_to")


@dataclass(frozen=True)
class TurnRowConversion(Conversion):
    """Rows of one turn each as rows of one conversation each, by the column that names conversations."""

    role: str
    content: str
    conversation: str
    turn: str | None = None  # the column by which turns are sorted

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.role, self.content, self.conversation, *((self.turn,) if self.turn else ()))

    @property
    def writes(self) -> tuple[str, ...]:
        return ("messages",)

    @property
    def sentence(self) -> str:
        order = f"in the order of {self.turn}" if self.turn else "in the order of the rows"
        return (
            f"one turn a row: rows with the same {self.conversation} are a conversation, {order}, with roles from "
            f"{self.role} and texts from {self.content}"
        )

    def apply(self, rows: Dataset) -> Dataset:
        from datasets import Dataset, Features, List, Value

        cells = [rows[name][:] for name in (self.conversation, self.role, self.content)]
        turns = rows[self.turn][:] if self.turn else range(len(rows))
        found: dict[object, list[tuple[float, dict[str, object]]]] = {}
        for number, (key, role, content, turn) in enumerate(zip(*cells, turns, strict=True), start=1):
            if key is None or turn is None or role is None:
                name = self.conversation if key is None else self.role if role is None else self.turn
                raise DataError(f"row {number}: its {name} is blank, so which turn it is cannot be told")
            found.setdefault(key, []).append((float(turn), {"role": str(role), "content": content}))
        lists = [[turn for _, turn in sorted(turns, key=lambda pair: pair[0])] for turns in found.values()]
        text = Value("string")
        messages = List({"role": text, "content": text})
        features = Features({self.conversation: text, "messages": messages})
        return Dataset.from_dict({self.conversation: list(map(str, found)), "messages": lists}, features=features)


def find(rows: Dataset) -> TurnRowConversion | None:
    """Return how rows of one turn each are made into conversations, or None where rows are something else.

    Raises:
        DataError: they are trees of turns.
    """
    strings = [name for name in rows.column_names if is_string(rows.features[name])]
    roles, contents = usual_among(strings, ROLE_KEYS), usual_among(strings, CONTENT_KEYS)
    if not roles or not contents:
        return None
    speakers = {SPEAKERS.get(str(name).strip().lower()) for name in rows.unique(roles[0]) if name is not None}
    if None in speakers or not {"user", "assistant"} <= speakers:
        return None
    plain = {name: re.sub(r"(?<=[a-z])(?=[A-Z])|[\s#-]+", "_", name).lower().strip("_") for name in rows.column_names}
    known = next((name for name, words in plain.items() if CONVERSATION.fullmatch(words)), None)
    if usual_among(rows.column_names, PARENTS):
        raise DataError(
            f"the rows are turns ({roles[0]} and {contents[0]}), one a row, in trees: write each way through a tree as "
            "a row with a list of messages"
        )
    if known is None:
        return None
    numbers = [name for name in rows.column_names if str(getattr(rows.features[name], "dtype", "")).startswith("int")]
    turn = next(iter(usual_among([name for name in numbers if name != known], TURN)), None)
    return TurnRowConversion(roles[0], contents[0], known, turn)
