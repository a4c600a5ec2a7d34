"""Pairs of answers as tokens: of the prompt, and of what each answer adds to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmkit.data.preferences import PreferencePair, common_length
from llmkit.errors import ModelError
from llmkit.models.text.prompts import encode_chat, encode_prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


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


def encode_pair(
    pair: PreferencePair, tokenizer: PreTrainedTokenizerBase, split_special_tokens: bool = True
) -> EncodedPair:
    """Return the tokens of a pair in the chat template; texts alone, for a tokenizer without one, as they are.

    An answer begins where its tokens and those of the prompt part. Control tokens that a text spells stay text, or are
    tokens without `split_special_tokens`.

    Raises:
        ModelError: there are messages, and no template.
    """
    if tokenizer.chat_template:
        prompt_ids = encode_chat(tokenizer, pair.prompt, split_special_tokens=split_special_tokens)
        chosen, rejected = (
            encode_chat(
                tokenizer,
                [*pair.prompt, *answer],
                add_generation_prompt=False,
                split_special_tokens=split_special_tokens,
            )
            for answer in pair.answers
        )
    elif pair.is_text:
        prompt = pair.prompt[0]["content"]
        prompt_ids = encode_prompt(tokenizer, prompt, split_special_tokens=split_special_tokens)
        texts = (prompt + answer[0]["content"] for answer in pair.answers)
        chosen, rejected = (
            _with_eos(
                encode_prompt(tokenizer, text, split_special_tokens=split_special_tokens, keeps_end=True), tokenizer
            )
            for text in texts
        )
    else:
        raise ModelError(needs_template(tokenizer))
    common = min(common_length(prompt_ids, chosen), common_length(prompt_ids, rejected))
    return EncodedPair(prompt_ids[:common], (chosen[common:], rejected[common:]))


def needs_template(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the sentence on messages that a tokenizer cannot write."""
    return f"{tokenizer.name_or_path!r} has no chat template, which rows of messages need; -m names a chat model"


def _with_eos(ids: list[int], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return tokens that end in the end-of-text."""
    eos = tokenizer.eos_token_id
    return ids if eos is None or ids[-1:] == [eos] else [*ids, eos]
