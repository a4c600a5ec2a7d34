from __future__ import annotations

from itertools import chain

import pytest
from datasets import Dataset

from llmkit.data.conversions.tagging import words
from llmkit.data.files import read_file
from llmkit.errors import DataError

WORDS = [["Anna", "met", "Bob", "Ray", "."], ["New", "Delhi", "."], ["Rain"]]
TAGS = [["B-PER", "O", "B-PER", "I-PER", "O"], ["B-LOC", "I-LOC", "O"], ["O"]]
POS = [["NNP", "VBD", "NNP", "NNP", "."], ["NNP", "NNP", "."], ["NN"]]
FLAT = {name: [*chain(*rows)] for name, rows in (("word", WORDS), ("tag", TAGS), ("pos", POS))}
FIRST = ["Sentence: 1", "", "", "", "", "Sentence: 2", "", "", "Sentence: 3"]
EACH = [1, 1, 1, 1, 1, 2, 2, 2, 3]


def rows_of(**columns: object) -> Dataset:
    return Dataset.from_dict(columns)


@pytest.mark.parametrize(
    "numbers",
    [
        {"Sentence #": FIRST},
        {"Sentence #": [number or None for number in FIRST]},
        {"Sentence #": [float(number.split()[-1]) if number else None for number in FIRST]},
        {"sentence_id": EACH},
        {"sent_id": [str(number) for number in EACH]},
        {"sentenceId": [7, 7, 7, 7, 7, 3, 3, 3, 9]},
        {"SentenceIdx": [float(number) for number in EACH]},
        {"doc_id": ["a"] * 5 + ["b"] * 4, "sent_id": [1, 1, 1, 1, 1, 1, 1, 1, 2]},
        {"doc_id": EACH},
        {"group": EACH},
        {"Sentence #": ["1", "", "", "", "", "1", "", "", "1"]},
        {"句子编号": EACH},
    ],
)
@pytest.mark.parametrize("order", [1, -1])
def test_rows_of_one_word_are_sentences(numbers, order):
    columns = {**numbers, "Word": FLAT["word"], "POS": FLAT["pos"], "Tag": FLAT["tag"]}
    rows = rows_of(**dict([*columns.items()][::order]))
    conversion = words.find(rows)
    assert conversion.sentence.endswith("POS holds tags too (--column tags=POS)")
    assert "one word a row" in conversion.sentence
    converted = conversion.apply(rows)
    assert converted.column_names == ["tokens", "tags", "POS"]
    assert (converted["tokens"][:], converted["tags"][:], converted["POS"][:]) == (WORDS, TAGS, POS)


@pytest.mark.parametrize(
    ("word", "tag"), [("token", "label"), ("Token", "NER"), ("words", "labels_"), ("form", "bio_tag"), ("字", "tag")]
)
def test_columns_by_other_names(word, tag):
    rows = rows_of(**{"sent": EACH, word: FLAT["word"], tag: FLAT["tag"]})
    conversion = words.find(rows)
    assert "holds tags too" not in conversion.sentence
    assert conversion.apply(rows)["tags"][:] == TAGS


def test_blank_rows_stand_between_sentences(tmp_path):
    lines = [f"{word},{tag}" for word, tag in zip(FLAT["word"], FLAT["tag"], strict=True)]
    path = tmp_path / "train.csv"
    path.write_text("\n".join(["word,tag", *lines[:5], ",", *lines[5:8], ",", ",", lines[8], ","]) + "\n")
    rows = read_file(path)
    conversion = words.find(rows)
    assert "rows up to a blank one are a sentence" in conversion.sentence
    converted = conversion.apply(rows)
    assert (converted["tokens"][:], converted["tags"][:]) == (WORDS, TAGS)


def test_other_columns_are_kept_as_lists_and_numbers_left_out():
    lemmas = [word.lower() for word in FLAT["word"]]
    rows = rows_of(index=range(9), sentence_id=EACH, word=FLAT["word"], lemma=lemmas, tag=FLAT["tag"])
    conversion = words.find(rows)
    assert conversion.other_tags == ()
    assert conversion.apply(rows).column_names == ["tokens", "tags", "lemma"]


@pytest.mark.parametrize(
    "tags",
    [
        ["PER", "O", "PER", "PER", "O", "LOC", "LOC", "O", "O"],
        ["S-PER", "O", "B-PER", "E-PER", "O", "B-LOC", "E-LOC", "O", "O"],
        ["PER-B", "O", "PER-B", "PER-I", "O", "LOC-B", "LOC-I", "O", "O"],
        ["B-PER", "", "B-PER", "I-PER", "", "B-LOC", "I-LOC", "", ""],
        FLAT["pos"],
    ],
)
def test_tags_of_other_schemes_stay_as_they_are(tags):
    rows = rows_of(sentence_id=EACH, word=FLAT["word"], tag=tags)
    assert [*chain(*words.find(rows).apply(rows)["tags"][:])] == tags


def test_parts_of_speech_that_are_all_the_same_are_said_too():
    rows = rows_of(sentence_id=EACH, word=FLAT["word"], POS=["NN"] * 9, tag=FLAT["tag"])
    assert words.find(rows).other_tags == ("POS",)


def test_words_and_tags_without_sentences_are_refused():
    with pytest.raises(DataError, match=r"words \(word\) and their tags \(tag\), one a row, and nothing says which"):
        words.find(rows_of(word=FLAT["word"], tag=FLAT["tag"]))


def test_one_sentence_and_rows_that_come_later():
    rows = rows_of(sentence_id=[1, 1], word=["Anna", "left"], tag=["B-PER", "O"])
    conversion = words.find(rows)
    assert conversion.apply(rows)["tokens"][:] == [["Anna", "left"]]
    later = rows_of(sentence_id=[5, 6, 6], word=["a", "b", "c"], tag=["O", "O", "O"])
    assert conversion.apply(later)["tokens"][:] == [["a"], ["b", "c"]]


@pytest.mark.parametrize(
    "columns",
    [
        {"word": ["cat", "dog", "rose"], "label": ["animal", "animal", "plant"]},
        {"sentence": ["a b c d e", "a b c d e", "f g h i j"], "word": ["a", "b", "f"], "label": ["T", "F", "T"]},
        {"sentence": ["a b c d e"] * 8, "word": list("abcdefgh"), "label": ["T", "F"] * 4},
        {"text": ["It was late.", "Nobody came."], "label": ["x", "y"]},
        {"word": ["a b c", "d e f"], "tag": ["B-X", "O"], "sentence_id": [1, 1]},
        {"tokens": [["a"], ["b"]], "tags": [["O"], ["B-X"]]},
        {"id": [1, 2, 3], "word": ["un", "deux", "trois"], "translation": ["one", "two", "three"]},
        {"word": [], "tag": [], "sentence_id": []},
        {"word": ["a", "b"], "tag": [1, 0], "sentence_id": [1, 1]},
    ],
)
def test_other_rows_are_no_words_of_sentences(columns):
    assert words.find(rows_of(**columns)) is None
