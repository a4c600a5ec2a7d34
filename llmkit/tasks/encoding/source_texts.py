"""Texts and their targets in the cells of a dataset, and the tokens of texts that a model is asked about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from llmkit.data.columns import is_string, item_of, text_of
from llmkit.models.text.prompts import added_tokens_around, encode_chat, encode_plain_texts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TokenColumns = dict[str, Sequence[object]]
CutTokens = tuple[list[int], bool]  # of a text, and whether some were cut off


def joined_text(cell: object) -> str:
    """Return the text of a cell: sentences of a list are joined by a space."""
    return " ".join(map(text_of, cell)) if isinstance(cell, list) else text_of(cell)


def references_in(cell: object) -> list[str]:
    """Return the references that a cell holds, without blank ones."""
    texts = cell if isinstance(cell, list) else [cell]
    return [text_of(text) for text in texts if text_of(text).strip()]


def holds_text_lists(feature: object) -> bool:
    """Tell whether a feature holds lists of strings."""
    return is_string(item_of(feature))


def encode_prefixed(
    prefix: str, texts: list[str], tokenizer: PreTrainedTokenizerBase, max_length: int, split_special_tokens: bool
) -> TokenColumns:
    """Return the tokens of texts behind a prefix, their `length`, and whether some of them were `truncated`."""
    prefixed = [prefix + text for text in texts]
    return _columns(encode_cut(prefixed, tokenizer, max_length, split_special_tokens))


def encode_cut(
    texts: list[str],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    split_special_tokens: bool,
    target: bool = False,
) -> list[CutTokens]:
    """Return at most `max_length` tokens of each text, with those that the tokenizer adds, and whether it was cut.

    `target`: they are what a model is to write.
    """
    before, after = added_tokens_around(tokenizer, target)
    room = max(max_length - len(before) - len(after), 0)
    encoded = encode_plain_texts(
        tokenizer, texts, split_special_tokens=split_special_tokens, target=target, offsets=False
    )
    return [([*before, *spans.ids[:room], *after], len(spans.ids) > room) for spans in encoded]


def encode_chats(
    prefix: str, texts: list[str], tokenizer: PreTrainedTokenizerBase, max_length: int, split_special_tokens: bool
) -> TokenColumns:
    """Return the tokens of messages, prefix and text, in the chat template, as `encode_prefixed` does."""
    return _columns([chat_ids(tokenizer, prefix, text, max_length, split_special_tokens) for text in texts])


def _columns(encoded: Sequence[CutTokens]) -> TokenColumns:
    ids, cut = [tokens for tokens, _ in encoded], [is_cut for _, is_cut in encoded]
    masks = [[1] * len(tokens) for tokens in ids]
    return {"input_ids": ids, "attention_mask": masks, "truncated": cut, "length": list(map(len, ids))}


def chat_ids(
    tokenizer: PreTrainedTokenizerBase, before: str, text: str, max_length: int, split_special_tokens: bool
) -> CutTokens:
    """Return at most `max_length` tokens of a message, `before` and `text`, and whether text was cut off for that."""
    ids = _message_ids(tokenizer, before + text, split_special_tokens)
    if len(ids) <= max_length:
        return ids, False
    spans = encode_plain_texts(tokenizer, [text], split_special_tokens=split_special_tokens)[0]
    kept = len(spans.ids) - (len(ids) - max_length)
    while kept > 0:  # a text that is cut can have a token more
        first = text[: spans.offsets[kept - 1][1]] if spans.offsets else tokenizer.decode(spans.ids[:kept])
        ids = _message_ids(tokenizer, before + first, split_special_tokens)
        if len(ids) <= max_length:
            return ids, True
        kept -= 1
    return _message_ids(tokenizer, before, split_special_tokens), True


def _message_ids(tokenizer: PreTrainedTokenizerBase, text: str, split_special_tokens: bool) -> list[int]:
    return encode_chat(tokenizer, [{"role": "user", "content": text}], split_special_tokens=split_special_tokens)
