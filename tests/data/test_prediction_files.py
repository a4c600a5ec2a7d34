from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import pytest
from conftest import write_jsonl
from hypothesis import given, settings
from hypothesis import strategies as st

from llmkit.data.predictions import (
    Predictions,
    as_classes,
    as_numbers,
    as_probabilities,
    content_id,
    read_predictions,
    row_ids,
    write_predictions,
)
from llmkit.errors import DataError, EmptyError, OptionError
from llmkit.evaluation.joining import join

ROWS = [
    {"id": "a1", "row": 0, "label": "no", "prediction": "yes", "scores": {"no": 0.25, "yes": 0.75}},
    {"id": "b2", "row": 1, "label": None, "prediction": 'it said "no",\r then\nleft', "scores": None},
]


def test_a_content_id_is_the_digest_of_the_inputs_as_json():
    assert content_id(["a text", None]) == hashlib.sha256(b'["a text", null]').hexdigest()[:16]
    assert row_ids([["a", "b", "a"], ["x", "y", "x"]]) == [content_id([a, b]) for a, b in ("ax", "by", "ax")]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.text(), st.text()), min_size=2, max_size=2, unique=True))
def test_different_inputs_have_different_ids_wherever_one_text_ends(pairs):
    first, second = row_ids(list(zip(*pairs)))
    assert first != second


@pytest.mark.parametrize("name", ["deep/er/preds.jsonl", "preds.csv"])
def test_what_is_written_is_read_again(tmp_path, name):
    path = tmp_path / name
    write_predictions(path, iter(ROWS))
    read = read_predictions(path)
    assert [row["id"] for row in read.rows] == ["a1", "b2"]
    assert [row["prediction"] for row in read.rows] == [row["prediction"] for row in ROWS]
    assert [row["scores"] for row in read.rows] == [{"no": 0.25, "yes": 0.75}, None]
    assert (read.column, read.note) == ("prediction", None)
    assert [file.name for file in path.parent.iterdir() if file.is_file()] == [path.name]


def test_a_csv_of_predictions_is_one_that_csv_readers_read(tmp_path):
    write_predictions(tmp_path / "p.csv", ROWS)
    with (tmp_path / "p.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert json.loads(first["scores"]) == ROWS[0]["scores"]
    assert (second["prediction"], second["label"], second["row"]) == (ROWS[1]["prediction"], "", "1")


def test_no_half_of_a_file_is_left_and_an_old_one_stays(tmp_path):
    path = tmp_path / "preds.jsonl"
    path.write_text("old")

    def breaking():
        yield ROWS[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_predictions(path, breaking())
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("preds.jsonl", "old")]
    with pytest.raises(OptionError, match=r"must end in .jsonl or .csv, not 'preds.txt'"):
        write_predictions(tmp_path / "preds.txt", ROWS)


@pytest.mark.parametrize(
    ("row", "column"),
    [
        ({"label": "yes"}, "label"),
        ({"text": "x", "answer": "yes"}, "answer"),
        ({"output": "yes"}, "output"),
        ({"completion": "yes"}, "completion"),
        ({"label": "yes", "score": 0.9}, "label"),
        ({"text": "x", "score": "yes"}, "score"),
    ],
)
def test_a_stand_in_for_the_prediction_is_taken_and_said(tmp_path, row, column):
    read = read_predictions(write_jsonl(tmp_path / "p.jsonl", [row]))
    assert (read.column, read.rows[0]["prediction"]) == (column, "yes")
    assert read.note == f"predictions: column {column!r} of {tmp_path / 'p.jsonl'}, which has no 'prediction'"


def test_a_prediction_wins_over_the_truth_beside_it(tmp_path):
    read = read_predictions(write_jsonl(tmp_path / "p.jsonl", [{"label": "no", "answer": "no", "prediction": "yes"}]))
    assert read.rows[0]["prediction"] == "yes"


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([{"label": "no", "completion": "yes"}], "which is the prediction, label or completion? Name that column"),
        ([{"text": "x", "predicted": 1}], "has no column 'prediction'; it has text, predicted"),
        ([{"prediction": "a"}, {"prediction": None}], "row 2 has no 'prediction'"),
        ([{"prediction": "a"}, {"text": "x"}], "row 2 has no 'prediction'"),
        ([{"prediction": "a", "scores": [0.5]}], 'row 1: its scores must be an object such as {"positive": 0.9'),
        ([{"prediction": "a", "scores": "{a: 1}"}], "row 1: its scores are not JSON"),
        ([{"prediction": "a", "scores": "0.5"}], "row 1: its scores must be an object"),
    ],
)
def test_a_file_that_is_no_predictions_is_refused(tmp_path, rows, sentence):
    with pytest.raises(DataError) as refusal:
        read_predictions(write_jsonl(tmp_path / "p.jsonl", rows))
    assert sentence in str(refusal.value)


