"""A text that is longer than a model reads in windows that overlap, beside another that stands whole in each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from llmkit.tasks.encoding.collation import INPUTS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

OVERLAP = 4  # two windows share one of so many of the tokens that they hold of the text
LEAST_ROOM = 8  # tokens of the text that a window holds at least


def text_windows(
    text: str, pair: str | None, tokenizer: PreTrainedTokenizerBase, max_length: int
) -> Iterator[dict[str, list[int]]]:
    """Yield the model's inputs of each window; of a pair the longer text is cut, and the other is in all windows."""
    first, second = _sizes(text, pair, tokenizer)
    encoded = tokenizer(
        text,
        pair,
        truncation="only_first" if first >= second else "only_second",
        max_length=max_length,
        stride=_room(min(first, second) if pair is not None else 0, pair, tokenizer, max_length) // OVERLAP,
        return_overflowing_tokens=True,
    )
    for window in range(len(encoded["input_ids"])):
        yield {name: encoded[name][window] for name in INPUTS if name in encoded}


def problem_with_windows(text: str, pair: str, tokenizer: PreTrainedTokenizerBase, max_length: int) -> str | None:
    """Return a phrase on why a pair cannot be read in windows, or None."""
    if tokenizer.sep_token is None:
        return "this model reads a pair as one text, of which no window would hold both; leave out --windows"
    sizes = _sizes(text, pair, tokenizer)
    if _room(min(sizes), pair, tokenizer, max_length) >= LEAST_ROOM:
        return None
    return (
        f"its text has {sizes[0]} tokens and its pair {sizes[1]}, and the shorter has to stand whole in each window "
        f"of {max_length}; shorten one, or leave out --windows"
    )


def cut_of_pair(text: str, pair: str, tokenizer: PreTrainedTokenizerBase, max_length: int) -> tuple[str, ...]:
    """Return which of the two loses tokens where the longer one is cut until both fit: text, pair."""
    whole = _sizes(text, pair, tokenizer)
    if tokenizer.sep_token is None:  # read as one text
        return ("pair",) if whole[0] < max_length else ("text", "pair")
    encoded = tokenizer(text, pair, truncation=True, max_length=max_length)
    parts = encoded.sequence_ids(0) if tokenizer.is_fast else []
    kept = [parts.count(0), parts.count(1)]
    return tuple(role for role, had, has in zip(("text", "pair"), whole, kept, strict=True) if has < had)


def _sizes(text: str, pair: str | None, tokenizer: PreTrainedTokenizerBase) -> tuple[int, int]:
    first, second = (len(tokenizer(part, add_special_tokens=False)["input_ids"]) for part in (text, pair or ""))
    return first, second


def _room(kept: int, pair: str | None, tokenizer: PreTrainedTokenizerBase, max_length: int) -> int:
    """Return how many tokens of the longer text a window holds, where the other has `kept`."""
    return max_length - kept - int(tokenizer.num_special_tokens_to_add(pair=pair is not None))
