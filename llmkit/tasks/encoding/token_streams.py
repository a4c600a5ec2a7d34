"""The tokens of documents, one behind the other, as an array: lists of Python's numbers take ten times the memory.

A tokenizer keeps some 100 bytes for each token of a text that it reads, so a long text is read in pieces, where it is
proven that its tokens are the same then.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from llmkit.models.text.prompts import added_tokens_around, encode_plain_texts

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

Tokens = npt.NDArray[np.int64]

PIECE = 1 << 20  # characters that are read at a time
SEARCHED = 1 << 14  # characters in which a line's end is looked for, to cut a text there
AROUND = 1000  # characters on each side of a cut, whose tokens tell whether it changes any
LINE_END = re.compile(r"(?<=\S)\n(?=\S)")
BLOCKS_PER_CHUNK = 1000


class DocumentReader:
    """Reads documents with the tokens that a tokenizer puts around each.

    `split_special_tokens`: what spells a control token is text. Corpora hold the ends of texts on purpose.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, split_special_tokens: bool) -> None:
        self.tokenizer, self.split_special_tokens = tokenizer, split_special_tokens
        self.before, self.after = added_tokens_around(tokenizer)

    def read(self, texts: Sequence[str]) -> Iterator[Tokens]:
        """Yield the tokens of each text, (tokens,)."""
        few: list[str] = []
        size = 0
        for text in texts:
            if few and size + len(text) > PIECE:
                yield from self._whole(few)
                few, size = [], 0
            if len(text) > PIECE:
                yield self._in_pieces(text)
            else:
                few.append(text)
                size += len(text)
        yield from self._whole(few)

    def _whole(self, texts: Sequence[str]) -> Iterator[Tokens]:
        if not texts:
            return
        if self.split_special_tokens:
            yield from (self._around(ids) for ids in self._alone(texts))
            return
        for ids in self.tokenizer(list(texts), return_attention_mask=False)["input_ids"]:
            yield np.array(ids, dtype=np.int64)

    def _alone(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of texts, nothing around them."""
        if self.split_special_tokens:
            return [spans.ids for spans in encode_plain_texts(self.tokenizer, texts, offsets=False)]
        encoded = self.tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False)
        return list(encoded["input_ids"])

    def _around(self, *pieces: list[int] | Tokens) -> Tokens:
        return np.concatenate([np.array(each, dtype=np.int64) for each in (self.before, *pieces, self.after)])

    def _in_pieces(self, text: str) -> Tokens:
        """Return the tokens of a long text."""
        cuts = [0, *self._cuts(text), len(text)]
        if len(cuts) == 2:
            return next(self._whole([text]))
        pieces = (text[start:end] for start, end in pairwise(cuts))
        return self._around(*[np.array(self._alone([piece])[0], dtype=np.int64) for piece in pieces])

    def _cuts(self, text: str) -> Iterator[int]:
        """Yield places behind the ends of lines at which a text can be cut without any change of its tokens."""
        start = 0
        while len(text) - start > PIECE:
            found = LINE_END.search(text, start + PIECE - SEARCHED, start + PIECE)
            start = found.end() if found is not None else start + PIECE
            if found is not None and self._can_be_cut(
                text[max(start - AROUND, 0) : start], text[start : start + AROUND]
            ):
                yield start

    def _can_be_cut(self, left: str, right: str) -> bool:
        """Tell whether two pieces have the tokens of the whole: not where a tokenizer begins each text with a mark."""
        whole = next(self._whole([left + right]))
        return np.array_equal(whole, self._around(*self._alone([left, right])))


def token_stream(documents: Iterator[Tokens], tokenizer: PreTrainedTokenizerBase) -> Tokens:
    """Join the tokens of documents, an end-of-text token after each (a BOS that is the same token serves too)."""
    eos, shared = tokenizer.eos_token_id, tokenizer.eos_token_id == tokenizer.bos_token_id
    parts: list[Tokens] = []
    last: int | None = None
    for ids in documents:
        starts_with_eos = len(ids) > 0 and shared and ids[0] == eos
        if last is not None and eos is not None and last != eos and not starts_with_eos:
            parts.append(np.array([eos], dtype=np.int64))
            last = eos
        parts.append(ids)
        last = int(ids[-1]) if len(ids) else last
    if last is not None and eos is not None and last != eos:
        parts.append(np.array([eos], dtype=np.int64))
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


def block_rows(stream: Tokens, size: int) -> Dataset:
    """Cut a stream of tokens into rows of `size`; the rest is dropped, unless it is all there is."""
    import pyarrow as pa
    from datasets import Dataset

    blocks = len(stream) // size
    if not blocks:
        blocks, size = int(len(stream) > 1), len(stream)
    chunks = []
    for start in range(0, blocks, BLOCKS_PER_CHUNK):
        count = min(BLOCKS_PER_CHUNK, blocks - start)
        values = pa.array(stream[start * size : (start + count) * size])
        bounds = pa.array(np.arange(count + 1, dtype=np.int32) * size, pa.int32())
        chunks.append(pa.ListArray.from_arrays(bounds, values))
    ids = pa.chunked_array(chunks, pa.list_(pa.int64()))
    return Dataset(pa.table({"input_ids": ids, "length": pa.array([size] * blocks, pa.int64())}))
