"""Predictions for rows that cannot be measured: those of all rows fit the dataset as those of the measured ones do."""

from __future__ import annotations

import pytest
from conftest import write_jsonl
from evaluating import valid, values
from sklearn.metrics import accuracy_score

TEXT_FLAGS = ("--column", "text=source", "--column", "reference=target", "--metric", "exact_match", "--json")


@pytest.fixture
def score(llmkit, tmp_path):
    """Score predictions of rows: `score(rows, predictions, *flags)`."""

    def run(rows, predictions, *flags):
        data = write_jsonl(tmp_path / "rows.jsonl", rows)
        guesses = write_jsonl(tmp_path / "guesses.jsonl", predictions)
        return llmkit("eval", data, "--predictions", guesses, *flags)

    return run


TEXTS = ("a b", "c d", "e f", "c d", "g h")
LABELS = ("good", None, "bad", "bad", "good")
GUESSES = ("good", "good", "good", "bad", "bad")


@pytest.mark.parametrize("every", [True, False], ids=["of all rows", "of the measured rows"])
@pytest.mark.parametrize("by", ["id", "text"])
def test_rows_without_a_label_may_have_a_prediction(score, every, by):
    given = [("id", range(5)), ("text", TEXTS), ("label", LABELS)]
    rows = [dict(zip(("id", "text", "label"), row)) for row in zip(*(values for _, values in given))]
    measured = [number for number in range(5) if LABELS[number]]
    numbers = range(5) if every else measured
    predictions = [{by: rows[number][by], "row": number + 1, "prediction": GUESSES[number]} for number in numbers]
    ran = score(rows, predictions, "--json")
    assert ran.code == 0, ran.err
    truth, guessed = ([column[number] for number in measured] for column in (LABELS, GUESSES))
    assert values(valid(ran.json))["accuracy"] == accuracy_score(truth, guessed)
    assert ran.json["n"] == len(measured)
    assert "1 of 5 rows have no text or no label and are left out" in ran.err


def test_other_rows_of_the_file_are_still_refused(score):
    rows = [{"id": number, "text": text, "label": label} for number, (text, label) in enumerate(zip(TEXTS, LABELS))]
    predictions = [{"id": number, "prediction": "good"} for number in range(6)]
    assert "1 of its rows is not in the dataset, or too often (row 6: '5')" in score(rows, predictions).error
    assert "1 of the dataset's rows is missing from it ('4')" in score(rows, predictions[:4]).error


@pytest.mark.parametrize("blank", [None, "", "  ", [], [""], [None, " "]])
def test_rows_without_a_reference_are_left_out_and_said(score, blank):
    wrapped = isinstance(blank, list)
    targets = ["да", "нет", blank]
    rows = [{"source": str(n), "target": [t] if wrapped and isinstance(t, str) else t} for n, t in enumerate(targets)]
    predictions = [{"source": str(number), "prediction": text} for number, text in enumerate(("да", "", "x"))]
    for given in (predictions, predictions[:2]):
        ran = score(rows, given, *TEXT_FLAGS)
        assert ran.code == 0, ran.err
        assert (values(valid(ran.json)), ran.json["n"]) == ({"exact_match": 0.5}, 2)
        assert "1 of 3 rows have no reference and are left out" in ran.err


def test_a_null_among_references_is_none_of_them(score):
    rows = [{"source": "a", "target": [None, "да"]}, {"source": "b", "target": ["нет", None]}]
    ran = score(rows, [{"source": "a", "prediction": "None"}, {"source": "b", "prediction": "нет"}], *TEXT_FLAGS)
    assert values(ran.json) == {"exact_match": 0.5}


def test_numbers_are_texts_as_they_are_written(score):
    rows = [{"source": "a", "target": 3}, {"source": "b", "target": 4.5}]  # a column of floats
    ran = score(rows, [{"source": "a", "prediction": 3}, {"source": "b", "prediction": "4.5"}], *TEXT_FLAGS)
    assert values(ran.json) == {"exact_match": 1.0}


@pytest.mark.parametrize(
    ("target", "prediction", "sentence"),
    [
        ({"x": "да"}, "да", "row 1: a text or texts are wanted in column 'target', not"),
        ([["да"]], "да", "row 1: a text or texts are wanted in column 'target', not"),
        ("да", ["да"], "predictions, row 1: a text is wanted, not"),
        ("да", {"text": "да"}, "predictions, row 1: a text is wanted, not"),
    ],
)
def test_lists_and_objects_are_no_texts(score, target, prediction, sentence):
    ran = score([{"source": "a", "target": target}], [{"source": "a", "prediction": prediction}], *TEXT_FLAGS)
    assert ran.code == 2
    assert sentence in ran.error


@pytest.mark.parametrize(("prediction", "score_of_it"), [(["Rome"], None), ({"text": "Rome"}, None), (1990, 1.0)])
def test_answers_to_questions_are_texts(score, prediction, score_of_it):
    answer = "1990" if prediction == 1990 else "Rome"
    context = f"Anna came to {answer}."
    answers = {"text": [answer], "answer_start": [context.index(answer)]}
    rows = [{"id": "a", "question": "Where did Anna come?", "context": context, "answers": answers}]
    ran = score(rows, [{"id": "a", "prediction": prediction}], "--json")
    if score_of_it is None:
        assert ran.code == 2
        assert "predictions, row 1: a text is wanted, not" in ran.error
    else:
        assert values(ran.json)["exact_match"] == score_of_it
