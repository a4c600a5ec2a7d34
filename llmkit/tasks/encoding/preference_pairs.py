"""Rows of a prompt and two answers to it, one preferred: as texts, as messages, or as two whole conversations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from llmkit.data.conversations import Message, messages_of, require_turns
from llmkit.errors import DataError, ModelError, listing
from llmkit.tasks.encoding.chat_templates import rendered

ANSWERS = ("chosen", "rejected")


@dataclass(frozen=True)
class Pair:
    """A prompt and the answers to it; `texts` tells whether the row held no messages."""

    prompt: list[Message]
    answers: tuple[list[Message], list[Message]]  # the preferred one first
    texts: bool


@dataclass(frozen=True)
class Encoded:
    """The tokens of a pair: of the prompt, and of what each answer adds to them."""

    prompt: list[int]
    answers: tuple[list[int], list[int]]

    def cut(self, most: int) -> Encoded:
        """Return it with at most so many tokens in all: answers lose their ends, a prompt its beginning.

        Answers keep half of the tokens where the prompt would leave them less. Both see the same prompt.
        """
        room = most - min(max(map(len, self.answers)), most // 2)
        prompt = self.prompt[-room:]
        chosen, rejected = (ids[: most - len(prompt)] for ids in self.answers)
        return Encoded(prompt, (chosen, rejected))


def pair_of(row: Mapping[str, Any], columns: Mapping[str, str]) -> Pair:
    """Return the pair of a row.

    Where the answers are whole conversations, the prompt is what they have in common.

    Raises:
        DataError: a phrase on what is wrong with the row.
    """
    cells = {role: row.get(column) for role, column in columns.items()}
    for role in ANSWERS:
        messages = messages_of(cells[role], "assistant")
        if not messages or not messages[-1]["content"].strip():
            raise DataError(f"it has no {role} answer")
    chosen, rejected = (messages_of(cells[role], "assistant") for role in ANSWERS)
    if chosen == rejected:
        raise DataError("its chosen and rejected answers are the same")
    prompt = messages_of(cells.get("prompt"), "user")
    if chosen[0]["role"] != "assistant" and not isinstance(cells.get("prompt"), list):
        common = _shared(chosen[:-1], rejected[:-1])
        prompt, chosen, rejected = chosen[:common], chosen[common:], rejected[common:]
    if not prompt:
        raise DataError("it has no prompt")
    for role, answer in zip(ANSWERS, (chosen, rejected), strict=True):
        speakers = [turn["role"] for turn in answer]
        if speakers != ["assistant"]:
            raise DataError(f"its {role} answer is to be one turn of the assistant's, and has {listing(speakers)}")
        require_turns([*prompt, *answer])
    return Pair(prompt, (chosen, rejected), all(isinstance(cell, str) for cell in cells.values()))


def encode(pair: Pair, tokenizer: PreTrainedTokenizerBase) -> Encoded:
    """Return the tokens of a pair in the chat template; texts alone, for a tokenizer without one, as they are.

    An answer begins where its tokens and those of the prompt part.

    Raises:
        ModelError: there are messages, and no template.
    """
    if tokenizer.chat_template:
        before = _ids(tokenizer, rendered(tokenizer, pair.prompt, ask=True))
        whole = [_ids(tokenizer, rendered(tokenizer, [*pair.prompt, *one], ask=False)) for one in pair.answers]
    elif pair.texts:
        prompt, (chosen, rejected) = pair.prompt[0]["content"], (one[0]["content"] for one in pair.answers)
        before = list(tokenizer(prompt)["input_ids"])
        whole = [_closed(list(tokenizer(prompt + text)["input_ids"]), tokenizer) for text in (chosen, rejected)]
    else:
        raise ModelError(
            f"{tokenizer.name_or_path!r} has no chat template, which rows of messages need; -m names a chat model"
        )
    shared = min(_shared(before, ids) for ids in whole)
    return Encoded(before[:shared], (whole[0][shared:], whole[1][shared:]))


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _shared(first: Sequence[Any], second: Sequence[Any]) -> int:
    """Return how many items the two begin with in common."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((place for place, (one, other) in pairs if one != other), min(len(first), len(second)))


def _closed(ids: list[int], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return tokens that end in the end-of-text."""
    eos = tokenizer.eos_token_id
    return ids if eos is None or ids[-1:] == [eos] else [*ids, eos]
