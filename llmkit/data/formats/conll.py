"""CoNLL's lines: a word and its tags on each, blank lines between sentences.

Of any number of columns, between tabs or blanks: CoNLL-2003 (word, part of speech, chunk, entity), two columns, and
CoNLL-U with its numbers, comments and multiword tokens (universaldependencies.org/format.html).
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmkit.data.conversions.tagging.tag_schemes import OUTSIDE, marks_are_last
from llmkit.data.conversions.tagging.words import OTHER_TAG_NAMES, TAG_NAMES, WORD_NAMES
from llmkit.errors import DataError, shortened

if TYPE_CHECKING:
    from datasets import Dataset


ENDINGS = ("conll", "conllu", "bio", "iob", "iob2")
DOCUMENT_MARK = "-DOCSTART-"
LEAST_LINES = 4  # of words, below which a text is no CoNLL by what it holds
HEAD = 50_000  # characters that tell whether a text can be such at all
MOST = 0.95  # of the lines: how many must have the same number of fields
MOST_TAGS, OFTEN = 100, 3  # distinct tags that a column can have, and how often each comes on average at least
ENDED = 0.5  # of the sentences of a tagged text: how many end with a mark, such as a full stop
MOSTLY_OUTSIDE = 0.3  # of the words: how many have O where no tag has B- or I-
LEAST_OF_ONTONOTES = 10  # columns: document, part, number, word, part of speech and so on
CONLLU_COLUMNS = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
COMMENT = re.compile(r"#\s|#$|#\s*[\w.:]+\s*=|#(begin|end) document")
NUMBER = re.compile(r"\d+([-.]\d+)?")
BRACKETS = re.compile(r"\*\)?|\((?P<kind>[A-Z_]+)(\*\)?|\))")  # one span at a time
PART_OF_SPEECH = re.compile(r"[A-Z$.,:;'`\"()#!?*+_|-]+[A-Z0-9_]*")

Line = tuple[int, list[str]]  # its number, and its fields


@dataclass(frozen=True)
class Layout:
    """What the columns of the lines hold."""

    fields: int
    word: int
    tags: int
    others: tuple[tuple[int, str], ...]  # columns by name


def is_named_so(name: str) -> bool:
    """Tell whether the name of a file says that it holds CoNLL's lines: train.conll, dev.bio.gz."""
    return any(ending in ENDINGS for ending in name.lower().split(".")[1:])


def read_conll(text: str, where: str, certain: bool = False) -> Dataset | None:
    """Return the sentences of a text with the columns `tokens`, `tags` and those that stand between them, or None.

    Args:
        text: of the file.
        where: what it is called.
        certain: the file's name says that it is CoNLL.

    Raises:
        DataError: a line has more or fewer columns than all others, or the text is no CoNLL and `certain`.
    """
    if not certain and not _usual_fields([line for sentence in _sentences(_head_of(text)) for line in sentence]):
        return None
    sentences = list(_sentences(text))
    lines = [line for sentence in sentences for line in sentence]
    fields = _usual_fields(lines)
    layout = None
    if fields >= 2:
        table = [line for _, line in lines if len(line) == fields]
        layout = _layout(table, sentences, certain)
    if layout is None:
        if certain:
            raise DataError(f"{where}: lines of a word, a blank or a tab, and its tag are wanted, which these are not")
        return None
    odd = next(((number, line) for number, line in lines if len(line) != layout.fields), None)
    if odd is not None:
        raise DataError(
            f"{where}, line {odd[0]}: {len(odd[1])} columns where other lines have {layout.fields}: "
            f"{shortened(' '.join(odd[1]))}"
        )
    return _dataset(sentences, layout)


def read_word_table(text: str, where: str, delimiter: str) -> Dataset | None:
    """Return the sentences of a table with a word and its tags on each line and blank lines between sentences, or None.

    Its first line can name the columns. A table without blank lines between its rows is none.

    Raises:
        DataError: a line has more or fewer columns than all others.
    """
    body = text.replace("\r\n", "\n").strip("\n")
    if "\n\n" not in body or not body:
        return None
    first, _, rest = body.partition("\n")
    named = {cell.strip(" \"'").lower() for cell in first.split(delimiter)}
    has_header = bool(named & WORD_NAMES) and bool(named & (TAG_NAMES | OTHER_TAG_NAMES))
    lines = (rest if has_header else body).split("\n")
    if delimiter != "\t":
        lines = ["\t".join(next(csv.reader([line], delimiter=delimiter), ())) for line in lines]
    found = read_conll("\n" * has_header + "\n".join(lines), where) if any("\t" in line for line in lines) else None
    return found if found is not None and len(found) > 1 else None


def _head_of(text: str) -> str:
    head, cut, _ = text[:HEAD].rpartition("\n")
    return head if cut and len(text) > HEAD else text[:HEAD]


def _sentences(text: str) -> Iterator[list[Line]]:
    """Yield the lines of each sentence as fields; comments, marks of documents and multiword tokens are left out."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    full = [line for line in lines[:1000] if line.strip()]
    tabs = sum("\t" in line for line in full) > len(full) / 2
    sentence: list[Line] = []
    for number, line in enumerate(lines, start=1):
        if line.startswith(DOCUMENT_MARK) or not line.strip():
            if sentence:
                yield sentence
            sentence = []
            continue
        fields = line.split("\t") if tabs else re.split(r"[ \t]+", line.strip(" \t"))
        is_comment = COMMENT.match(line) is not None and (not sentence or len(fields) != len(sentence[0][1]))
        is_multiword = len(fields) == len(CONLLU_COLUMNS) and re.fullmatch(r"\d+[-.]\d+", fields[0])
        if not is_multiword and not (is_comment and not _is_tagged_mark(fields)):
            sentence.append((number, [field.strip() for field in fields]))
    if sentence:
        yield sentence


def _is_tagged_mark(fields: Sequence[str]) -> bool:
    """Tell whether the fields of a line that begins with # are the word # and its tags, rather than a comment."""
    return fields[0] == "#" and fields[-1] in {OUTSIDE, "#", "SYM", "PUNCT"}


