"""Which scripts are written without spaces between words: one table, which every metric of texts reads.

Sources: Unicode Standard Annex 14 (class SA: Thai to Khmer, whose lines break by dictionary) and 24 (scripts).
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

# by script: the blocks of its letters; digits, marks and punctuation in them are left out by `LETTER`
SPACELESS_BLOCKS = {
    "Chinese": "\u3005-\u3007\u3021-\u3029\u3038-\u303b\u3105-\u312f\u31a0-\u31bf\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U000323af",
    "Japanese": "\u3041-\u309f\u30a1-\u30ff\u31f0-\u31ff\uff66-\uff9f\U0001b000-\U0001b16f",
    "Thai": "\u0e00-\u0e7f",
    "Lao": "\u0e80-\u0eff",
    "Tibetan": "\u0f00-\u0fff",
    "Burmese": "\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f",
    "Khmer": "\u1780-\u17ff",
    "Tai": "\u1950-\u19df\u1a20-\u1aaf\uaa80-\uaadf",
    "Yi": "\ua000-\ua48c",
}
HANGUL = "\uac00-\ud7a3"
LETTER = r"[^\W\d_]"
SPACELESS_LETTER = f"(?={LETTER})[{''.join(SPACELESS_BLOCKS.values())}]"
LAST_MARK = 0x1F000  # beyond are pictures, Chinese, and selectors of variants
SPACED = "spaced"  # words between spaces: every other script
TOKENIZERS = {SPACED: "13a", "Chinese": "zh"}  # by script, as sacrebleu calls them; char for the others
JAPANESE_SHARE = 0.1  # of kana among kana and Chinese characters: Chinese has next to none, Japanese a half and more
_BLOCKS = {script: re.compile(f"(?={LETTER})[{blocks}]") for script, blocks in SPACELESS_BLOCKS.items()}
_ANY_SPACELESS = re.compile(SPACELESS_LETTER)


@functools.cache
def invisible() -> dict[int, str | None]:
    """Return, for `str.translate`, what is no part of a word: joiners, direction marks, variation selectors.

    A zero width space parts words, and becomes a space.
    """
    formats = (code for code in range(LAST_MARK) if unicodedata.category(chr(code)) == "Cf")
    selectors = (*range(0xFE00, 0xFE10), *range(0xE0000, 0xE01F0))
    return {**dict.fromkeys([*formats, *selectors]), 0x200B: " "}


def visible(text: str) -> str:
    """Return a text as it is read: composed (NFC), without characters that have no shape of their own."""
    return text if text.isascii() else unicodedata.normalize("NFC", text.translate(invisible()))


@functools.cache
def marks() -> str:
    """Return the combining marks, for a regular expression: parts of a word that its word characters leave out."""
    return "".join(chr(code) for code in range(LAST_MARK) if unicodedata.category(chr(code)).startswith("M"))


def run_of(sign: str) -> str:
    """Return a pattern of a word of such signs with their marks, for texts without spaceless letters: a quick one."""
    return f"{sign}+(?:[{marks()}]+{sign}*)*"


@functools.cache
def _word() -> re.Pattern[str]:
    return re.compile(f"(?:(?!{SPACELESS_LETTER}){LETTER}[{marks()}]*)+")


@functools.cache
def _word_between_spaces() -> re.Pattern[str]:
    return re.compile(run_of(LETTER))


def script_shares(texts: Iterable[str]) -> Mapping[str, float]:
    """Return how much of the texts is in each script, the most first: a word is a unit, and so is a spaceless letter.

    Where kana are a tenth of the kana and Chinese characters, these are Japanese together, else Chinese.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        if text.isascii():
            counts[SPACED] += sum(any(map(str.isalpha, word)) for word in text.split())
            continue
        if _ANY_SPACELESS.search(text):
            counts[SPACED] += len(_word().findall(text))
            counts.update({script: len(letters.findall(text)) for script, letters in _BLOCKS.items()})
        else:
            counts[SPACED] += len(_word_between_spaces().findall(text))
    kana, both = counts["Japanese"], counts["Japanese"] + counts["Chinese"]
    japanese = kana > 0 and kana >= JAPANESE_SHARE * both
    counts["Japanese"], counts["Chinese"] = (both, 0) if japanese else (0, both)
    total = counts.total()
    return {script: count / total for script, count in counts.most_common() if count}


def usual_tokenizer(texts: Iterable[str]) -> str:
    """Return the tokenizer, by sacrebleu's name, for the script that most of the texts are written in.

    Chinese has one of its own; other scripts without spaces are read by characters, all others as 13a reads them.
    """
    return next(iter(tokenizer_shares(script_shares(texts))), "13a")


def tokenizer_shares(shares: Mapping[str, float]) -> Mapping[str, float]:
    """Return how much of the texts each tokenizer is for, the most first."""
    found: defaultdict[str, float] = defaultdict(float)
    for script, share in shares.items():
        found[TOKENIZERS.get(script, "char")] += share
    return dict(sorted(found.items(), key=lambda entry: -entry[1]))
