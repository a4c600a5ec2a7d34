"""Texts as transformers decodes them, less the character that the last tokens only begin."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase
from transformers.convert_slow_tokenizer import bytes_to_unicode

BYTES = {sign: byte for byte, sign in bytes_to_unicode().items()}


def whole_characters(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], prompt: Sequence[int] = ()) -> str:
    """Return what tokens add to those of a prompt; of a byte-level vocabulary, no character that is cut at its end."""
    before = tokenizer.decode(prompt, skip_special_tokens=True)
    text = tokenizer.decode([*prompt, *ids], skip_special_tokens=True).removeprefix(before)
    special = set(tokenizer.all_special_ids)
    pieces = [tokenizer.convert_ids_to_tokens(int(token)) for token in ids if int(token) not in special]
    if not all(set(piece) <= BYTES.keys() for piece in pieces):
        return text
    raw = bytes(BYTES[sign] for piece in pieces for sign in piece)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    decoder.decode(raw)
    cut, _ = decoder.getstate()
    return text.removesuffix("\ufffd") if cut else text