def test_a_missing_or_empty_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="there is no file"):
        read_predictions(tmp_path / "p.jsonl")
    (tmp_path / "p.jsonl").write_text("\n")
    with pytest.raises(EmptyError):
        read_predictions(tmp_path / "p.jsonl")


TEXTS = ["one", "two", "two", "three"]
DATA = [{"text": text, "label": "x"} for text in TEXTS]
IDS = row_ids([TEXTS])
COLUMNS = {"text": "text", "label": "label"}


def of_file(*rows: dict) -> Predictions:
    return Predictions(Path("p.jsonl"), list(rows), "prediction")


def joined(file: Predictions, data: list[dict] = DATA, **more: str) -> list:
    found = join(file, data, row_ids([[row["text"] for row in data]]), COLUMNS, **more)
    assert [file.rows[place - 1] for place in found.numbers] == found.rows
    return [[row["prediction"] for row in found.rows], found.how]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(["one", "two", "three", "two\n", "", "一"]), min_size=1, max_size=12),
    st.randoms(use_true_random=False),
    st.sampled_from(["own", "content", "columns"]),
)
def test_the_order_of_the_file_never_matters(texts, dice, way):
    data = [{"text": text, "label": "x", **({"idx": n} if way == "own" else {})} for n, text in enumerate(texts)]
    ids = row_ids([texts])
    rows = [{"prediction": f"p{n}", "row": n} for n in range(len(texts))]
    keys = {"own": {"idx": range(len(texts))}, "content": {"id": ids}, "columns": {"text": texts}}[way]
    for name, values in keys.items():
        rows = [{**row, name: value} for row, value in zip(rows, values)]
    dice.shuffle(rows)
    found = join(of_file(*rows), data, ids, COLUMNS)
    assert [row["prediction"] for row in found.rows] == [f"p{n}" for n in range(len(texts))]


@pytest.mark.parametrize(
    ("own", "other"), [("id", "id"), ("idx", "idx"), ("idx", "id"), ("id", "idx")], ids=lambda name: name
)
def test_an_id_of_both_files_is_the_first_way(own, other):
    data = [{**row, own: 10 + n} for n, row in enumerate(DATA)]
    rows = [{other: str(10 + n), "prediction": n} for n in (3, 1, 0, 2)]
    assert joined(of_file(*rows), data) == [[0, 1, 2, 3], f"joined by the column {other!r}"]


def test_ids_of_llmkit_are_used_where_the_datasets_own_are_others():
    data = [{**row, "id": f"mrpc-{n}"} for n, row in enumerate(DATA)]
    rows = [{"id": key, "row": n, "prediction": n} for n, key in enumerate(IDS)]
    assert joined(of_file(*rows[::-1]), data) == [[0, 1, 2, 3], "joined by the content ids"]


def test_equal_texts_are_the_last_way():
    rows = [{"id": n, "text": text, "prediction": text.upper()} for n, text in enumerate(TEXTS)]
    assert joined(of_file(*rows[::-1])) == [["ONE", "TWO", "TWO", "THREE"], "joined by equal 'text'"]


