"""Cells as arrow holds them: what is blank, and what only looks so to Python."""

from __future__ import annotations

import pytest
from datasets import Dataset

from llmkit import tasks
from llmkit.data.columns import are_blank, text_of

CELLS = [0, 7, None]


@pytest.mark.parametrize(
    ("cell", "text"), [(None, ""), ("", ""), (0, "0"), (0.0, "0.0"), (False, "false"), ("0", "0"), ("a", "a")]
)
def test_only_nothing_has_no_text(cell, text):
    assert text_of(cell) == text


@pytest.mark.parametrize("cells", [CELLS, [0.0, 7.5, None], [False, True, None], ["0", "a", " \t"], [[0], ["a"], []]])
def test_zero_is_not_blank(cells):
    if isinstance(cells[0], list):
        cells = [[str(item) for item in cell] for cell in cells]
    assert are_blank(Dataset.from_dict({"text": cells}), "text").tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("task", "columns"),
    [
        ("text-classification", {"text": CELLS, "label": ["a", "b", "a"]}),
        ("multi-label-classification", {"text": CELLS, "labels": [["a"], ["b"], ["a"]]}),
        ("masked-lm", {"text": CELLS}),
        ("causal-lm", {"text": CELLS}),
    ],
)
def test_a_row_whose_text_is_the_number_zero_is_used(task, columns):
    columns_of = tasks.get_task(task).columns
    roles = {name: name for name in columns}
    assert columns_of.usable_rows(Dataset.from_dict(columns), roles) == [0, 1]
