"""Rows of a prompt and two answers to it, one preferred: as texts, as messages, or as two whole conversations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from llmkit.data.columns import Row
from llmkit.data.conversations import Message, messages_of, require_turns
from llmkit.errors import DataError, ModelError, listing
from llmkit.tasks.encoding.chat_templates import rendered

ANSWER_ROLES = ("chosen", "rejected")


@dataclass(frozen=True)
class PreferencePair:
    """A prompt and the answers to it; `is_text` tells whether the row held no messages."""

    prompt: list[Message]
    answers: tuple[list[Message], list[Message]]  # the preferred one first
    is_text: bool


@dataclass(frozen=True)
class EncodedPair:
    """The tokens of a pair: of the prompt, and of what each answer adds to them."""

    prompt: list[int]
    answers: tuple[list[int], list[int]]

    def truncated(self, max_length: int) -> EncodedPair:
        """Return it with at most so many tokens in all: answers lose their ends, a prompt its beginning.

        Answers keep half of the tokens where the prompt would leave them less. Both see the same prompt.
        """
        room = max_length - min(max(map(len, self.answers)), max_length // 2)
        prompt = self.prompt[-room:]
        chosen, rejected = (ids[: max_length - len(prompt)] for ids in self.answers)
        return EncodedPair(prompt, (chosen, rejected))


def preference_pair(row: Row, columns: Mapping[str, str]) -> PreferencePair:
    """Return the pair of a row.

    Where the answers are whole conversations, the prompt is what they have in common.

    Raises:
        DataError: a phrase on what is wrong with the row.
    """
    cells = {role: row.get(column) for role, column in columns.items()}
    for role in ANSWER_ROLES:
        messages = messages_of(cells[role], "assistant")
        if not messages or not messages[-1]["content"].strip():
            raise DataError(f"it has no {role} answer")
    chosen, rejected = (messages_of(cells[role], "assistant") for role in ANSWER_ROLES)
    if chosen == rejected:
        raise DataError("its chosen and rejected answers are the same")
    prompt = messages_of(cells.get("prompt"), "user")
    if chosen[0]["role"] != "assistant" and not isinstance(cells.get("prompt"), list):
        common = _common_length(chosen[:-1], rejected[:-1])
        prompt, chosen, rejected = chosen[:common], chosen[common:], rejected[common:]
    if not prompt:
        raise DataError("it has no prompt")
    for role, answer in zip(ANSWER_ROLES, (chosen, rejected), strict=True):
        speakers = [turn["role"] for turn in answer]
        if speakers != ["assistant"]:
            raise DataError(f"its {role} answer is to be one turn of the assistant's, and has {listing(speakers)}")
        require_turns([*prompt, *answer])
    return PreferencePair(prompt, (chosen, rejected), all(isinstance(cell, str) for cell in cells.values()))


def encode_pair(pair: PreferencePair, tokenizer: PreTrainedTokenizerBase) -> EncodedPair:
    """Return the tokens of a pair in the chat template; texts alone, for a tokenizer without one, as they are.

    An answer begins where its tokens and those of the prompt part.

    Raises:
        ModelError: there are messages, and no template.
    """
    if tokenizer.chat_template:
        prompt_ids = _ids(tokenizer, rendered(tokenizer, pair.prompt, ask=True))
        conversations = ([*pair.prompt, *answer] for answer in pair.answers)
        chosen, rejected = (_ids(tokenizer, rendered(tokenizer, turns, ask=False)) for turns in conversations)
    elif pair.is_text:
        prompt = pair.prompt[0]["content"]
        prompt_ids = list(tokenizer(prompt)["input_ids"])
        texts = (prompt + answer[0]["content"] for answer in pair.answers)
        chosen, rejected = (_with_eos(list(tokenizer(text)["input_ids"]), tokenizer) for text in texts)
    else:
        raise ModelError(
            f"{tokenizer.name_or_path!r} has no chat template, which rows of messages need; -m names a chat model"
        )
    common = min(_common_length(prompt_ids, chosen), _common_length(prompt_ids, rejected))
    return EncodedPair(prompt_ids[:common], (chosen[common:], rejected[common:]))


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _common_length(first: Sequence[object], second: Sequence[object]) -> int:
    """Return how many items the two begin with in common."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((index for index, (left, right) in pairs if left != right), min(len(first), len(second)))


def _with_eos(ids: list[int], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return tokens that end in the end-of-text."""
    eos = tokenizer.eos_token_id
    return ids if eos is None or ids[-1:] == [eos] else [*ids, eos]
