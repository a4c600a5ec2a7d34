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
