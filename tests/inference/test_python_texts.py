"""What classify and embed are given from Python: texts of any sequence, nulls of pandas, and what are no texts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import llmkit as package
from llmkit.data.columns import text_of
from llmkit.errors import DataError, OptionError
from llmkit.options import AskOptions

NULLS = [None, pd.NA, pd.NaT, float("nan"), np.float32("nan"), np.float64("nan"), " "]


@pytest.mark.parametrize("null", NULLS, ids=repr)
def test_what_pandas_writes_for_nothing_is_no_text(classifier, encoder, null):
    rows = package.classify(["the fox", null], str(classifier))
    assert [row["label"] is None for row in rows] == [False, True]
    assert np.isnan(package.embed(["the fox", null], str(encoder))).all(1).tolist() == [False, True]


@pytest.mark.parametrize("value", [True, np.True_])
def test_truth_is_written_as_in_json(value):
    assert text_of(value) == "true"


@pytest.mark.parametrize(
    "texts", [("the fox", "a king"), pd.Series(["the fox", "a king"], dtype="string"), np.array(["the fox", "a king"])]
)
def test_any_sequence_of_texts_is_taken(classifier, encoder, texts):
    expected = package.classify(["the fox", "a king"], classifier)
    assert [row["scores"] for row in package.classify(texts, classifier)] == [row["scores"] for row in expected]
    assert package.embed(texts, encoder).shape[0] == 2
    assert package.embed((text for text in texts), encoder).shape[0] == 2


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (b"abc", "row 1: its text is binary data"),
        ({"text": "a"}, "the texts are of the type dict; a text, or a list of texts, is wanted"),
        (None, "the texts are of the type NoneType"),
        (5, "the texts are of the type int"),
        (["a", "\ud800"], r"text 2 of the texts holds \\ud800, which is half of a character"),
    ],
)
def test_what_are_no_texts_is_refused(classifier, encoder, texts, words):
    with pytest.raises(DataError, match=words):
        package.classify(texts, str(classifier))
    with pytest.raises(DataError, match=words):
        package.embed(texts, str(encoder))


def test_one_pair_can_be_a_text_and_a_missing_one_is_read_alone(classifier):
    of_lists = package.classify(["the fox"], str(classifier), pairs=["a king"])
    assert package.classify("the fox", str(classifier), pairs="a king") == of_lists
    _, second = package.classify(["the fox", "a song"], str(classifier), pairs=["a king", None])
    alone = package.classify(["a song"], str(classifier))[0]
    assert second["scores"] == pytest.approx(alone["scores"], abs=1e-6)
    with pytest.raises(OptionError, match="1 texts and 2 pairs: one for each text is wanted"):
        package.classify("the fox", str(classifier), pairs=["a", "b"])


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"batch_size": 0}, "--batch-size must be at least 1, not 0"),
        ({"batch_size": -1}, "--batch-size must be at least 1, not -1"),
        ({"top": 0}, "--top must be at least 1, not 0"),
    ],
)
def test_numbers_have_the_limits_of_their_flags(classifier, flags, words):
    with pytest.raises(OptionError, match=words):
        package.classify(["a"], str(classifier), **flags)


def test_words_that_no_option_takes_are_refused(encoder):
    with pytest.raises(OptionError, match="--pooling is one of own, mean, cls, not 'max'"):
        package.embed(["a"], str(encoder), pooling="max")
    with pytest.raises(OptionError, match="--windows is one of mean, max, not 'median'"):
        AskOptions(windows="median")
