"""Pairs of answers that come with more than a prompt and two answers, made into three columns of messages.

Read here are Anthropic's dialogues, whose common beginning is the prompt, system messages and inputs in columns of
their own, one message as an answer, cells of JSON, and what the flags say of turns.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from llmkit.data.columns import Row, is_string, item_of
from llmkit.data.conversions.base import Conversion
from llmkit.data.conversions.chats import (
    MIN_ROWS,
    NONE_SKIPPED,
    Skipped,
    canonical,
    cells_of,
    media_columns,
    messages_feature,
    parsed_messages,
    require_few,
    require_text_alone,
    skipped_of,
)
from llmkit.data.conversions.turn_keys import ROWS_TO_JUDGE, hold_messages
from llmkit.data.conversions.writing import with_columns
from llmkit.data.preferences import ANSWER_ROLES, PreferencePair, preference_pair
from llmkit.data.turns import CALL_KEYS, ROLE_AND_CONTENT_KEYS, Dialect
from llmkit.errors import DataError, shortened_repr
from llmkit.options import TaskFlags

if TYPE_CHECKING:
    from datasets import Dataset


PAIR_ROLES = ("prompt", *ANSWER_ROLES)
SPEAKER = re.compile(r"(?:\A\s*|\n\n)(Human|User|Assistant): ?")  # of Anthropic's dialogues
OPENING = re.compile(r"\A\s*(Human|User):")
ANSWER = re.compile(r"(?:\A\s*|\n\n)Assistant:")
JUDGEMENTS = frozenset(  # names of columns that tell whether an answer is a good one
    {
        *("label", "labels", "kto_tag", "good", "is_good", "thumbs_up", "thumbs", "upvoted", "like", "liked"),
        *("desirable", "is_desirable", "chosen", "is_chosen", "preferred", "is_preferred", "accepted", "is_accepted"),
        *("approved", "correct", "is_correct", "helpful", "is_helpful", "feedback", "reward", "preference"),
    }
)
MOST = 0.9  # of the texts: how many are dialogues, where the others are named as broken ones
BAD = frozenset(
    {
        *(
            "false",
            "0",
            "0.0",
            "-1",
            "-1.0",
            "no",
            "n",
            "bad",
            "down",
            "undesirable",
            "rejected",
            "reject",
            "thumbs_down",
        ),
        *("thumbs down", "dislike", "downvote", "incorrect", "wrong", "unhelpful", "fail", "\U0001f44e", "差", "否"),
    }
)
GOOD = frozenset(
    {
        *("true", "1", "1.0", "yes", "y", "good", "up", "desirable", "chosen", "accepted", "accept", "thumbs_up"),
        *("thumbs up", "like", "upvote", "correct", "right", "helpful", "pass", "\U0001f44d", "好", "是"),
    }
)


@dataclass(frozen=True)
class PreferenceConversion(Conversion):
    """Pairs as columns `prompt`, `chosen` and `rejected`: messages, or texts where they were nothing else."""

    sources: tuple[tuple[str, str], ...]  # columns by role, as they are in the rows
    dialogues: tuple[str, ...] = ()  # the columns that hold texts of Human: and Assistant:
    as_text: bool = False
    media: tuple[str, ...] = ()
    speakers: tuple[tuple[str, str], ...] = ()
    merge_turns: bool = False
    skip_invalid: float | None = None
    skipped: Skipped = NONE_SKIPPED

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(name for role, name in self.sources if role in PAIR_ROLES)

    @property
    def writes(self) -> tuple[str, ...]:
        return PAIR_ROLES

    @property
    def columns(self) -> dict[str, str]:
        """The columns of the converted rows by role."""
        return {role: role for role in PAIR_ROLES}

    @property
    def sentence(self) -> str:
        names = ", ".join(f"{role}={name}" for role, name in self.sources)
        whole = "; the prompt is what both dialogues begin with" if "prompt" not in dict(self.sources) else ""
        merged = "; neighbours of one role are joined" if self.merge_turns else ""
        return f"pairs of answers are made of {names}{whole}{merged}{self.skipped.phrase}"

    def apply(self, rows: Dataset) -> Dataset:
        from datasets import Dataset, Features, Value

        found = list(self.read(rows))
        invalid = [number for number, (pair, _) in enumerate(found, start=1) if pair is None]
        if invalid:
            first = f"row {invalid[0]}: {found[invalid[0] - 1][1]}"
            require_few(len(invalid), max(len(rows), MIN_ROWS), self.skip_invalid, first)
        parts = [(pair.prompt, *pair.answers) if pair else None for pair, _ in found]
        new: dict[str, list[object]] = {
            role: [self._written(part[place]) if part else None for part in parts]
            for place, role in enumerate(PAIR_ROLES)
        }
        feature = Value("string") if self.as_text else messages_feature()
        made = Dataset.from_dict(new, features=Features(dict.fromkeys(PAIR_ROLES, feature)))
        return with_columns(rows, made)

    def read(self, rows: Dataset) -> Iterator[tuple[PreferencePair | None, str]]:
        """Yield the pair of each row, or None and what is wrong with the row."""
        columns = {role: name for role, name in self.sources if name in rows.column_names}
        media = [name for name in self.media if name in rows.column_names]
        dialect = Dialect(dict(self.speakers), self.merge_turns)
        for row in cells_of(rows, [*columns.values(), *media]):
            try:
                require_text_alone(row, media)
                messages = {**parsed_messages(row, columns), **{name: dialogue(row, name) for name in self.dialogues}}
                yield preference_pair(messages, columns, dialect), ""
            except DataError as error:
                yield None, str(error)

    def _written(self, messages: list[dict[str, str]]) -> object:
        return messages[0]["content"] if self.as_text else [canonical(message, True) for message in messages]


def find(rows: Dataset, columns: Mapping[str, str], flags: TaskFlags) -> PreferenceConversion | None:
    """Return how pairs in the columns, which are given by role, are read; None where they can stay as they are.

    Raises:
        DataError: more rows are invalid than --skip-invalid lets go.
    """
    dialogues = dialogue_columns(rows, columns)
    media = media_columns(rows)
    apart = {"system", "input"} & set(columns)
    pairs = [name for role, name in columns.items() if role in PAIR_ROLES]
    plain = [is_string(rows.features[name]) and not hold_messages(rows, name) for name in pairs]
    flagged = flags.role or flags.merge_turns or flags.skip_invalid is not None
    if not (dialogues or media or apart or flagged or any(_needs_reading(rows, name) for name in pairs)):
        return None
    conversion = PreferenceConversion(
        tuple(columns.items()),
        dialogues,
        all(plain) and not dialogues and "system" not in columns and "prompt" in columns,
        media,
        tuple(flags.speakers.items()),
        bool(flags.merge_turns),
        flags.skip_invalid,
    )
    if flags.skip_invalid is None:
        return conversion
    errors = [error for _, error in conversion.read(rows)]
    return replace(conversion, skipped=skipped_of(errors, flags.skip_invalid))


def dialogue_columns(rows: Dataset, columns: Mapping[str, str]) -> tuple[str, ...]:
    """Return the columns, of those given by role, whose texts are dialogues of Human: and Assistant:."""
    names = [name for role, name in columns.items() if role in PAIR_ROLES and is_string(rows.features[name])]
    head = rows.select_columns(names)[:ROWS_TO_JUDGE] if names else {}
    return tuple(name for name in names if are_dialogues(head[name]))


def are_dialogues(texts: list[str | None]) -> bool:
    """Tell whether texts are dialogues: they begin with Human: and come to Assistant:, all but a few."""
    held = [_lines(text) for text in texts if text and text.strip()]
    fitting = sum(OPENING.search(text) is not None and ANSWER.search(text) is not None for text in held)
    return bool(held) and fitting >= MOST * len(held)


def dialogue(row: Row, name: str) -> list[dict[str, str]]:
    """Return the messages of a cell that is a dialogue.

    Raises:
        DataError: a phrase: it is no dialogue.
    """
    text = _lines(str(row[name] or ""))
    if not OPENING.search(text):
        raise DataError(f"its {name} is {shortened_repr(row[name])}, and a dialogue of Human: and Assistant: is wanted")
    pieces = SPEAKER.split(text)[1:]
    roles = ["assistant" if speaker == "Assistant" else "user" for speaker in pieces[::2]]
    return [{"role": role, "content": content.strip()} for role, content in zip(roles, pieces[1::2], strict=True)]


def judgement_column(rows: Dataset, columns: Mapping[str, str]) -> str | None:
    """Return the column that says that some answers are bad ones, as KTO's label does, or None."""
    from datasets import ClassLabel, Value

    for name in rows.column_names:
        spelled = re.sub(r"(?<=[a-z])(?=[A-Z])|[\s-]+", "_", name).lower()
        if (
            name in columns.values()
            or spelled not in JUDGEMENTS
            or not isinstance(rows.features[name], Value | ClassLabel)
        ):
            continue
        values = {str(value).strip().lower() for value in rows.unique(name) if value is not None} - {""}
        if values & BAD and values <= GOOD | BAD:
            return str(name)
    return None


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n")


def _needs_reading(rows: Dataset, name: str) -> bool:
    """Tell whether a column holds more than texts, and messages of a role and a text."""
    from datasets import Value

    feature = rows.features[name]
    if isinstance(feature, Value):
        return is_string(feature) and hold_messages(rows, name)
    item = item_of(feature)
    if not isinstance(item, dict) or set(item) & set(CALL_KEYS):
        return True
    return not any(all(key in item and is_string(item[key]) for key in keys) for keys in ROLE_AND_CONTENT_KEYS)