def _usual_fields(lines: Sequence[Line]) -> int:
    """Return how many fields nearly all lines have, or 0."""
    counts = Counter(len(fields) for _, fields in lines)
    usual, often = counts.most_common(1)[0] if counts else (0, 0)
    return usual if often >= MOST * len(lines) else 0


def _layout(table: Sequence[list[str]], sentences: Sequence[Sequence[Line]], certain: bool) -> Layout | None:
    columns = list(zip(*table, strict=True))
    fields = len(columns)
    numbered = all(NUMBER.fullmatch(cell) for cell in columns[0]) and fields > 2
    if fields == len(CONLLU_COLUMNS) and numbered:
        return _conllu(columns)
    word = 1 if numbered else _word_column(columns)
    if sum(" " in cell or not cell for cell in columns[word]) > (1 - MOST) * len(table):
        return None
    marked = [number for number in range(word + 1, fields) if _is_marked(columns[number])]
    holding = [number for number in marked if any(cell != OUTSIDE for cell in columns[number])]
    if holding and (certain or len(table) > 1):
        tags = holding[0] if numbered and marked == [2, 3] else holding[-1]  # GermEval's last are spans inside of spans
    elif certain or (len(table) >= LEAST_LINES and _holds_tags(columns[-1], sentences, word)):
        tags = fields - 1
    else:
        return None
    known = {1: "pos", 2: "chunk"} if fields in {3, 4} and word == 0 and tags == fields - 1 else {}
    others = [
        (number, known.get(number, f"column_{number + 1}"))
        for number in range(fields)
        if number not in {word, tags} and not (numbered and number == 0) and len(set(columns[number])) > 1
    ]
    return Layout(fields, word, tags, tuple(others))


def _word_column(columns: Sequence[Sequence[str]]) -> int:
    """Return the column of words: the first, but behind the names of documents and numbers that OntoNotes has."""
    if len(columns) < LEAST_OF_ONTONOTES or not all(map(NUMBER.fullmatch, columns[1])):
        return 0
    return next((number for number in (2, 3) if not all(map(NUMBER.fullmatch, columns[number]))), 0)


def _conllu(columns: Sequence[Sequence[str]]) -> Layout:
    names = {number: name for number, name in enumerate(CONLLU_COLUMNS) if set(columns[number]) != {"_"}}
    tags = 3 if 3 in names else 4
    others = [(number, names[number]) for number in (2, 3, 4) if number in names and number != tags]
    return Layout(len(columns), 1, tags, tuple(others))


def _are_brackets(cells: Sequence[str]) -> bool:
    """Tell whether tags are spans in brackets, as OntoNotes has them: (PERSON* and then *)."""
    return any("(" in cell for cell in cells) and all(map(BRACKETS.fullmatch, cells))


def _of_brackets(cells: Sequence[str]) -> list[str]:
    """Return tags in brackets as IOB2."""
    tags, kind = list[str](), ""
    for cell in cells:
        found = BRACKETS.fullmatch(cell)
        opened = found["kind"] if found else None
        kind = opened or kind
        tags.append(f"B-{opened}" if opened else f"I-{kind}" if kind else OUTSIDE)
        kind = "" if cell.endswith(")") else kind
    return tags


def _is_marked(cells: Sequence[str]) -> bool:
    """Tell whether tags have marks, as in B-PER, first or last, are all O, or are spans in brackets."""
    if _are_brackets(cells):
        return True
    return {*cells} <= {OUTSIDE} or marks_are_last(Counter(cells)) is not None


def _holds_tags(cells: Sequence[str], sentences: Sequence[Sequence[Line]], word: int) -> bool:
    """Tell whether a column holds types beside O, or parts of speech: few names in upper case, and sentences end."""
    counts = Counter(cells)
    if not 2 <= len(counts) <= MOST_TAGS or len(sentences) < 2:
        return False
    if counts[OUTSIDE] >= MOSTLY_OUTSIDE * len(cells):
        return True
    ended = sum(not any(map(str.isalnum, sentence[-1][1][word])) for sentence in sentences)
    often = len(cells) >= OFTEN * len(counts) and ended >= ENDED * len(sentences)
    return often and all(map(PART_OF_SPEECH.fullmatch, counts))


def _dataset(sentences: Sequence[Sequence[Line]], layout: Layout) -> Dataset:
    from datasets import Dataset, Features, List, Value

    columns = {"tokens": layout.word, **{name: number for number, name in layout.others}, "tags": layout.tags}
    values = {
        name: [[fields[number] for _, fields in sentence] for sentence in sentences] for name, number in columns.items()
    }
    if _are_brackets([tag for tags in values["tags"] for tag in tags]):
        values["tags"] = [_of_brackets(tags) for tags in values["tags"]]
    return Dataset.from_dict(values, features=Features({name: List(Value("string")) for name in columns}))