def test_the_truth_is_nothing_to_join_by():
    data, ids = [{"reference": "a"}, {"reference": "b"}], ["1f", "2e"]
    columns = {"reference": "reference"}
    rows = [{"id": "2e", "reference": "x", "prediction": 1}, {"id": "1f", "reference": "y", "prediction": 0}]
    assert join(of_file(*rows), data, ids, columns).numbers == [2, 1]
    with pytest.raises(DataError, match=r"1 of the dataset's rows is missing from it \('1f'\)"):
        join(of_file(rows[0]), data, ids, columns)
    with pytest.raises(DataError, match=r"or the dataset's own id$"):
        join(of_file({"reference": "a", "prediction": 0}), data, ids, columns)


def test_a_named_id_column_is_the_only_way():
    data = [{**row, "key": n} for n, row in enumerate(DATA)]
    rows = [{"key": float(n), "id": key, "prediction": n} for n, key in enumerate(IDS)]
    assert joined(of_file(*rows[::-1]), data, id_column="key") == [[0, 1, 2, 3], "joined by the column 'key'"]
    with pytest.raises(DataError, match="no column 'guid' to join by in both"):
        joined(of_file(*rows), data, id_column="guid")


def test_equal_rows_with_equal_predictions_need_nothing_to_tell_them_apart():
    rows = [{"text": text, "prediction": value} for text, value in zip(TEXTS, (1, 0.3, 0.3000001, 2))]
    assert joined(of_file(*rows))[0] == [1, 0.3, 0.3000001, 2]


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (
            [{"text": text, "prediction": n} for n, text in enumerate(TEXTS)],
            "p.jsonl: 'two' occurs 2 times with different predictions, '1' and '2'; give each row an id, or its number",
        ),
        ([{"text": text, "prediction": n, "row": 1} for n, text in enumerate(TEXTS)], "'two' occurs 2 times"),
        (
            [{"text": "one", "prediction": 1}],
            "p.jsonl does not fit the dataset (joined by equal 'text'): 3 of the dataset's rows are missing from it "
            "('two', 'two', 'three'); --split and --limit",
        ),
        (
            [*({"text": text, "prediction": 1} for text in TEXTS), {"text": "one", "prediction": 1}],
            "1 of its rows is not in the dataset, or too often (row 5: 'one')",
        ),
        (
            [{"text": text, "prediction": 1} for text in ("one", "two", "a long text " * 9, "B", "C", "D")],
            "2 of the dataset's rows are missing from it ('two', 'three') and 4 of its rows are not in the dataset, or "
            "too often (row 3: 'a long text a long text a long text a...', row 4: 'B', row 5: 'C' and 1 more)",
        ),
        (
            [{"id": IDS[0], "prediction": 1}, {"id": "ffff", "prediction": 1}],
            "(joined by the content ids): 3 of the dataset's rows are missing from it ('two', 'two', 'three') and 1 of "
            "its rows is not in the dataset, or too often (row 2: 'ffff')",
        ),
        (
            [{"id": "7", "prediction": 1}],
            "none of its rows is one of the dataset's: each needs the 'id' that llmkit --save-predictions writes, or "
            "the dataset's own id, or its 'text'",
        ),
        ([{"prediction": 1}], "none of its rows is one of the dataset's"),
    ],
)
def test_rows_that_do_not_fit_are_named(rows, sentence):
    with pytest.raises(DataError) as refusal:
        joined(of_file(*rows))
    assert sentence in str(refusal.value)


def test_an_id_given_twice_is_refused_even_with_row_numbers():
    data = [{**row, "id": n} for n, row in enumerate(DATA)]
    rows = [{"id": n, "row": n, "prediction": n} for n in range(4)]
    with pytest.raises(DataError, match=r"'3' occurs 2 times with different predictions, '3' and '9'$"):
        joined(of_file(*rows, {"id": 3, "row": 4, "prediction": 9}), data)
    with pytest.raises(DataError, match=r"1 of its rows is not in the dataset, or too often \(row 5: '3'\)"):
        joined(of_file(*rows, rows[3]), data)


