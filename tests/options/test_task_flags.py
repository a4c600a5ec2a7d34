from __future__ import annotations

import pytest

from llmkit.errors import OptionError
from llmkit.options import TaskFlags


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        ({"offsets": "utf-32"}, "--offsets is one of characters, utf-16, utf-8, not 'utf-32'"),
        ({"answers_from": "2"}, "--answers-from is one of 0, 1, letter, text, not '2'"),
        ({"label_separator": " "}, "--label-separator is what stands between the names of labels"),
    ],
)
def test_a_value_that_no_reading_has_is_refused(flags, problem):
    with pytest.raises(OptionError) as error:
        TaskFlags(**flags)
    assert str(error.value).startswith(problem)


@pytest.mark.parametrize("flags", [{"offsets": "utf-16"}, {"answers_from": "1"}, {"label_separator": "\t"}])
def test_readings_are_taken(flags):
    assert list(TaskFlags(**flags).problems()) == []
