"""One word a row, as Kaggle's ner_dataset.csv has them: the rows of a sentence made into one with lists."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from llmkit.data.columns import string_columns
from llmkit.data.conversions.base import Conversion
from llmkit.data.conversions.tagging.tag_schemes import OUTSIDE, marks_are_last
from llmkit.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset


WORD_NAMES = frozenset({"word", "words", "token", "tokens", "form", "wort", "mot", "palabra", "字", "词", "单词"})
TAG_NAMES = frozenset(
    {"tag", "tags", "ner", "ner_tag", "ner_tags", "iob", "bio", "bio_tag", "entity", "label", "labels"}
)
OTHER_TAG_NAMES = frozenset({"pos", "pos_tag", "pos_tags", "upos", "xpos", "chunk", "chunk_tag", "chunk_tags"})
SENTENCE = re.compile(r"sent(ence)?s?(_?(id|idx|no|num|number|index|nr))?|(satz|phrase|frase)(_?\w+)?|句子?(_?\w+)?")
DOCUMENT = re.compile(r"(doc(ument)?|article|text|file|paragraph|par)(_?(id|idx|no|num|number|index|name))")
MOST_TAGS = 100  # distinct tags that a column can have
SINGLE = 0.98  # of the words: how many hold no blank
FIRST_ROWS_ALONE = 0.3  # of the rows: how many have no number at least, where the first of a sentence has it
USUAL_WORDS = 3  # of a sentence on average, at least, where tags are neither B-PER nor O
LONG_TEXT = 3  # blanks in a text, which is no name of a sentence
MOSTLY_OUTSIDE = 0.3  # of the words: how many have O where no tag has B- or I-

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class WordRowConversion(Conversion):
    """Rows of one word each as rows of one sentence each, with `tokens`, `tags` and lists of what else words have."""

    word: str
    tag: str
    sentences: tuple[str, ...]  # the columns that say which sentence a word is of; none: blank rows stand between
    others: tuple[str, ...] = ()  # columns of strings that are kept, as lists
    other_tags: tuple[str, ...] = ()  # those of them that hold tags too
    chosen: str | None = None  # the one of them that is read in place of `tag`

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.word, self.tag, *self.sentences)

    @property
    def writes(self) -> tuple[str, ...]:
        return ("tokens", "tags", *self.others)

    @property
    def sentence(self) -> str:
        of_what = f"rows with the same {' and '.join(self.sentences)}" if self.sentences else "rows up to a blank one"
        said = f"one word a row: {of_what} are a sentence, with tokens from {self.word} and tags from "
        said += self.chosen or self.tag
        if self.chosen:
            return said
        flags = ", ".join(f"--column tags={name}" for name in self.other_tags)
        verb = "holds" if len(self.other_tags) == 1 else "hold"
        return f"{said}; {', '.join(self.other_tags)} {verb} tags too ({flags})" if flags else said

    def apply(self, rows: Dataset) -> Dataset:
        from datasets import Dataset
        from datasets.table import InMemoryTable

        columns = _columns(rows, (*self.reads, *(name for name in self.others if name in rows.column_names)))
        blank = _blank(columns[self.word]) & _blank(columns[self.tag])
        begins = _begins(columns, self.sentences, blank)
        kept = np.flatnonzero(~blank)
        starts = np.flatnonzero(begins[kept])
        offsets = pa.array([*starts.tolist(), len(kept)], pa.int32())
        lists = {
            name: pa.ListArray.from_arrays(offsets, columns[column].take(pa.array(kept)).cast(pa.string()))
            for name, column in zip(("tokens", "tags", *self.others), (self.word, self.tag, *self.others), strict=True)
            if column in columns
        }
        return Dataset(InMemoryTable(pa.table(lists)))


def find(rows: Dataset) -> WordRowConversion | None:
    """Return how rows of one word each are made into sentences, or None where rows are something else.

    Raises:
        DataError: they are words and tags, and nothing says where a sentence begins.
    """
    strings = string_columns(rows)
    word = _first(strings, WORD_NAMES)
    if word is None or not len(rows):
        return None
    columns = _columns(rows, strings)
    if not _are_words(columns[word]):
        return None
    kinds = {name: _kind_of_tags(columns[name]) for name in strings if name != word}
    tag = _tag_column(kinds)
    sentences = _sentence_columns(rows)
    if tag is None:
        return None
    others = tuple(name for name in strings if name not in {word, tag, *sentences, "tokens", "tags"})
    blank = _blank(columns[word]) & _blank(columns[tag])
    if not sentences and not blank[:-1].any():
        if kinds[tag] != "marked":
            return None
        raise DataError(
            f"the rows are words ({word}) and their tags ({tag}), one a row, and nothing says which make a sentence: "
            "a column such as sentence_id, or a blank row between sentences, is wanted; --task text-classification "
            f"--column text={shlex.quote(word)} --column label={shlex.quote(tag)} learns from single words"
        )
    other_tags = tuple(name for name in others if _is_other_tag(name, kinds))
    found = WordRowConversion(word, tag, sentences, others, other_tags)
    return found if kinds[tag] == "marked" or _are_sentences(rows, found, blank, kinds[tag] == "few") else None


def _are_sentences(rows: Dataset, found: WordRowConversion, blank: Bools, few: bool) -> bool:
    """Tell whether rows run on in sentences, rather than that each has a word and a class of its own."""
    columns = _columns(rows, found.reads)
    words, sentences = (~blank).sum(), _begins(columns, found.sentences, blank)[~blank].sum()
    if not few:
        return bool(sentences < words)
    texts = [columns[name] for name in found.sentences if pa.types.is_string(columns[name].type)]
    long = any(pc.mean(pc.count_substring(text.fill_null(""), " ")).as_py() >= LONG_TEXT for text in texts)
    return _plain(found.tag) in TAG_NAMES | OTHER_TAG_NAMES and words >= USUAL_WORDS * sentences and not long


def _first(names: Sequence[str], known: frozenset[str]) -> str | None:
    return next((name for name in names if _plain(name) in known), None)


def _plain(name: str) -> str:
    """Return a column's name in lower case, with underscores for capitals and other marks: `Sentence #`, `sentId`."""
    return re.sub(r"\W+|_+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()).strip("_")


def _columns(rows: Dataset, names: Sequence[str]) -> dict[str, pa.Array]:
    table = rows.select_columns([*dict.fromkeys(names)]).with_format("arrow")[:]
    return {name: table[name].combine_chunks() for name in table.column_names}


def _blank(column: pa.Array) -> Bools:
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = pc.equal(pc.utf8_trim_whitespace(column.fill_null("")), "")
    else:
        column = column.is_null(nan_is_null=pa.types.is_floating(column.type))
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=bool)


