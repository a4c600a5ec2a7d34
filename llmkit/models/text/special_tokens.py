"""Control tokens, such as <|im_end|>: which a tokenizer has, and texts encoded so that only chosen places spell one.

transformers' own `sanitize_control_tokens` (5.23) tells no offsets, treats the assistant as it does the user, and
encodes each spelling apart from the text around it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

from tokenizers import Tokenizer

from llmkit.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BLANKS = re.compile(r"<extra_id_\d+>")  # what is to be filled in: texts hold them on purpose, as they do a mask
PRIVATE_PLANES = ((0x100000, 0x10FFFE), (0xF0000, 0xFFFFE))
HIDDEN = "\0"  # in no spelling


class TokenSpans(NamedTuple):
    """The tokens of a text, and the characters that each stands for; without these of a slow tokenizer."""

    ids: list[int]
    offsets: list[tuple[int, int]]


@dataclass(frozen=True)
class ControlTokens:
    """The spellings of control tokens with their ids, and those that stay text in what an assistant says too."""

    ids: dict[str, int]
    of_assistant: frozenset[str]
    unknown: int | None = None  # stands for any text that has no token

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """What matches the longest spelling at a place."""
        return re.compile("|".join(map(re.escape, sorted(self.ids, key=len, reverse=True))) or "(?!)")

    @cached_property
    def _counted(self) -> frozenset[int]:
        return frozenset(self.ids.values()) - {self.unknown}

    @cached_property
    def _firsts(self) -> frozenset[str]:
        return frozenset(spelling[0] for spelling in self.ids)

    def count(self, ids: Iterable[int]) -> int:
        """Return how many tokens are control tokens."""
        return 0 if self._counted.isdisjoint(ids) else sum(map(self._counted.__contains__, ids))

    def may_be_in(self, text: str) -> bool:
        """Tell at little cost whether a text can spell one: it holds a character with which one begins."""
        return any(first in text for first in self._firsts)

    def places(self, text: str, spellings: Collection[str] | None = None) -> list[int]:
        """Return where a spelling begins in a text, each of those that overlap; of some spellings alone, if given."""
        if not self.may_be_in(text):
            return []
        return sorted({place for each in (self.ids if spellings is None else spellings) for place in _all(text, each)})


def _all(text: str, spelling: str) -> Iterator[int]:
    place = text.find(spelling)
    while place >= 0:
        yield place
        place = text.find(spelling, place + 1)


_controls: WeakKeyDictionary[PreTrainedTokenizerBase, tuple[object, ControlTokens]] = WeakKeyDictionary()
_aliased: WeakKeyDictionary[PreTrainedTokenizerBase, tuple[object, _Aliased | None]] = WeakKeyDictionary()


def control_tokens(tokenizer: PreTrainedTokenizerBase) -> ControlTokens:
    """Return a tokenizer's special tokens, and the other added ones that its chat template writes."""
    key = (len(tokenizer), template_source(tokenizer))
    known = _controls.get(tokenizer)
    if known is None or known[0] != key:
        known = (key, _find_controls(tokenizer, key[1]))
        _controls[tokenizer] = known
    return known[1]


