"""Which columns are words and their tags: lists of one length, words in rows, spans in a text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from llmkit.data.columns import is_string, item_of
from llmkit.data.conversions import Conversion, converted
from llmkit.data.conversions.tagging import spans, tags, token_spans, words
from llmkit.data.conversions.tagging.lists import list_in
from llmkit.data.conversions.tagging.tag_schemes import marks_are_last
from llmkit.data.evidence import ColumnProfile, Evidence
from llmkit.data.label_sets import as_list
from llmkit.errors import DataError
from llmkit.tasks.base import names
from llmkit.tasks.base.candidates import Candidate, Confidence

TOKEN_WORDS = ("tokens", "words", "token", "word", "sentence", "text", "词", "字")
TAG_WORDS = (
    *("ner", "ner_tags", "entities", "tags", "labels", "label", "bio", "iob", "slots", "slot", "pos", "pos_tags"),
    *("upos", "xpos", "chunk", "chunk_tags", "tag", "target", "标签"),
)
MOST_BLANKS = 1  # in a word; RACE's lists of questions are none
MOSTLY_EQUAL = 0.5  # of the rows have as many marked tags as words: nothing else has such tags
MIN_EQUAL = 0.95  # of the rows have a tag for each word: the rest is named when rows are checked


def tag_candidates(evidence: Evidence, given: Mapping[str, str]) -> list[Candidate]:
    """Return the ways to read a dataset as words and their tags: spans in a text, a word a row, or lists of one length.

    What is found, but cannot be read, is a reading with a problem.
    """
    try:
        made: Conversion | None = spans.find(evidence.rows) or token_spans.find(evidence.rows)
    except DataError as error:
        return [Candidate({}, Confidence.CERTAIN, "spans of a text", problem=str(error))]
    try:
        made = made or words.find(evidence.rows)
    except DataError as error:
        return [*_of_lists(evidence, given), Candidate({}, Confidence.CERTAIN, "a word a row", problem=str(error))]
    if made is None:
        return _of_strings(evidence, given) or _of_lists(evidence, given)
    column = given.get("tags", "tags")
    columns = {"tokens": "tokens", "tags": column if column in made.writes else "tags"}
    if isinstance(made, words.WordRowConversion) and column in made.others:
        made = replace(made, chosen=column)
    return [Candidate(columns, Confidence.CERTAIN, "words and tags are made of its rows", (made,))]


def with_tags_read(candidate: Candidate, evidence: Evidence) -> Candidate:
    """Return a reading with its tags as lists of names in IOB2.

    Raises:
        DataError: they are written in two ways that contradict each other.
    """
    if candidate.problem:
        return candidate
    rows = converted(evidence.rows, candidate.conversions)
    found = tags.find(rows, candidate.columns["tokens"], candidate.columns["tags"])
    return candidate if found is None else replace(candidate, conversions=(*candidate.conversions, found))


def _of_lists(evidence: Evidence, given: Mapping[str, str]) -> list[Candidate]:
    """Return the way to read columns of lists as words and their tags."""
    lists = {column.name: column for column in evidence.columns.values() if _sequence(column)}
    of_words = [column for column in lists.values() if _holds_words(column) and column.name not in given.values()]
    of_words = [lists[given["tokens"]]] if given.get("tokens") in lists else of_words
    found = []
    for tokens in sorted(of_words, key=lambda column: _place(column.name, TOKEN_WORDS)):
        of_tags = [column for column in lists.values() if column.name != tokens.name and _match(tokens, column)]
        if "tags" in given:
            of_tags = [column for column in evidence.columns.values() if column.name == given["tags"]]
        for column in sorted(of_tags, key=lambda column: _place(column.name, TAG_WORDS)):
            named = names.has_word(column.name, TAG_WORDS) and names.has_word(tokens.name, TOKEN_WORDS)
            certain = "tags" in given or (named and not (tokens.is_string and column.is_string and column.words < 1))
            confidence = Confidence.CERTAIN if certain else Confidence.LIKELY
            columns = {"tokens": tokens.name, "tags": column.name}
            found.append(Candidate(columns, confidence, f"{column.name} has a tag for each word of {tokens.name}"))
    return found[:1]


def _of_strings(evidence: Evidence, given: Mapping[str, str]) -> list[Candidate]:
    """Return the way to read strings as the tags of the words of another column: `B-PER O O`, as many as the words."""
    strings = [column for column in evidence.strings() if column.cells]
    for column in strings:
        if given.get("tags", column.name) != column.name:
            continue
        pieces = [_pieces(cell) for cell in column.cells[:300]]
        known = {piece for of_row in pieces for piece in of_row}
        if marks_are_last(Counter(known)) is None or sum(map(len, pieces)) < 2 * len(pieces):
            continue
        for text in strings:
            same = len(text.cells) == len(column.cells) and text.name == given.get("tokens", text.name)
            pairs = zip(text.cells[:300], pieces, strict=True) if same and text is not column else ()
            equal = [len(_items(text, cell) or ()) == len(of_row) for cell, of_row in pairs]
            if equal and sum(equal) >= MOSTLY_EQUAL * len(equal):
                columns = {"tokens": text.name, "tags": column.name}
                reason = f"{column.name} has a tag for each word of {text.name}"
                return [Candidate(columns, Confidence.CERTAIN, reason)]
    return []


def _pieces(cell: str) -> list[str]:
    listed = list_in(cell)
    return [*map(str, listed)] if listed is not None else [*filter(None, re.split(r"[,;|\s]+", cell.strip()))]


def _place(name: str, words: Sequence[str]) -> int:
    """Return the place of a name among usual words: of the whole name, else of its words, else behind all."""
    if name.lower() in words:
        return words.index(name.lower())
    return next(
        (len(words) + place for place, word in enumerate(words) if names.has_word(name, (word,))), 2 * len(words)
    )


def _sequence(column: ColumnProfile) -> bool:
    """Tell whether cells are lists of words, of tags or of ids, as lists or as text of such."""
    if column.is_list:
        return not isinstance(item_of(column.feature), dict) and item_of(item_of(column.feature)) is None
    return column.is_string and bool(column.cells)


def _items(column: ColumnProfile, cell: object) -> Sequence[object] | None:
    if isinstance(cell, str):
        listed = as_list(cell.replace("'", '"')) if cell.lstrip().startswith("[") else cell.split()
        return listed if isinstance(listed, list) else None
    return list(cell) if isinstance(cell, Sequence) else None


def _holds_words(column: ColumnProfile) -> bool:
    if column.is_list:
        items = [str(item).strip() for cell in column.cells[:300] for item in cell]
        if not items:
            return names.has_word(column.name, TOKEN_WORDS[:4])  # lists that are all empty: the name alone tells
        phrases = sum(len(item.split()) > MOST_BLANKS + 1 for item in items)
        return is_string(item_of(column.feature)) and phrases <= (1 - MIN_EQUAL) * len(items)
    named = names.has_word(column.name, TOKEN_WORDS)
    return named and column.cells[0].lstrip().startswith("[")


def _match(tokens: ColumnProfile, tags: ColumnProfile) -> bool:
    """Tell whether the lists of two columns are equally long, and the items of one come again as tags do."""
    if tokens.name in {"tokens", "words"} and tags.name in {"tags", "ner_tags", "pos_tags"}:
        return True  # what is wrong with a row is said then
    if len(tokens.cells) != len(tags.cells) or not tags.cells:
        return not tags.cells and not tokens.cells and tags.is_list
    if tags.is_string and not tokens.is_list and not tags.cells[0].lstrip().startswith("["):
        return False
    pairs = [
        (one, other)
        for left, right in zip(tokens.cells[:300], tags.cells[:300], strict=True)
        if (one := _items(tokens, left)) is not None and (other := _items(tags, right)) is not None
    ]
    equal = sum(len(one) == len(other) for one, other in pairs)
    if not pairs or equal < MIN_EQUAL * len(pairs):
        return names.has_word(tags.name, TAG_WORDS) and tags.is_list and names.has_word(tokens.name, TOKEN_WORDS)
    of_words = {item for one, _ in pairs for item in one}
    of_tags = {str(item) for _, other in pairs for item in other}
    return len(of_tags) <= max(2, len(of_words) * 0.7) or names.has_word(tags.name, TAG_WORDS)
