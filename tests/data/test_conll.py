from __future__ import annotations

import pytest

from llmkit.data.formats.conll import read_conll
from llmkit.errors import DataError

WORDS = [["Anna", "met", "Bob", "Ray", "."], ["New", "Delhi", "is", "big", "."]]
TAGS = [["B-PER", "O", "B-PER", "I-PER", "O"], ["B-LOC", "I-LOC", "O", "O", "O"]]
POS = [["NNP", "VBD", "NNP", "NNP", "."], ["NNP", "NNP", "VBZ", "JJ", "."]]
CHUNKS = [["B-NP", "B-VP", "B-NP", "I-NP", "O"], ["B-NP", "I-NP", "B-VP", "B-ADJP", "O"]]


def lines(*columns: list[list[str]], mark: str = " ", end: str = "\n", before: str = "") -> str:
    """Lines of words in sentences, with blank lines between."""
    sentences = zip(*columns, strict=True)
    return end.join(
        before + "".join(mark.join(line) + end for line in zip(*sentence, strict=True)) for sentence in sentences
    )


@pytest.mark.parametrize("mark", [" ", "\t", "  ", " \t "])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_two_columns(mark, end):
    for text in (lines(WORDS, TAGS, mark=mark, end=end), end * 2 + lines(WORDS, TAGS, mark=mark, end=end) + end * 3):
        rows = read_conll(text, "a.txt")
        assert rows.column_names == ["tokens", "tags"]
        assert rows["tokens"][:] == WORDS
        assert rows["tags"][:] == TAGS


def test_columns_of_2003_with_marks_of_documents():
    text = "-DOCSTART- -X- -X- O\n\n" + lines(WORDS, POS, CHUNKS, TAGS)
    rows = read_conll(text, "eng.train.txt")
    assert rows.column_names == ["tokens", "pos", "chunk", "tags"]
    assert (rows["pos"][:], rows["chunk"][:], rows["tags"][:]) == (POS, CHUNKS, TAGS)


def test_other_columns_have_numbers_and_those_that_say_nothing_are_left_out():
    blanks, lemmas = [["_"] * 5] * 2, [["anna", "meet", "bob", "ray", "."], ["new", "delhi", "be", "big", "."]]
    numbers = [["1", "2", "3", "4", "5"]] * 2
    rows = read_conll(lines(WORDS, lemmas, POS, blanks, TAGS), "a.txt")
    assert rows.column_names == ["tokens", "column_2", "column_3", "tags"]
    rows = read_conll(
        lines(numbers, WORDS, TAGS, blanks, blanks, mark="\t", before="# sent_id = 7\n# text = It\n"), "a.iob2"
    )
    assert rows.column_names == ["tokens", "tags"]
    assert (rows["tokens"][:], rows["tags"][:]) == (WORDS, TAGS)


def test_conllu_has_forms_and_parts_of_speech():
    text = (
        "# sent_id = 1\n# text = Vámonos al mar\n"
        "1-2\tVámonos\t_\t_\t_\t_\t_\t_\t_\t_\n"
        "1\tVamos\tir\tVERB\t_\t_\t0\troot\t_\t_\n2\tnos\tnosotros\tPRON\t_\t_\t1\tobj\t_\t_\n"
        "2.1\tx\tx\tX\t_\t_\t_\t_\t_\t_\n\n"
        "# sent_id = 2\n1\tNew York\tNew York\tPROPN\t_\t_\t0\troot\t_\tSpaceAfter=No\n"
    )
    for certain in (False, True):
        rows = read_conll(text, "es.conllu", certain)
        assert rows["tokens"][:] == [["Vamos", "nos"], ["New York"]]
        assert rows["tags"][:] == [["VERB", "PRON"], ["PROPN"]]
        assert rows.column_names == ["tokens", "lemma", "tags"]


@pytest.mark.parametrize(
    "tags",
    [
        [["S-PER", "O", "B-PER", "E-PER", "O"], ["B-LOC", "E-LOC", "O", "O", "O"]],
        [["PER-B", "O", "PER-B", "PER-I", "O"], ["LOC-B", "LOC-I", "O", "O", "O"]],
        [["I-PER", "O", "I-PER", "I-PER", "O"], ["I-LOC", "I-LOC", "O", "O", "O"]],
        [["PER", "O", "PER", "PER", "O"], ["LOC", "LOC", "O", "O", "O"]],
        [["b-per", "o", "b-per", "i-per", "o"], ["b-loc", "i-loc", "o", "o", "o"]],
        [["B-人名", "O", "B-人名", "I-人名", "O"], ["B-地名", "I-地名", "O", "O", "O"]],
        [["B-PER", "0", "B-PER", "I-PER", "0"], ["B-LOC", "I-LOC", "0", "0", "0"]],
        POS,
    ],
)
def test_other_schemes_stay_as_they_are(tags):
    rows = read_conll(lines(WORDS * 3, tags * 3), "a.txt")
    assert rows["tags"][:] == tags * 3


def test_a_hash_can_be_a_word():
    rows = read_conll("# O\n#nlp B-X\n1 O\n\nx O\n# O\n", "a.txt")
    assert rows["tokens"][:] == [["#", "#nlp", "1"], ["x", "#"]]


def test_one_sentence_without_a_line_end():
    assert read_conll("Anna B-PER\nleft O", "a.txt")["tags"][:] == [["B-PER", "O"]]


def test_a_line_without_its_tag_is_named():
    with pytest.raises(DataError, match=r"a\.txt, line 13: 1 columns where other lines have 2: 'lost'"):
        read_conll(lines(WORDS, TAGS) + "\nlost\n\n" + lines(WORDS * 4, TAGS * 4), "a.txt")


@pytest.mark.parametrize(
    "text",
    [
        "It was late. The rain fell.\n\nNobody came, and the lights went out.\n",
        "one line",
        "two words\n",
        "Anna left\nBob came\n\nRain fell\nEve slept\n",
        "roses are red\nviolets are blue\n\nsugar is sweet\nand so are you\n",
        "__label__a good film\n__label__b a bad one\n",
        "run this on b.txt\n",
        "__label__a good\n__label__b bad\n\n__label__a fine\n",
        "I loved it\tpos\nI hated it\tneg\n\nso so\tpos\n",
        "loved\tpos\nhated\tneg\n\nfine\tpos\nbad\tneg\n",
        "2021-01-01\tslept\n2021-01-02\tran\n",
        "AAPL BUY\nMSFT SELL\nIBM BUY\n\nAAPL SELL\nIBM BUY\nX SELL\n",
        "# Title\n\nSome text\n",
        "- one\n- two\n\n- three\n- four\n",
        "a: 1\nb: 2\n\na: 3\n",
        "ROMEO\n\nJULIET\n",
        "我 爱 北京\n他 去 上海\n",
        "",
        "\n\n",
    ],
)
def test_other_texts_are_no_conll(text):
    assert read_conll(text, "a.txt") is None


def test_a_file_that_is_called_conll_must_be_some():
    rows = read_conll("cat n\nruns v\n\ndog n\n", "a.conll", certain=True)
    assert rows["tags"][:] == [["n", "v"], ["n"]]
    with pytest.raises(DataError, match=r"a\.conll: lines of a word, a blank or a tab, and its tag are wanted"):
        read_conll("It was late.\n\nNobody came.\n", "a.conll", certain=True)