def template_source(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the source of a tokenizer's chat template, of all where it has several; empty without one."""
    template = getattr(tokenizer, "chat_template", None)
    return "\n".join(template.values()) if isinstance(template, dict) else template or ""


def _find_controls(tokenizer: PreTrainedTokenizerBase, source: str) -> ControlTokens:
    named = set(getattr(tokenizer, "chat_control_tokens", None) or ())
    turn = _user_turn(tokenizer) if source else ""
    ids, of_assistant = {}, set()
    special = set(tokenizer.all_special_tokens)  # a slow tokenizer does not mark its own
    for token_id, token in tokenizer.added_tokens_decoder.items():
        spelling = token.content
        if not spelling.strip() or spelling == tokenizer.mask_token or BLANKS.fullmatch(spelling):
            continue
        is_of_turns = spelling in turn  # a template can join it from pieces, as '<|' + role + '|>'
        is_special = token.special or spelling in special
        if is_special or is_of_turns or spelling in named or spelling in source:
            ids[spelling] = token_id
        if is_of_turns or (is_special and not _is_looked_for(spelling, source)):
            of_assistant.add(spelling)
    return ControlTokens(ids, frozenset(of_assistant), tokenizer.unk_token_id)


def _user_turn(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return how the template writes a turn of the user: what is in it is no part of what an assistant says."""
    try:
        return str(tokenizer.apply_chat_template([{"role": "user", "content": "?"}], tokenize=False))
    except Exception:  # templates raise what they like
        return ""


def _is_looked_for(spelling: str, source: str) -> bool:
    """Tell whether a template looks for a spelling in what is said, as for </think>, which an assistant writes."""
    quoted = rf"""(['"]){re.escape(spelling)}\1"""
    return re.search(rf"\.\w+\(\s*{quoted}|{quoted}\s+(not\s+)?in\b", source.replace(r"\n", "")) is not None


def encode_texts(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    literals: Sequence[Collection[int]],
    *,
    target: bool = False,
    offsets: bool = True,
) -> list[TokenSpans]:
    """Return the tokens of texts, nothing added, where a spelling that begins at a place in `literals` is text.

    A text without such places has the tokens that the tokenizer gives. `target`: the texts are those to write. Without
    `offsets` the characters of tokens are not told, which is quicker.

    Raises:
        DataError: a text holds so many private characters that none is left.
    """
    argument = "text_target" if target else "text"
    plain = [text for text, literal in zip(texts, literals, strict=True) if not literal]
    encoded = iter(_encode_plain(tokenizer, plain, argument, offsets and tokenizer.is_fast))
    controls, spans = control_tokens(tokenizer), []
    for text, literal in zip(texts, literals, strict=True):
        found = None if literal else next(encoded)
        # a normalizer can make a spelling of what is none: a full-width <
        if found is None or controls.count(found.ids) > sum(1 for _ in controls.pattern.finditer(text)):
            found = _encode_apart(tokenizer, controls, text, literal, argument)
        spans.append(found)
    return spans


def _encode_plain(
    tokenizer: PreTrainedTokenizerBase, texts: list[str], argument: str, offsets: bool
) -> list[TokenSpans]:
    if not texts:
        return []
    encoded = tokenizer(
        **{argument: texts}, add_special_tokens=False, return_attention_mask=False, return_offsets_mapping=offsets
    )
    spans = encoded["offset_mapping"] if offsets else [[]] * len(texts)
    return [TokenSpans(*pair) for pair in zip(encoded["input_ids"], spans, strict=True)]


def _encode_apart(
    tokenizer: PreTrainedTokenizerBase, controls: ControlTokens, text: str, literal: Collection[int], argument: str
) -> TokenSpans:
    """Return the tokens of a text in which control tokens are those alone that are spelled outside of `literal`."""
    hidden = list(text)
    for place in literal:
        hidden[place] = HIDDEN
    found = list(controls.pattern.finditer("".join(hidden)))
    aliased = _aliases_for(tokenizer, controls, text)
    if aliased is not None:
        return aliased.encode(text, found)
    ids, end = list[int](), 0
    for match in found:
        ids += [*_split(tokenizer, text[end : match.start()], argument), controls.ids[match[0]]]
        end = match.end()
    return TokenSpans([*ids, *_split(tokenizer, text[end:], argument)], [])


def _split(tokenizer: PreTrainedTokenizerBase, text: str, argument: str) -> list[int]:
    """Return the tokens of a text of which a slow tokenizer takes none as special."""
    if not text:
        return []
    encoded = tokenizer(**{argument: text}, add_special_tokens=False, split_special_tokens=True)
    return list(encoded["input_ids"])


@dataclass(frozen=True)
class _Aliased:
    """A tokenizer whose control tokens are spelled by private characters, as many: texts cannot hold them.

    All else is as before (the ids, what is normalized, where a space is put first, which spaces a token takes in), so
    a text whose control tokens are respelled has the tokens of the text itself.
    """

    backend: Tokenizer
    aliases: dict[str, str]  # by spelling
    ids: dict[int, int]  # the tokenizer's own, by those of the aliases

    def encode(self, text: str, found: Sequence[re.Match[str]]) -> TokenSpans:
        """Return the tokens of a text with the control tokens that were found, and with no others."""
        pieces, end = list[str](), 0
        for match in found:
            pieces += [text[end : match.start()], self.aliases[match[0]]]
            end = match.end()
        encoding = self.backend.encode("".join([*pieces, text[end:]]), add_special_tokens=False)
        return TokenSpans([self.ids.get(token, token) for token in encoding.ids], list(encoding.offsets))

    def is_safe_for(self, text: str) -> bool:
        """Tell whether a text holds none of the private characters."""
        return not any(alias[0] in text for alias in self.aliases.values())


def _aliases_for(tokenizer: PreTrainedTokenizerBase, controls: ControlTokens, text: str) -> _Aliased | None:
    """Return a tokenizer with aliases that a text does not hold; None for a slow one, which cannot be respelled."""
    if not tokenizer.is_fast:
        return None
    key, (known_key, known) = controls, _aliased.get(tokenizer, (None, None))
    if known_key is not key or (known is not None and not known.is_safe_for(text)):
        known = _respelled(tokenizer.backend_tokenizer, controls, text)
        _aliased[tokenizer] = (key, known)
    return known


def _respelled(backend: Tokenizer, controls: ControlTokens, text: str) -> _Aliased | None:
    aliases = _free_aliases(list(controls.ids), text)
    try:
        spec = json.loads(backend.to_str())
    except Exception:  # a component of Python's own
        return None
    spec["truncation"] = spec["padding"] = None
    for token in spec["added_tokens"]:
        if token["content"] in aliases:
            token |= {"content": aliases[token["content"]], "normalized": False, "special": False}
    _respell_model(spec["model"], aliases)
    respelled = Tokenizer.from_str(json.dumps(spec))
    vocabulary = respelled.get_vocab(with_added_tokens=True)
    ids = {vocabulary[alias]: controls.ids[spelling] for spelling, alias in aliases.items()}
    return _Aliased(respelled, aliases, ids)


def _respell_model(model: dict[str, object], aliases: dict[str, str]) -> None:
    """Take spellings out of a vocabulary: pieces of a text could be joined to one, or a unigram model choose it."""
    vocabulary, merges = model.get("vocab"), model.get("merges")
    if isinstance(vocabulary, dict):
        model["vocab"] = {aliases.get(piece, piece): number for piece, number in vocabulary.items()}
    elif isinstance(vocabulary, list):
        model["vocab"] = [[aliases.get(piece, piece), score] for piece, score in vocabulary]
    if isinstance(merges, list):
        pairs = (merge.split(" ") if isinstance(merge, str) else merge for merge in merges)
        model["merges"] = [pair for pair in pairs if aliases.keys().isdisjoint([*pair, "".join(pair)])]
    if model.get("unk_token") in aliases:
        model["unk_token"] = aliases[str(model["unk_token"])]


def _free_aliases(spellings: Sequence[str], text: str) -> dict[str, str]:
    """Return for each spelling one as long, of private characters that a text does not hold."""
    size = len(spellings) + 1
    private = {ord(character) for character in text if ord(character) >= PRIVATE_PLANES[-1][0]}
    for first, end in PRIVATE_PLANES:
        for start in range(first, end - size, size):
            if private.isdisjoint(range(start, start + size)):
                filler = chr(start)
                return {
                    spelling: chr(start + number) + filler * (len(spelling) - 1)
                    for number, spelling in enumerate(spellings, start=1)
                }
    raise DataError("a text holds so many characters of private use that its control tokens cannot be told from it")