def _are_words(column: pa.Array) -> bool:
    single = pc.sum(pc.invert(pc.match_substring_regex(column.fill_null(""), r"\s"))).as_py() or 0
    return bool(single >= SINGLE * len(column))


def _kind_of_tags(column: pa.Array) -> str | None:
    """Return what the tags of a column are: marked (B-PER), typed (PER, O), few (as parts of speech), or None."""
    counted = pc.value_counts(column.drop_null())
    if len(counted) > max(MOST_TAGS, 1):
        return None
    counts = Counter({str(item["values"]).strip(): item["counts"] for item in counted.to_pylist()})
    counts.pop("", None)
    if len(counts) < 2 or any(" " in name for name in counts):
        return None
    if marks_are_last(counts) is not None:
        return "marked"
    return "typed" if counts[OUTSIDE] >= MOSTLY_OUTSIDE * counts.total() else "few"


def _tag_column(kinds: dict[str, str | None]) -> str | None:
    """Return the column of entities' tags, else of parts of speech."""
    known = [name for name, kind in kinds.items() if kind is not None]
    named = [name for name in known if _plain(name) in TAG_NAMES]
    parts = [name for name in known if _plain(name) in OTHER_TAG_NAMES]
    marked = [name for name in known if kinds[name] == "marked" and name not in parts]
    typed = [name for name in known if kinds[name] == "typed" and name not in parts]
    both = [name for name in marked if name in named]
    return next(iter((*both, *marked, *(name for name in typed if name in named), *typed, *named, *parts)), None)


def _is_other_tag(name: str, kinds: dict[str, str | None]) -> bool:
    named = _plain(name) in TAG_NAMES and kinds.get(name) is not None
    return named or kinds.get(name) == "marked" or _plain(name) in OTHER_TAG_NAMES


def _sentence_columns(rows: Dataset) -> tuple[str, ...]:
    """Return the columns that number sentences, and documents where there is one."""
    plain = {name: _plain(name) for name in rows.column_names}
    sentences = [name for name, words in plain.items() if SENTENCE.fullmatch(words)]
    documents = [name for name, words in plain.items() if DOCUMENT.fullmatch(words)]
    named = (*documents[:1], *sentences[:1])
    if named:
        return named
    integers = [name for name in rows.column_names if str(getattr(rows.features[name], "dtype", "")).startswith("int")]
    return next(((name,) for name in integers if _numbers_runs(rows[name][:])), ())


def _numbers_runs(cells: Sequence[int | None]) -> bool:
    """Tell whether integers go up by one at a time, and some stand on several rows: a number of sentences."""
    if None in cells or len(cells) < 2:
        return False
    steps = np.diff(np.asarray(cells, dtype=np.int64))
    return bool(np.isin(steps, (0, 1)).all() and (steps == 1).any() and (steps == 0).mean() >= 1 / 2)


def _begins(columns: dict[str, pa.Array], sentences: Sequence[str], blank: Bools) -> Bools:
    """Tell of each row whether it is the first of a sentence, where blank rows are of none."""
    begins = np.zeros(len(blank), dtype=bool)
    for name in sentences:
        empty = _blank(columns[name])
        codes = np.asarray(columns[name].dictionary_encode().indices.fill_null(-1))
        if FIRST_ROWS_ALONE <= empty[~blank].mean() < 1:
            begins |= ~empty
        else:
            begins[1:] |= codes[1:] != codes[:-1]
    after_blank = np.zeros(len(blank), dtype=bool)
    after_blank[1:] = blank[:-1]
    begins |= after_blank
    kept = np.flatnonzero(~blank)
    if len(kept):
        begins[kept[0]] = True
    return begins
