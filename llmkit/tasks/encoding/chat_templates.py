"""Texts as a chat model reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from transformers import PreTrainedTokenizerBase

from llmkit.errors import ModelError


def chat_text(tokenizer: PreTrainedTokenizerBase, text: str, system: str | None = None) -> str:
    """Return a message of the user, after one of the system if given, in the tokenizer's chat template.

    Raises:
        ModelError: the template fails.
    """
    messages = [{"role": "system", "content": system}] if system is not None else []
    messages.append({"role": "user", "content": text})
    return rendered(tokenizer, messages, ask=True)


def rendered(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, str]], ask: bool) -> str:
    """Return messages in the tokenizer's chat template; with `ask`, up to where the assistant's answer begins.

    Raises:
        ModelError: the template fails.
    """
    try:
        return str(tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=ask))
    except Exception as error:  # templates raise what they like, jinja2's errors among it
        raise ModelError(f"the chat template of {tokenizer.name_or_path!r} fails: {error}") from error


def chat_ids(tokenizer: PreTrainedTokenizerBase, before: str, text: str, max_length: int) -> tuple[list[int], bool]:
    """Return at most `max_length` tokens of a message, `before` and `text`, and whether text was cut off for that."""
    ids = _ids(tokenizer, before + text)
    if len(ids) <= max_length:
        return ids, False
    text_ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    kept = len(text_ids) - (len(ids) - max_length)
    while kept > 0:  # a text that is cut can have a token more
        ids = _ids(tokenizer, before + tokenizer.decode(text_ids[:kept]))
        if len(ids) <= max_length:
            return ids, True
        kept -= 1
    return _ids(tokenizer, before), True


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer(chat_text(tokenizer, text), add_special_tokens=False)["input_ids"])
