"""Rows of a prompt and two answers to it, one preferred: as texts, as messages, or as two whole conversations.

The columns are known by their roles: prompt, chosen and rejected, and beside the prompt an input and a system message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmkit.data.columns import Row
from llmkit.data.conversations import INVALID_ROWS, prompt_turns, require_ordered, with_system
from llmkit.data.turns import Dialect, Message, Turn, joined, turns_of
from llmkit.errors import DataError, listing

ANSWER_ROLES = ("chosen", "rejected")


@dataclass(frozen=True)
class PreferencePair:
    """A prompt and the answers to it; `is_text` tells whether the row held no messages."""

    prompt: list[Message]
    answers: tuple[list[Message], list[Message]]  # the preferred one first
    is_text: bool


def preference_pair(row: Row, columns: Mapping[str, str], dialect: Dialect | None = None) -> PreferencePair:
    """Return the pair of a row.

    Where the answers are whole conversations, the prompt is what they have in common.

    Raises:
        DataError: a phrase on what is wrong with the row.
    """
    cells = {role: row.get(column) for role, column in columns.items()}
    answered = []
    for role in ANSWER_ROLES:
        turns = turns_of(cells[role], "assistant", dialect)
        if any(turn.role == "tool" or "tool_calls" in turn.message for turn in turns):
            raise DataError(f"its {role} answer calls tools, and preferences are read of texts alone")
        if not turns or turns[-1].is_blank:
            raise DataError(f"it has no {role} answer; {INVALID_ROWS}")
        answered.append(turns)
    chosen, rejected = answered
    if chosen == rejected:
        raise DataError(f"its chosen and rejected answers are the same; {INVALID_ROWS}")
    prompt, chosen, rejected = _parted(cells, (chosen, rejected), dialect)
    prompt = with_system(cells.get("system"), prompt)
    if not prompt:
        raise DataError("it has no prompt")
    is_text = len(prompt) == 1 and all(isinstance(cells.get(role), str) for role in ("prompt", *ANSWER_ROLES))
    messages = [turn.message for turn in prompt]
    answers = [[turn.message for turn in answer] for answer in (chosen, rejected)]
    for role, answer in zip(ANSWER_ROLES, answers, strict=True):
        speakers = [turn["role"] for turn in answer]
        if speakers != ["assistant"]:
            raise DataError(
                f"its {role} answer is to be one turn of the assistant's, and has {listing(speakers)}; {INVALID_ROWS}"
            )
        require_ordered([*messages, *answer], may_open=True)
    return PreferencePair(messages, (answers[0], answers[1]), is_text)


def common_length(first: Sequence[object], second: Sequence[object]) -> int:
    """Return how many items the two begin with in common."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((index for index, (left, right) in pairs if left != right), min(len(first), len(second)))


def _parted(
    cells: Mapping[str, object], answers: tuple[list[Turn], list[Turn]], dialect: Dialect | None
) -> tuple[list[Turn], list[Turn], list[Turn]]:
    """Return the prompt of a row and what both answers add to it."""
    prompt, (chosen, rejected) = prompt_turns(cells, dialect), answers
    if prompt and prompt[-1].role == "assistant" and prompt[-1].is_blank:
        prompt = prompt[:-1]  # a dialogue up to where the answer begins
    if dialect is not None and dialect.merge_turns:
        prompt, chosen, rejected = joined(prompt), joined(chosen), joined(rejected)
    if chosen[0].role == "assistant" and not (len(chosen) > 1 and len(rejected) > 1):
        return prompt, chosen, rejected
    given = len(prompt)
    if isinstance(cells.get("prompt"), list) and given:
        if chosen[:given] == prompt == rejected[:given]:
            return prompt, chosen[given:], rejected[given:]
        return prompt, chosen, rejected
    common = common_length(chosen[:-1], rejected[:-1])
    return chosen[:common], chosen[common:], rejected[common:]
