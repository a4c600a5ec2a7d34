"""Prompts as models read them: messages in the chat template, and texts without one; what they spell stays text."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmkit.errors import DataError, ModelError, OptionError, listing
from llmkit.models.text.special_tokens import ControlTokens, TokenSpans, control_tokens, encode_texts, template_source
from llmkit.options import GenerationOptions

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# rare Han: of one case, printed by Python as they are, and never stripped, so a template treats them as it does a <
SENTINELS = range(0x20000, 0x2A6E0)
PROBE = "Qwrtz"

Messages = Sequence[Mapping[str, object]]


@dataclass(frozen=True)
class RenderedPrompt:
    """A text for a model, and where the spelling of a control token begins in it that came from a message."""

    text: str
    literal: tuple[int, ...] = ()  # characters


@dataclass(frozen=True)
class ProtectedChat:
    """Messages and tools for a template, in which another character begins each spelling that is to stay text."""

    messages: list[dict[str, object]]
    tools: list[dict[str, object]] | None
    characters: Mapping[str, str]  # that were there, by those that are

    def restored(self, text: str) -> RenderedPrompt:
        """Return a rendering with the characters that were there, of the same length."""
        if not self.characters:
            return RenderedPrompt(text)
        # a template can write JSON in ASCII
        spelled = {json.dumps(sentinel)[1:-1]: character for sentinel, character in self.characters.items()}
        text = re.sub("|".join(map(re.escape, spelled)), lambda match: self._sentinel_of(match[0]), text)
        literal = tuple(place for place, character in enumerate(text) if character in self.characters)
        return RenderedPrompt("".join(self.characters.get(character, character) for character in text), literal)

    def _sentinel_of(self, escaped: str) -> str:
        return str(json.loads(f'"{escaped}"'))


def protect_chat(
    tokenizer: PreTrainedTokenizerBase,
    messages: Messages,
    *,
    tools: Sequence[Mapping[str, object]] | None = None,
    split_special_tokens: bool = True,
) -> ProtectedChat:
    """Return messages and tools in which no control token is spelled; as they are without `split_special_tokens`.

    In what the assistant says the tokens that a model is taught to write, as <think> and <tool_call>, stay.

    Raises:
        DataError: they hold more rare characters than there are.
    """
    given, described = [dict(message) for message in messages], [dict(tool) for tool in tools] if tools else None
    if not split_special_tokens:
        return ProtectedChat(given, described, {})
    controls = control_tokens(tokenizer)
    strings = [*strings_in(given), *strings_in(described)]
    firsts = {text[place] for text in strings for place in controls.places(text)}
    if not firsts:
        return ProtectedChat(given, described, {})
    sentinels = _sentinels(sorted(firsts), {*template_source(tokenizer), *(sign for text in strings for sign in text)})

    def protected(value: object, spellings: Collection[str]) -> object:
        if isinstance(value, str):
            signs = list(value)
            for place in controls.places(value, spellings):
                signs[place] = sentinels[signs[place]]
            return "".join(signs)
        if isinstance(value, Mapping):
            return {protected(key, spellings): protected(each, spellings) for key, each in value.items()}
        return [protected(each, spellings) for each in value] if isinstance(value, list | tuple) else value

    written = [
        {
            key: value if key == "role" else protected(value, _protected_spellings(controls, message))
            for key, value in message.items()
        }
        for message in given
    ]
    written_tools = None if described is None else [_object(protected(tool, controls.ids)) for tool in described]
    return ProtectedChat(written, written_tools, {sentinel: sign for sign, sentinel in sentinels.items()})


def _protected_spellings(controls: ControlTokens, message: Mapping[str, object]) -> Collection[str]:
    return controls.of_assistant if message.get("role") == "assistant" else controls.ids


def _object(value: object) -> dict[str, object]:
    return dict(value) if isinstance(value, Mapping) else {}


def strings_in(value: object) -> Iterator[str]:
    """Yield the texts of an object, and of all that is in it."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from strings_in(key)
            yield from strings_in(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from strings_in(each)


def _sentinels(firsts: Sequence[str], taken: Collection[str]) -> dict[str, str]:
    """Return another character for each, which no text holds."""
    free = (chr(number) for number in SENTINELS if chr(number) not in taken)
    pairs = dict(zip(firsts, free, strict=False))
    if len(pairs) < len(firsts):
        raise DataError("the messages hold so many rare characters that their control tokens cannot be told from text")
    return pairs


def render_chat(
    tokenizer: PreTrainedTokenizerBase,
    messages: Messages,
    *,
    add_generation_prompt: bool,
    split_special_tokens: bool = True,
    tools: Sequence[Mapping[str, object]] | None = None,
) -> RenderedPrompt:
    """Return messages in the tokenizer's chat template, up to where the assistant's answer begins if that is wanted.

    Raises:
        ModelError: the template fails.
    """
    chat = protect_chat(tokenizer, messages, tools=tools, split_special_tokens=split_special_tokens)
    try:
        text = tokenizer.apply_chat_template(
            chat.messages, tools=chat.tools, tokenize=False, add_generation_prompt=add_generation_prompt
        )
    except Exception as error:  # templates raise what they like, jinja2's errors among it
        raise ModelError(f"the chat template of {tokenizer.name_or_path!r} fails: {error}") from error
    return chat.restored(str(text))


def encode_chat(
    tokenizer: PreTrainedTokenizerBase,
    messages: Messages,
    *,
    add_generation_prompt: bool = True,
    split_special_tokens: bool = True,
) -> list[int]:
    """Return the tokens of messages in the tokenizer's chat template: see `render_chat`.

    Raises:
        ModelError: the template fails.
    """
    rendered = render_chat(
        tokenizer, messages, add_generation_prompt=add_generation_prompt, split_special_tokens=split_special_tokens
    )
    return encode_rendered(tokenizer, rendered)


def encode_rendered(tokenizer: PreTrainedTokenizerBase, rendered: RenderedPrompt) -> list[int]:
    """Return the tokens of a rendering: those of `apply_chat_template`, where no message spells a control token."""
    return encode_texts(tokenizer, [rendered.text], [rendered.literal], offsets=False)[0].ids


def encode_rendered_with_offsets(
    tokenizer: PreTrainedTokenizerBase, rendered: Sequence[RenderedPrompt]
) -> list[TokenSpans]:
    """Return the tokens of renderings with their characters, as `encode_rendered` does."""
    return encode_texts(tokenizer, [each.text for each in rendered], [each.literal for each in rendered])


def encode_prompt(
    tokenizer: PreTrainedTokenizerBase, text: str, *, split_special_tokens: bool = True, keeps_end: bool = False
) -> list[int]:
    """Return the tokens of a text without a template, with those that the tokenizer puts before it.

    Those that it puts behind it are left out, since a decoder goes on from the end; `keeps_end` keeps them, for the
    source of an encoder-decoder.
    """
    spans = encode_plain_texts(tokenizer, [text], split_special_tokens=split_special_tokens, offsets=False)[0]
    before, after = added_tokens_around(tokenizer)
    return [*before, *spans.ids, *(after if keeps_end else ())]


def encode_plain_texts(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    split_special_tokens: bool = True,
    target: bool = False,
    offsets: bool = True,
) -> list[TokenSpans]:
    """Return the tokens of texts alone, with nothing before or behind them, as `encode_texts` does.

    The spellings of control tokens stay text, or are tokens without `split_special_tokens`.
    """
    controls = control_tokens(tokenizer)
    literals = [controls.places(text) if split_special_tokens else () for text in texts]
    return encode_texts(tokenizer, texts, literals, target=target, offsets=offsets)


def added_tokens_around(tokenizer: PreTrainedTokenizerBase, target: bool = False) -> tuple[list[int], list[int]]:
    """Return the tokens that a tokenizer puts before and behind a text, as a beginning and an end of text."""
    argument = "text_target" if target else "text"  # a tokenizer of several languages names them there
    alone = list(tokenizer(**{argument: "a"}, add_special_tokens=False)["input_ids"])
    whole = list(tokenizer(**{argument: "a"})["input_ids"])
    places = (place for place in range(len(whole)) if whole[place : place + len(alone)] == alone)
    start = next(places, 0)
    return whole[:start], whole[start + len(alone) :]


def control_tokens_in(tokenizer: PreTrainedTokenizerBase, text: str) -> list[str]:
    """Return the control tokens that a text spells, each once, in their order."""
    return list(dict.fromkeys(match[0] for match in control_tokens(tokenizer).pattern.finditer(text)))


def spelled_sentence(beginning: str, spelled: Sequence[str]) -> str:
    """Return what is said where control tokens stay text; `beginning` ends in a verb, as "the prompt holds"."""
    one = len(spelled) == 1
    stay, them = ("stays", "it as a control token") if one else ("stay", "them as control tokens")
    return f"{beginning} {listing(spelled)}, which {stay} text; --no-split-special-tokens reads {them}"


def spellings_in(tokenizer: PreTrainedTokenizerBase, messages: Messages) -> list[str]:
    """Return the control tokens that messages spell, each once, and that stay text there unless they are meant."""
    controls, found = control_tokens(tokenizer), dict[str, None]()
    for message in messages:
        spellings = _protected_spellings(controls, message)
        for text in strings_in([value for key, value in message.items() if key != "role"]):
            found |= dict.fromkeys(name for name in control_tokens_in(tokenizer, text) if name in spellings)
    return list(found)


def require_system(
    tokenizer: PreTrainedTokenizerBase, system: str, name: str, advice: str = "; say it in a turn"
) -> None:
    """Refuse a system message that a chat template does not write; `name` is what the model is called.

    Raises:
        ModelError: the template drops it, refuses it, or fails.
    """
    turn = {"role": "user", "content": "?"}
    for content in (PROBE, system):  # a short one could stand in any template
        messages = [{"role": "system", "content": content}, turn]
        try:
            text = render_chat(tokenizer, messages, add_generation_prompt=True).text
        except ModelError as error:
            render_chat(tokenizer, [turn], add_generation_prompt=True)
            raise ModelError(f"the chat template of {name!r} takes no system message{advice}") from error
        if content.strip() not in text:
            raise ModelError(f"the chat template of {name!r} drops the system message{advice}")


def uses_chat_template(tokenizer: PreTrainedTokenizerBase, decoding: GenerationOptions, name: str) -> bool:
    """Tell whether prompts go into the chat template of a model of that name: where it has one, unless a flag says.

    Raises:
        OptionError: a flag wants a template, and there is none.
        ModelError: the template drops the system message.
    """
    has_template = bool(tokenizer.chat_template)
    if not has_template and (decoding.chat or decoding.system is not None):
        raise OptionError(f"{'--chat' if decoding.chat else '--system'}: {name!r} has no chat template")
    if decoding.system is not None:
        require_system(tokenizer, decoding.system, name)
    return has_template if decoding.chat is None else decoding.chat
