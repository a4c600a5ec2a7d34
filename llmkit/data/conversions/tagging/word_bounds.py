"""Words: found in a text in any language, laid out for a tokenizer, and recognised again in its tokens."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

Bounds = list[tuple[int, int]]  # where each word begins and ends, in characters

IDEOGRAPHS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"  # Chinese, and Japanese kana
LETTER = f"[^\\W_{IDEOGRAPHS}]"
WORD_PATTERN = re.compile(
    "['\u2019]s\\b"  # Anna's is Anna and 's, as treebanks have it
    "|[a-zà-ÿ]+['\u2019](?=[A-ZÀ-ÖØ-Þ])"  # l'Italie is l' and Italie
    f"|[@#]?{LETTER}+(?:(?:['\u2019](?!s\\b)|(?<=\\d),(?=\\d)|[.\\-_&@/]){LETTER}+)*"  # U.S, don't, 1,000
    "|\\S"  # any other mark, and an ideograph, is one by itself
)
ZERO_WIDTH_JOINERS = "\u200c\u200d"


def word_bounds(text: str) -> Bounds:
    """Return where the words of a text begin and end: by characters in Chinese and Japanese, else by marks and blanks.

    Scripts that write no blanks between words, Thai among them, are words from blank to blank.
    """
    bounds: Bounds = []
    for match in WORD_PATTERN.finditer(text):
        start, end = match.span()
        if bounds and bounds[-1][1] == start and _goes_on(text[start - 1], text[start]):
            bounds[-1] = (bounds[-1][0], end)
        else:
            bounds.append((start, end))
    return bounds


def words_in(text: str) -> list[str]:
    """Return the words of a text."""
    return [text[start:end] for start, end in word_bounds(text)]


def _goes_on(before: str, here: str) -> bool:
    """Tell whether a word goes on with a character: with a combining mark or a joiner, and with letters after it."""
    return _combines(here) or (_combines(before) and here.isalnum())


def _combines(letter: str) -> bool:
    return letter in ZERO_WIDTH_JOINERS or unicodedata.category(letter).startswith("M")


def join_words(words: Sequence[str]) -> tuple[str, Bounds]:
    """Return words with a blank between each two, and where they are in that text."""
    bounds, start = [], 0
    for word in words:
        bounds.append((start, start + len(word)))
        start += len(word) + 1
    return " ".join(words), bounds


def token_words(bounds: Bounds, offsets: Sequence[tuple[int, int]]) -> list[int]:
    """Return for each token of a window the number of the word that it is the first token of, else -1.

    A token that is but the blank before a word is the word's first, as `word_ids` of transformers has it.

    Args:
        bounds: of the words in the text: see `join_words`.
        offsets: where the tokens begin and end in it, (0, 0) for special ones.
    """
    words, word, last = [], 0, -1
    for start, end in offsets:
        while word < len(bounds) and bounds[word][1] <= start:
            word += 1
        if start == end or word == len(bounds) or end < bounds[word][0]:
            words.append(-1)
            continue
        begins = last >= 0 or start <= bounds[word][0]  # a window can begin within a word
        words.append(word if begins and word > last else -1)
        last = max(last, word)
    return words
