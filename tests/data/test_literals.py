from __future__ import annotations

import math

import pytest

from llmkit.data.conversions.literals import value_of


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ('["a", null, 1.5]', ["a", None, 1.5]),
        ("['a', 'b']", ["a", "b"]),
        ("('a', 'b')", ["a", "b"]),
        ("{'a', 'b'}", ["a", "b"]),
        ("['a' 'b']", ["a", "b"]),  # numpy's, which Python would join to "ab"
        ("['a'\n 'b']", ["a", "b"]),
        ("[1 0 1]", [1, 0, 1]),
        ("[1. 0.]", [1.0, 0.0]),
        ("[0.5 -3.]", [0.5, -3.0]),
        ("[[1 0]\n [0 1]]", [[1, 0], [0, 1]]),
        ("array(['Rome'], dtype=object)", ["Rome"]),
        ("{'text': array(['Rome'], dtype=object), 'at': array([39], dtype=int32)}", {"text": ["Rome"], "at": [39]}),
        ("{'text': np.array([]), 'at': None, 'ok': True}", {"text": [], "at": None, "ok": True}),
        ("['caf\\u00e9', '罗马']", ["café", "罗马"]),
        (' {"a": 1} ', {"a": 1}),
        ("[]", []),
    ],
)
def test_a_text_that_spells_a_list_or_a_dictionary_is_one(cell, value):
    assert value_of(cell) == value


def test_a_number_that_is_none_is_read_in_a_list():
    assert math.isnan(value_of("{'a': nan}")["a"])


@pytest.mark.parametrize(
    "cell",
    [
        "[1] a footnote",
        "[laughs] well",
        "{name} was here",
        "[__import__('os')]",
        "[open('x')]",
        "[1, 2",
        "(A)",
        "array of things",
        "plain",
        "",
        "[" * 5000,
        7,
        None,
        ["a"],
    ],
)
def test_anything_else_stays_as_it_is(cell):
    assert value_of(cell) == cell
