"""What ends an answer: tokens, and texts that a user names."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import GenerationConfig, PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import render_jinja_template

PROBE = "zyx"  # a text of which no template makes another


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
    """
    named = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    return tuple(dict.fromkeys(int(token) for token in (*named, *others) if token is not None))


def tokenizer_ends(tokenizer: PreTrainedTokenizerBase, chat: bool) -> tuple[int, ...]:
    """Return the token that ends a text for the tokenizer, and in a chat the one that ends a turn of its template."""
    ends = (tokenizer.eos_token_id, turn_end(tokenizer) if chat else None)
    return tuple(dict.fromkeys(int(token) for token in ends if token is not None))


def turn_end(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Return the special token that the chat template writes behind a turn of the assistant, or None."""
    messages = [{"role": "user", "content": PROBE}, {"role": "assistant", "content": PROBE}]
    try:
        rendered, _ = render_jinja_template(
            [messages], chat_template=tokenizer.get_chat_template(), **tokenizer.special_tokens_map
        )
    except Exception:  # templates raise what they like, and the prompt itself will tell
        return None
    rest = str(rendered[0]).rpartition(PROBE)[2].lstrip()
    special = {token.content: number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    found = max((text for text in special if text and rest.startswith(text)), key=len, default=None)
    return None if found is None else special[found]
