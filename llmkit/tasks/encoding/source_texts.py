"""Texts and their targets in the cells of a dataset, and the tokens of texts that a model is asked about."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from llmkit.data.columns import is_string, item_of, text_of
from llmkit.tasks.encoding.chat_templates import chat_ids
from llmkit.tasks.encoding.collation import INPUTS, rows_at_limit, truncated

TokenColumns = dict[str, Sequence[object]]


def joined_text(cell: object) -> str:
    """Return the text of a cell: sentences of a list are joined by a space."""
    return " ".join(map(str, cell)) if isinstance(cell, list) else "" if cell is None else str(cell)


def references_in(cell: object) -> list[str]:
    """Return the references that a cell holds, without blank ones."""
    texts = cell if isinstance(cell, list) else [cell]
    return [str(text) for text in texts if text_of(text).strip()]


def holds_text_lists(feature: object) -> bool:
    """Tell whether a feature holds lists of strings."""
    return is_string(item_of(feature))


def encode_prefixed(prefix: str, texts: list[str], tokenizer: PreTrainedTokenizerBase, max_length: int) -> TokenColumns:
    """Return the tokens of texts behind a prefix, their `length`, and whether some of them were `truncated`."""
    prefixed = [prefix + text for text in texts]
    encoded = tokenizer(prefixed, truncation=True, max_length=max_length)
    ids, masks = (encoded[name] for name in INPUTS[:2])
    lengths = list(map(len, ids))
    at_limit = rows_at_limit(lengths, max_length)
    untruncated = tokenizer([prefixed[row] for row in at_limit])["input_ids"] if at_limit else []
    cut = truncated(len(texts), at_limit, untruncated, max_length)
    return {"input_ids": ids, "attention_mask": masks, "truncated": cut, "length": lengths}


def encode_chats(prefix: str, texts: list[str], tokenizer: PreTrainedTokenizerBase, max_length: int) -> TokenColumns:
    """Return the tokens of messages, prefix and text, in the chat template, as `encode_prefixed` does."""
    prompts = [chat_ids(tokenizer, prefix, text, max_length) for text in texts]
    ids, cut = [tokens for tokens, _ in prompts], [is_cut for _, is_cut in prompts]
    masks = [[1] * len(tokens) for tokens in ids]
    return {"input_ids": ids, "attention_mask": masks, "truncated": cut, "length": list(map(len, ids))}
