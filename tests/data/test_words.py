from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.data.conversions.tagging.word_bounds import join_words, token_words, word_bounds


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Anna's friend O'Brien don't.", ["Anna", "'s", "friend", "O'Brien", "don't", "."]),
        ("  The U.S. paid $1,000,\tAT&T said", ["The", "U.S", ".", "paid", "$", "1,000", ",", "AT&T", "said"]),
        ("@anna likes #Köln-Süd", ["@anna", "likes", "#Köln-Süd"]),
        ("dell'Italia", ["dell'", "Italia"]),
        ("安娜在Google工作。", ["安", "娜", "在", "Google", "工", "作", "。"]),
        ("Ko\u0308ln-Su\u0308d!", ["Ko\u0308ln-Su\u0308d", "!"]),  # an umlaut as a mark of its own
        ("नमस्ते दिल्ली", ["नमस्ते", "दिल्ली"]),
        ("क्\u200dष", ["क्\u200dष"]),
        ("I ❤️ it", ["I", "❤️", "it"]),
        (" \n", []),
    ],
)
def test_words_of_many_languages_are_found(text, words):
    assert [text[start:end] for start, end in word_bounds(text)] == words


@given(st.text(max_size=60))
def test_words_hold_all_of_a_text_but_its_blanks(text):
    bounds = word_bounds(text)
    assert all(start < end for start, end in bounds)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(bounds))
    assert "".join(text[start:end] for start, end in bounds) == "".join(text.split())


def test_words_are_laid_out_with_blanks_between_them():
    text, bounds = join_words(["New York", "", "was"])
    assert text == "New York  was"
    assert [text[start:end] for start, end in bounds] == ["New York", "", "was"]


def test_the_first_token_of_a_word_is_found_by_its_offsets():
    _, bounds = join_words(["the", "", "Köln", "x"])  # 0-3, 4-4, 5-9, 10-11
    special = (0, 0)
    assert token_words(bounds, [special, (0, 2), (2, 3), (5, 7), (7, 9), (10, 11), special]) == [
        -1,
        0,
        -1,
        2,
        -1,
        3,
        -1,
    ]
    assert token_words(bounds, [(0, 3), (4, 5), (5, 9), (9, 11)]) == [0, 2, -1, 3]  # blanks in tokens
    assert token_words(bounds, [special, (7, 9), (10, 11)]) == [-1, -1, 3]  # a window that begins within a word
    assert token_words(bounds, [(1, 3), (6, 9)]) == [-1, 2]  # a mark that the tokenizer drops
