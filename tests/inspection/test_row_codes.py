from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from llmkit.data.columns import are_blank
from llmkit.inspection.near_duplicates import _jaccard, near_groups, rows_per_band
from llmkit.inspection.row_codes import content_codes

TEXT = st.none() | st.text(alphabet="ab \u3000é中\0", max_size=3)
KINDS: dict[str, st.SearchStrategy[Any]] = {
    "texts": TEXT,
    "integers": st.none() | st.integers(-2, 2),
    "lists": st.none() | st.lists(TEXT, max_size=3),
    "lists of lists": st.lists(st.lists(st.integers(0, 1), max_size=2), max_size=2),
    "structs": st.fixed_dictionaries({"text": st.lists(st.sampled_from("ab"), max_size=2), "start": st.integers(0, 1)}),
}


def silent(steps: int = 1) -> None:
    """Be told of the progress."""


@pytest.mark.parametrize("kind", KINDS)
def test_rows_have_one_number_where_they_hold_the_same_and_only_there(kind):
    @given(st.lists(KINDS[kind], min_size=1, max_size=12), st.lists(KINDS[kind], min_size=1, max_size=4))
    @settings(max_examples=60, deadline=None)
    def hold(first: list[Any], second: list[Any]) -> None:
        parts = [Dataset.from_dict({"x": cells}) for cells in (first, second)]
        codes = np.concatenate(content_codes(parts, ["x"])).tolist()
        spelled = [json.dumps(cell, sort_keys=True) for cell in [*first, *second]]
        assert len(set(codes)) == len(set(spelled)) == len(set(zip(codes, spelled, strict=True)))
        assert sorted(set(codes)) == list(range(len(set(codes))))

    hold()


def test_several_columns_are_taken_together_and_selected_rows_in_their_order():
    rows = Dataset.from_dict({"a": ["x", "x", "y", "x"], "b": [1, 2, 1, 1]})
    (codes,) = content_codes([rows], ["a", "b"])
    assert codes[0] == codes[3]
    assert len(set(codes.tolist())) == 3
    first, second = content_codes([rows, rows.select([3, 2])], ["a", "b"])
    assert (first[3], first[2]) == tuple(second)


def test_blank_is_null_white_space_or_an_empty_list():
    rows = Dataset.from_dict({"text": [None, "", " \t\u3000\n", "a"], "list": [None, [], ["a"], [""]]})
    assert are_blank(rows, "text").tolist() == [True, True, True, False]
    assert are_blank(rows, "list").tolist() == [True, True, False, False]


def sentences(rows: int, seed: int, letters: str = "abcdefghijklmnopqrstuvwxyz") -> list[str]:
    dice = random.Random(seed)
    return [" ".join("".join(dice.choices(letters, k=5)) for _ in range(12)) for _ in range(rows)]


@pytest.mark.parametrize("letters", ["abcdefghijklmnopqrstuvwxyz", "".join(map(chr, range(0x4E00, 0x4F00)))])
@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 0.9])
def test_the_pairs_from_the_threshold_on_are_found_and_no_others(threshold, letters):
    texts, dice = sentences(120, 1, letters), random.Random(2)
    changed = [text[: len(text) - dice.randrange(30)] + dice.choice(("", "x", " yz")) for text in texts]
    both = list(dict.fromkeys([*texts, *changed]))
    groups = near_groups(both, threshold, silent)
    for place, text in enumerate(changed):
        near = _jaccard(texts[place], " ".join(text.split())) >= threshold
        assert (groups[both.index(texts[place])] == groups[both.index(text)]) == near, (texts[place], text)
    assert len(set(groups[:120].tolist())) == 120


def test_thousands_of_texts_of_one_template_are_one_group_and_few_of_them_are_compared(monkeypatch):
    compared = []
    count = _jaccard
    monkeypatch.setattr(
        "llmkit.inspection.near_duplicates._jaccard", lambda *pair: compared.append(pair) or count(*pair)
    )
    words = "thank you for the order that you placed with us, it will be sent within three days, and you will hear more"
    texts = [f"Dear customer {number}: {words}" for number in range(3000)]
    assert len(set(near_groups(texts, 0.8, silent).tolist())) == 1
    assert len(compared) < 3 * len(texts)  # of 4.5 million pairs


def test_empty_and_short_texts_are_near_nothing_but_their_like():
    groups = near_groups(["", "a", "A ", "b", " ", "\ud800"], 0.8, silent).tolist()
    assert groups[1] == groups[2]
    assert len(set(groups)) == 5


@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0])
def test_the_bands_find_99_of_100_pairs_at_the_threshold(threshold):
    size = rows_per_band(threshold)
    assert 1 - (1 - threshold**size) ** (100 // size) >= 0.99
