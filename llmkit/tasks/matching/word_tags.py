"""Which columns are words and their tags: lists of one length, words in rows, spans in a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llmkit.data.columns import is_string, item_of
from llmkit.data.evidence import ColumnProfile, Evidence
from llmkit.data.label_sets import as_list
from llmkit.tasks.base import names
from llmkit.tasks.base.candidates import Candidate, Confidence

TOKEN_WORDS = ("tokens", "words", "token", "word", "sentence", "text", "词", "字")
TAG_WORDS = (
    *("ner", "ner_tags", "entities", "tags", "labels", "label", "bio", "iob", "slots", "slot", "pos", "pos_tags"),
    *("upos", "xpos", "chunk", "chunk_tags", "tag", "target", "标签"),
)
MIN_EQUAL = 0.95  # of the rows have a tag for each word: the rest is named when rows are checked


def tag_candidates(evidence: Evidence, given: Mapping[str, str]) -> list[Candidate]:
    """Return the ways to read columns of lists as words and their tags."""
    lists = {column.name: column for column in evidence.columns.values() if _sequence(column)}
    words = [column for column in lists.values() if _holds_words(column) and column.name not in given.values()]
    words = [lists[given["tokens"]]] if given.get("tokens") in lists else words
    found = []
    for tokens in sorted(words, key=lambda column: _place(column.name, TOKEN_WORDS)):
        tags = [column for column in lists.values() if column.name != tokens.name and _match(tokens, column)]
        if "tags" in given:
            tags = [column for column in evidence.columns.values() if column.name == given["tags"]]
        for column in sorted(tags, key=lambda column: _place(column.name, TAG_WORDS)):
            named = names.has_word(column.name, TAG_WORDS) and names.has_word(tokens.name, TOKEN_WORDS)
            certain = "tags" in given or (named and not (tokens.is_string and column.is_string and column.words < 1))
            confidence = Confidence.CERTAIN if certain else Confidence.LIKELY
            columns = {"tokens": tokens.name, "tags": column.name}
            found.append(Candidate(columns, confidence, f"{column.name} has a tag for each word of {tokens.name}"))
    return found[:1]


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
    return column.is_string and bool(column.cells) and (column.cells[0].lstrip().startswith("[") or column.words >= 1)


def _items(column: ColumnProfile, cell: object) -> Sequence[object] | None:
    if isinstance(cell, str):
        listed = as_list(cell.replace("'", '"')) if cell.lstrip().startswith("[") else cell.split()
        return listed if isinstance(listed, list) else None
    return list(cell) if isinstance(cell, Sequence) else None


def _holds_words(column: ColumnProfile) -> bool:
    if column.is_list:
        return is_string(item_of(column.feature))
    named = names.has_word(column.name, TOKEN_WORDS)
    return named and column.cells[0].lstrip().startswith("[")


def _match(tokens: ColumnProfile, tags: ColumnProfile) -> bool:
    """Tell whether the lists of two columns are equally long, and the items of one come again as tags do."""
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
