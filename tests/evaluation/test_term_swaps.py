from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmkit.errors import DataError
from llmkit.evaluation.term_swaps import SwappedTexts, read_terms, swap, swapped_rows

PAIRS = [("he", "she"), ("man", "woman"), ("the man", "the woman next door"), ("Will", "Aisha"), ("她", "他")]


@pytest.mark.parametrize(
    ("name", "text", "pairs"),
    [
        ("t.csv", "he,she\nBerlin, Kabul\n", [("he", "she"), ("Berlin", "Kabul")]),
        ("t.csv", "from,to\n\nhe,she\n", [("he", "she")]),
        ("t.csv", "A;B\nhe;she\n", [("he", "she")]),
        ("t.tsv", "term\tswap\nthe  man\t woman \n", [("the man", "woman")]),
        ("t.csv", '"Smith, J.","Khan, A."\n', [("Smith, J.", "Khan, A.")]),
        ("t.csv", "he|she\nhis, its|her, its\n", [("he", "she"), ("his, its", "her, its")]),
        ("t.csv", "\ufeffhe,she\r\n他,她\r\n", [("he", "she"), ("他", "她")]),
    ],
)
def test_terms_are_read(tmp_path, name, text, pairs):
    (tmp_path / name).write_bytes(text.encode())
    assert read_terms(tmp_path / name) == pairs


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("he,she\nhis\n", "line 2: 1 cell; two terms are wanted, such as he,she"),
        ("a,b\n\nhe,she,they\n", "line 3: 3 cells; two terms are wanted"),
        ('"he\nor",she\nhis,\n', "line 3: one of the two terms is empty"),
        ("he,He\n", "line 1: 'he' twice, which would change nothing"),
        ("from,to\n", "holds no pairs of terms; a line such as he,she is wanted"),
        ("", "holds no pairs of terms"),
    ],
)
def test_a_line_that_is_no_pair_is_named(tmp_path, text, sentence):
    (tmp_path / "terms.csv").write_text(text)
    with pytest.raises(DataError) as refusal:
        read_terms(tmp_path / "terms.csv")
    assert str(tmp_path / "terms.csv") in str(refusal.value)
    assert sentence in str(refusal.value)


def test_a_missing_file_and_another_encoding_are_refused(tmp_path):
    with pytest.raises(DataError, match="there is no file"):
        read_terms(tmp_path / "terms.csv")
    (tmp_path / "terms.csv").write_bytes("José,Zoë\n".encode("latin-1"))
    with pytest.raises(DataError, match="line 1: byte 0xe9 is not utf-8"):
        read_terms(tmp_path / "terms.csv")
    assert read_terms(tmp_path / "terms.csv", "latin-1") == [("José", "Zoë")]


@pytest.mark.parametrize(
    ("text", "swapped", "used"),
    [
        ("he saw her", "she saw her", [0]),
        ("He and SHE, she's he_ the then", "She and HE, he's he_ the then", [0]),
        ("the man", "the woman next door", [2]),
        ("a man", "a woman", [1]),
        ("The  man (he)", "The woman next door (she)", [0, 2]),
        ("The woman\nnext door", "The man", [2]),
        ("Will will, WILL won't", "Aisha will, AISHA won't", [3]),
        ("Aishas sister is not Aisha", "Aishas sister is not Will", [3]),
        ("他看见她了", "她看见他了", [4]),
        ("请问Will先生", "请问Aisha先生", [3]),
        ("hé he\u0301 ther", None, None),
        ("", None, None),
    ],
)
def test_whole_words_are_swapped_both_ways_in_their_case(text, swapped, used):
    assert swap(text, PAIRS) == (None if swapped is None else (swapped, used))


def test_a_term_of_two_pairs_belongs_to_the_first():
    pairs = [("her", "him"), ("her", "his")]
    assert swap("her, him, his", pairs) == ("him, her, her", [0, 1])


def test_accents_may_be_composed_or_not():
    pairs = [("José", "Ana"), ("नेता", "x")]
    assert swap("Jose\u0301!", pairs) == ("Ana!", [0])
    assert swap("Ana and José", pairs) == ("José and Ana", [0])
    assert swap("नेताओं", pairs) is None  # a longer word
    assert swap("नेता, अभिनेता", pairs) == ("x, अभिनेता", [1])


def test_signs_in_terms_stand_for_themselves():
    assert swap("C++ or C.", [("C++", "C.")]) == ("C. or C++", [0])


WORDS = ["he", "she", "He", "SHE", "his", "other", "man", "woman", "them", "theory", "a man", ",", "他", "她好"]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(WORDS)))
def test_swapping_twice_gives_the_text_again(words):
    pairs = [("he", "she"), ("man", "woman"), ("他", "她")]
    text = " ".join(words)
    once = swap(text, pairs)
    if once is None:
        assert not {"he", "she", "man", "woman"} & {word.lower() for word in text.split()}
        assert not {"他", "她"} & set(text)
    else:
        assert once[0] != text
        assert swap(once[0], pairs) == (text, once[1])


def test_rows_that_change_are_returned_with_all_their_texts():
    columns = {"text": ["he left", "nothing", None, "a woman"], "pair": ["it rains", "no", "she", "Will"]}
    assert swapped_rows(columns, PAIRS) == [
        SwappedTexts(0, {"text": "she left", "pair": "it rains"}, (0,)),
        SwappedTexts(2, {"text": "", "pair": "he"}, (0,)),
        SwappedTexts(3, {"text": "a man", "pair": "Aisha"}, (1, 3)),
    ]
