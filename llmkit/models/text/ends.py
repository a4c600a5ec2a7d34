"""What ends an answer: tokens, and texts that a user names."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmkit.errors import ModelError
from llmkit.models.text.special_tokens import control_tokens

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedTokenizerBase

PROBE, USER_PROBE = "zyx", "xwv"  # texts of which no template makes others


@dataclass(frozen=True)
class AnswerEnds:
    """The tokens that end an answer, of which they are the last, and the texts before which it ends."""

    tokens: tuple[int, ...] = ()
    stops: tuple[str, ...] = ()

    def cut(self, ids: list[int]) -> list[int]:
        """Return the tokens up to and with the first that ends an answer; what follows is padding."""
        end = next((place for place, token in enumerate(ids) if token in self.tokens), len(ids))
        return ids[: end + 1]


def end_tokens(config: GenerationConfig, others: tuple[int, ...]) -> tuple[int, ...]:
    """Return the tokens that end an answer: those of the model's own config, and `others`, as `tokenizer_ends`.

    Files of models contradict one another: any of these tokens ends an answer, as in other servers.

    Raises:
        ModelError: the config names what is no token.
    """
    named = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    for token in named:
        if not isinstance(token, int | None):
            raise ModelError(f"the generation_config.json of the model has the eos_token_id {token!r}, and no number")
    return tuple(dict.fromkeys(int(token) for token in (*named, *others) if token is not None))


def tokenizer_ends(tokenizer: PreTrainedTokenizerBase, chat: bool) -> tuple[int, ...]:
    """Return the token that ends a text for the tokenizer, and in a chat the one that ends a turn of its template."""
    ends = (tokenizer.eos_token_id, turn_end(tokenizer) if chat else None)
    return tuple(dict.fromkeys(int(token) for token in ends if token is not None))


def turn_end(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Return the control token that the chat template writes behind a turn of the assistant, or None.

    Some templates write none behind the last turn, but one where the user goes on.
    """
    from transformers.utils.chat_template_utils import render_jinja_template

    messages = [{"role": "user", "content": USER_PROBE}, {"role": "assistant", "content": PROBE}]
    for turns in (messages, [*messages, messages[0]]):
        try:
            rendered, _ = render_jinja_template(
                [turns], chat_template=tokenizer.get_chat_template(), **tokenizer.special_tokens_map
            )
        except Exception:  # templates raise what they like, and the prompt itself will tell
            return None
        _, probe, rest = str(rendered[0]).rpartition(PROBE)
        controls = control_tokens(tokenizer)
        found = controls.pattern.match(rest.partition(USER_PROBE)[0].lstrip()) if probe else None
        if found is not None:
            return controls.ids[found[0]]
    return None


def stop_tokens(tokenizer: PreTrainedTokenizerBase, stops: Iterable[str]) -> tuple[int, ...]:
    """Return the control tokens that stop texts spell: they end an answer too, of whose text they are no part."""
    ids = control_tokens(tokenizer).ids
    return tuple(ids[stop] for stop in stops if stop in ids)


def own_stop_strings(folder: Path) -> tuple[str, ...]:
    """Return the texts before which a model's answers end, as the generation config in its folder names them."""
    try:
        named = json.loads((folder / "generation_config.json").read_text(encoding="utf-8")).get("stop_strings")
    except (OSError, ValueError, AttributeError):  # there is none, or what is wrong with it is said where it is used
        return ()
    texts = [named] if isinstance(named, str) else named if isinstance(named, list) else []
    return tuple(str(text) for text in texts if text)