def test_rows_of_another_split_with_the_same_ids_are_refused_where_the_texts_can_tell():
    data = [{**row, "idx": n} for n, row in enumerate(DATA)]
    rows = [{"idx": n, "text": text, "prediction": 1} for n, text in enumerate(["One ", "two", "four", "three"])]
    with pytest.raises(DataError, match=r"row 3 \(joined by .*: '2'\) is of another 'text', 'four', than .* 'two': is"):
        joined(of_file(*rows), data)
    rows[2]["text"] = "TWO"
    assert joined(of_file(*rows), data)[0] == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("values", "names", "ids"),
    [
        (["pos", "neg"], ["neg", "pos"], [1, 0]),
        ([" POS", "not-neg "], ["not_neg", "pos"], [1, 0]),
        ([1, "0", 1.0, 0], ["0", "1"], [1, 0, 1, 0]),
        (["LABEL_1", "0", "label_0"], ["0", "1"], [1, 0, 0]),
        ([1, "LABEL_0"], ["LABEL_0", "LABEL_1"], [1, 0]),
        ([True, "False"], ["false", "true"], [1, 0]),
    ],
)
def test_predicted_labels_are_found_as_a_models_are(values, names, ids):
    assert as_classes(values, names) == ids


def test_integers_are_ids_only_where_they_are_said_to_be():
    assert as_classes([1, "0", "neg"], ["neg", "pos"], by_id=True) == [1, 0, 0]
    for values, names, by_id in (([1], ["neg", "pos"], False), ([2], ["neg", "pos"], True), ([0], ["1", "2"], True)):
        with pytest.raises(DataError, match="is none of the dataset's labels"):
            as_classes(values, names, by_id=by_id)


def test_a_label_that_the_dataset_lacks_is_named_with_its_row():
    with pytest.raises(DataError) as refusal:
        as_classes(["positive", "postive"], ["negative", "positive"], places=[8, 3])
    assert str(refusal.value) == (
        "predictions, row 3: 'postive' is none of the dataset's labels (did you mean 'positive'?); "
        "they are 'negative', 'positive'"
    )
    with pytest.raises(DataError, match="row 2: 'POS' is none"):  # two names fold to it
        as_classes(["pos", "POS"], ["pos", "Pos", "pOS"])


def test_numbers_are_read_from_text_too():
    assert as_numbers([1, "2.5", " -3e1 "]) == [1.0, 2.5, -30.0]


@pytest.mark.parametrize("value", ["nan", float("inf"), "high", True, "", {}])
def test_what_is_no_finite_number_is_named_with_its_row(value):
    with pytest.raises(DataError, match=r"predictions, row 2: '.*' is not a finite number"):
        as_numbers([1, value])


def test_scores_come_in_the_order_of_the_labels():
    scores = [{"Pos": "0.9", "neg": 0.1}, {"neg": 1, "Pos": 0}]
    assert as_probabilities(scores, ["neg", "pos"]) == [[0.1, 0.9], [1.0, 0.0]]
    assert as_probabilities([None, None], ["neg", "pos"]) is None


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (None, "row 2: its scores are of no label; one for each label is wanted ('neg', 'pos'), or no scores at all"),
        ({"pos": 1.0}, "row 2: its scores are of 'pos'; one for each label"),
        ({"neg": 0.4, "pos": 0.3, "NEG": 0.3}, "row 2: its scores are of 'neg', 'pos', 'NEG'"),
        ({"neg": 0.4, "mixed": 0.6}, "row 2: 'mixed' is none of the dataset's labels"),
        ({"neg": 2.4, "pos": -1.4}, "row 2: its scores must be probabilities that sum to 1"),
        ({"neg": 0.4, "pos": 0.4}, "row 2: its scores must be probabilities that sum to 1"),
        ({"neg": "nan", "pos": 1.0}, "row 2: its scores must be probabilities that sum to 1"),
    ],
)
def test_scores_that_are_no_probabilities_of_the_labels_are_named_with_their_row(row, sentence):
    with pytest.raises(DataError) as refusal:
        as_probabilities([{"neg": 0.4, "pos": 0.6}, row], ["neg", "pos"])
    assert sentence in str(refusal.value)
