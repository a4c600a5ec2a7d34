from __future__ import annotations

import json
import math
from collections import Counter
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from jsonschema import Draft202012Validator

from llmkit import metrics
from llmkit.errors import DataError
from llmkit.evaluation.comparison import MAX_FLIPS_SHOWN, ComparisonSide, compared, looks_saved, read_saved
from llmkit.evaluation.result_rows import ObservedUnits, pack, prediction_rows, unpack
from llmkit.metrics.observations import (
    AnswerTexts,
    ChoiceIds,
    Classes,
    LabelSets,
    Likelihoods,
    Numbers,
    Observations,
    Preferences,
    Samples,
    Spans,
    Texts,
)
from llmkit.output.report import to_json

NAMES = ("negative", "positive")
HELD = np.array([[True, True], [False, False], [False, True]])
CHANCES = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]])
KINDS: dict[str, Observations] = {
    "classes": Classes(np.array([0, 1, 1]), np.array([0, 1, 0]), NAMES, CHANCES, 1),
    "labels alone": Classes(np.array([0, 1, 1]), np.array([0, 1, 0]), NAMES),
    "numbers": Numbers(np.array([0.1, 0.2, 0.3]), np.array([1.0, -2.0, 1 / 3])),
    "windows": Likelihoods(np.array([1.5, 2.5, 0.1]), np.array([3, 4, 5]), np.array([9, 9, 9])),
    "masks": Likelihoods(np.array([1.5, 2.5, 0.1]), np.array([3, 4, 5]), np.zeros(3, int), np.array([1, 0, 2])),
    "texts": Texts(("a", "b", "新"), (("a", "c"), ("d",), ("新",))),
    "answers": AnswerTexts(("a", "", "新"), (("a", "c"), ("d",), ("",))),
    "label sets": LabelSets(HELD, HELD[::-1], NAMES, CHANCES),
    "label sets alone": LabelSets(HELD, HELD[::-1], NAMES),
    "spans": Spans((("B-x", "I-x"), ("O",), ()), (("B-x", "O"), ("B-y",), ()), ("x", "y")),
    "parts of speech": Spans((("N", "N"), ("V",), ("N",)), (("N", "V"), ("V",), ("N",)), ("N", "V")),
    "choices": ChoiceIds(np.array([0, 1, 2]), np.array([0, 2, 2]), np.array([1, 1, 2]), ((1.5, -2.0), (0.0,), ())),
    "bare choices": ChoiceIds(np.array([0, 1, 2]), np.array([0, 2, 2])),
    "preferences": Preferences(np.array([0.5, -1.0, 2.0]), np.array([1.0, -2.0, 2.0]), 0.3),
    "bare preferences": Preferences(np.array([0.5, -1.0, 2.0])),
    "samples": Samples({"acc": np.array([1.0, 0.0, 1.0])}, ("x", "y", "z"), ("x", None, "w")),
    "bare samples": Samples({"acc": np.array([1.0, 0.0, 1.0]), "word_count": np.array([3.0, 4.0, 5.0])}),
}
IDS = ("r0", "r1", "r2")
SCHEMA = json.loads(
    (resources.files("llmkit") / "output" / "schemas" / "evaluation.schema.json").read_text(encoding="utf-8")
)
ROWS = {"$ref": "#/$defs/rows", "$defs": SCHEMA["$defs"]}


def saved(seen: Observations, ids=IDS, name: str = "old.json", task: str = "a-task", texts=None) -> ComparisonSide:
    return ComparisonSide(name, "a model", task, "a dataset", ObservedUnits(seen, ids, texts), metrics.names_for(seen))


def written(path: Path, seen: Observations, **changes: object) -> Path:
    result = {
        "schema": 1,
        "status": "ok",
        "model": "runs/a",
        "task": "a-task",
        "dataset": "mine.csv",
        "metrics": dict.fromkeys(metrics.names_for(seen)),
        "rows": pack(seen, IDS),
    }
    path.write_text(to_json({**result, **changes}))
    return path


def classes(truth, guesses, names=NAMES, positive=1) -> Classes:
    return Classes(np.array(truth), np.array(guesses), names, positive=positive)


# rows as they are saved


@pytest.mark.parametrize("kind", KINDS)
def test_rows_come_back_from_json_with_the_same_figures(tmp_path, kind):
    seen = KINDS[kind]
    read = read_saved(str(written(tmp_path / "r.json", seen)))
    again = read.units.observations
    assert list(read.units.ids) == list(IDS)
    assert type(again) is type(seen)
    assert metrics.names_for(again) == metrics.names_for(seen)
    for name in metrics.names_for(seen):
        assert metrics.value(name, again) == pytest.approx(metrics.value(name, seen), abs=0, nan_ok=True), name
    assert pack(again, IDS) == pack(seen, IDS)
    assert Draft202012Validator(ROWS).is_valid(json.loads(to_json(pack(seen, IDS))))
    assert (read.name, read.model, read.dataset) == (str(tmp_path / "r.json"), "runs/a", "mine.csv")


@pytest.mark.parametrize("kind", KINDS)
def test_each_unit_is_a_row_of_the_predictions(kind):
    rows = prediction_rows(KINDS[kind], IDS)
    assert [(row["id"], row["row"]) for row in rows] == [("r0", 0), ("r1", 1), ("r2", 2)]
    assert all(value is not None for row in rows for key, value in row.items() if key != "prediction")
    if kind == "classes":
        assert rows[2] == {
            "id": "r2",
            "row": 2,
            "label": "positive",
            "prediction": "negative",
            "scores": {"negative": 0.4, "positive": 0.6},
        }
    if kind == "label sets":
        assert rows[0] == {
            "id": "r0",
            "row": 0,
            "label": ["negative", "positive"],
            "prediction": ["positive"],
            "scores": {"negative": 0.9, "positive": 0.1},
        }
    if kind == "spans":
        assert rows[0] == {"id": "r0", "row": 0, "label": ["B-x", "I-x"], "prediction": ["B-x", "O"]}
    if kind == "choices":
        assert rows[0] == {
            "id": "r0",
            "row": 0,
            "label": 0,
            "prediction": 0,
            "normalised": 1,
            "scores": {"0": 1.5, "1": -2.0},
        }


@given(some.lists(some.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=9))
def test_numbers_are_saved_to_the_last_bit(numbers):
    seen = Numbers(np.array(numbers), np.array(numbers[::-1]))
    again = unpack(json.loads(to_json(pack(seen, [str(i) for i in range(len(numbers))])))).observations
    assert isinstance(again, Numbers)
    assert (again.truth.tobytes(), again.predicted.tobytes()) == (seen.truth.tobytes(), seen.predicted.tobytes())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema": 2}, "is of schema 2, and this llmkit reads 1"),
        ({"schema": "1"}, "is of schema '1'"),
        ({"status": "error", "error": "no such column"}, "no such column"),
        ({"results": []}, "a suite"),
        ({"rows": None}, "holds no rows to compare with"),
        ({"rows": {"kind": "other"}}, "holds no rows to compare with"),
        ({"rows": {"kind": "numbers", "id": ["a"], "label": ["x"], "prediction": [1]}}, "holds no rows"),
        ({"rows": {**pack(KINDS["labels alone"], IDS), "label": ["positive", "other", "negative"]}}, "holds no rows"),
    ],
)
def test_what_is_no_result_is_refused(tmp_path, changes, words):
    path = written(tmp_path / "r.json", KINDS["numbers"], **changes)
    with pytest.raises(DataError) as refused:
        read_saved(str(path))
    assert words in str(refused.value)
    assert repr(str(path)) in str(refused.value)


@pytest.mark.parametrize("content", ["", "{", "[]", "3", '"text"', "null"])
def test_a_file_of_something_else_is_refused(tmp_path, content):
    path = tmp_path / "r.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"r\.json"):
        read_saved(str(path))


def test_a_file_and_a_name_that_ends_like_one_are_results(tmp_path):
    (tmp_path / "saved").write_text("{}")
    assert looks_saved(str(tmp_path / "saved"))
    assert looks_saved("gone.json")
    assert not looks_saved(str(tmp_path))
    assert not looks_saved("org/model")


# pairing


@given(some.lists(some.sampled_from("abcde"), min_size=2, max_size=12), some.randoms())
def test_rows_are_paired_by_content_in_any_order_equal_ones_by_theirs(ids, dice):
    order = list(range(len(ids)))
    dice.shuffle(order)
    truth = np.arange(len(ids)) % 2
    by_id = {key: number % 2 for number, key in enumerate(sorted(set(ids)))}
    labels = np.array([by_id[key] for key in ids])
    before = classes(labels[order], truth[order])
    comparison = compared(
        saved(before, [ids[i] for i in order]), saved(classes(labels, truth), ids), ["accuracy"], 100, 1
    )
    found = comparison.differences["accuracy"]
    assert found.baseline == found.value
    assert found.difference == 0
    earlier = Counter(zip([ids[i] for i in order], before.predicted.tolist()))
    assert earlier == Counter(zip(ids, truth.tolist()))
    changed = comparison.flips["changed"] if comparison.flips else 0
    assert changed == 0 or max(Counter(ids).values()) > 1, "only equal rows can be taken for one another"


def test_equal_rows_of_different_labels_are_paired_by_label():
    ids = ["r0", "r0", "r1"]
    before, after = classes([0, 1, 1], [0, 0, 1]), classes([1, 0, 1], [0, 0, 1])
    comparison = compared(saved(before, ids), saved(after, ids), ["accuracy"], 0, 1)
    assert comparison.differences["accuracy"].difference == 0
    assert comparison.flips is not None
    assert comparison.flips["changed"] == 0


@pytest.mark.parametrize(
    ("ids", "missing", "extra"),
    [(("r0", "r1", "x"), 1, 1), (("r0", "r1"), 0, 1), (("r0", "r1", "r2", "r2"), 1, 0), (("r0", "r0", "r1"), 1, 1)],
)
def test_other_rows_are_counted_and_refused(ids, missing, extra):
    before, after = classes([0, 1, 1], [0, 1, 0]), classes([0, 1, 1, 1][: len(ids)], [0] * len(ids))
    with pytest.raises(DataError) as refused:
        compared(saved(before), saved(after, ids), ["accuracy"], 0, 1)
    assert f"{missing} of {len(ids)} are not in it, and {extra} of its 3 are missing here" in str(refused.value)


def test_a_changed_label_is_refused_and_the_row_named():
    before, after = classes([0, 1, 1], [0, 1, 0]), classes([0, 0, 1], [0, 1, 0])
    with pytest.raises(DataError, match=r"1 rows have another label .*\(the first is r1\)"):
        compared(saved(before), saved(after), ["accuracy"], 0, 1)
    other = Texts(KINDS["texts"].predicted, (("a",), ("d",), ("新",)))
    with pytest.raises(DataError, match="the first is r0"):
        compared(saved(KINDS["texts"]), saved(other), ["exact_match"], 0, 1)


@pytest.mark.parametrize(
    ("one", "another"), [("classes", "numbers"), ("windows", "samples"), ("texts", "labels alone")]
)
def test_figures_of_other_kinds_are_refused(one, another):
    with pytest.raises(DataError, match="other figures"):
        compared(saved(KINDS[one]), saved(KINDS[another]), [], 0, 1)


def test_another_task_is_refused():
    seen = KINDS["windows"]
    with pytest.raises(DataError, match="is of causal-lm, which cannot be compared with masked-lm"):
        compared(saved(seen, task="causal-lm"), saved(seen, task="masked-lm"), [], 0, 1)


def test_classes_in_another_order_are_the_same_by_their_names():
    after = KINDS["classes"]
    assert isinstance(after, Classes)
    turned = Classes(1 - after.truth, 1 - after.predicted, NAMES[::-1], CHANCES[:, ::-1], 0)
    found = compared(saved(turned), saved(after), metrics.names_for(after), 0, 1)
    for name, difference in found.differences.items():
        assert difference.baseline == pytest.approx(difference.value, nan_ok=True), name
        if not math.isnan(difference.value):
            assert difference.difference == pytest.approx(0), name
    assert found.flips is not None
    assert found.flips["changed"] == 0


def test_other_classes_are_refused_with_both_lists():
    before = classes([0, 1, 1], [0, 1, 0], ("negative", "neutral"))
    with pytest.raises(DataError, match=r"negative, neutral.*negative, positive"):
        compared(saved(before), saved(classes([0, 1, 1], [0, 1, 0])), ["accuracy"], 0, 1)


def test_both_sides_are_scored_on_the_positive_class_of_the_later_one():
    truth, guesses = [0, 0, 0, 1, 1], [0, 0, 1, 1, 1]
    before, after = classes(truth, guesses, positive=0), classes(truth, guesses, positive=1)
    ids = [str(i) for i in range(5)]
    found = compared(saved(before, ids), saved(after, ids), ["f1", "recall"], 0, 1).differences
    assert {name: one.difference for name, one in found.items()} == {"f1": 0, "recall": 0}


# flips


def test_flips_are_counted_and_shown_broken_ones_first():
    truth = [0, 0, 0, 1, 2, 2]
    before = classes(truth, [0, 1, 1, 1, 0, 2], ("a", "b", "c"), None)
    after = classes(truth, [1, 0, 2, 1, 0, 1], ("a", "b", "c"), None)
    ids = [f"r{i}" for i in range(6)]
    texts = [f"text {i}" for i in range(6)]
    flips = compared(saved(before, ids), saved(after, ids, texts=texts), ["accuracy"], 0, 1).flips
    assert flips is not None
    assert (flips["fixed"], flips["broken"], flips["changed"]) == (1, 2, 4)
    assert [row["id"] for row in flips["rows"]] == ["r0", "r5", "r1", "r2"]
    assert flips["rows"][0] == {"id": "r0", "text": "text 0", "label": "a", "before": "a", "after": "b"}


def test_no_more_than_50_flips_are_shown_and_all_are_counted():
    rows = MAX_FLIPS_SHOWN + 20
    before, after = classes([0, 1] * (rows // 2), [0] * rows), classes([0, 1] * (rows // 2), [1] * rows)
    ids = [str(i) for i in range(rows)]
    flips = compared(saved(before, ids), saved(after, ids), ["accuracy"], 0, 1).flips
    assert flips is not None
    assert (flips["changed"], flips["fixed"], flips["broken"]) == (rows, rows // 2, rows // 2)
    assert len(flips["rows"]) == MAX_FLIPS_SHOWN
    assert all(row["before"] == row["label"] for row in flips["rows"][: rows // 2])


@pytest.mark.parametrize(
    ("before", "after", "fixed", "broken", "first"),
    [
        (ChoiceIds(np.arange(3), np.array([0, 1, 0])), ChoiceIds(np.arange(3), np.array([1, 1, 2])), 1, 1, (0, 0, 1)),
        (
            LabelSets(HELD, np.array([[True, True], [False, True], [True, True]]), NAMES),
            LabelSets(HELD, np.array([[True, False], [False, False], [True, True]]), NAMES),
            1,
            1,
            (["negative", "positive"], ["negative", "positive"], ["negative"]),
        ),
        (
            AnswerTexts(("The a", "b", "d"), (("a",), ("b",), ("c", "cc"))),
            AnswerTexts(("a", "x", "C"), (("a",), ("b",), ("c", "cc"))),
            1,
            1,
            (["b"], "b", "x"),
        ),
    ],
    ids=["choices", "label sets", "answers"],
)
def test_flips_are_of_all_that_is_right_or_wrong(before, after, fixed, broken, first):
    name = "accuracy" if isinstance(before, ChoiceIds) else "exact_match"
    comparison = compared(saved(before), saved(after), [name], 100, 1)
    assert comparison.differences[name].test == "exact McNemar"
    flips = comparison.flips
    assert flips is not None
    assert (flips["fixed"], flips["broken"]) == (fixed, broken)
    assert tuple(flips["rows"][0][key] for key in ("label", "before", "after")) == first


def test_labels_in_another_order_are_the_same_by_their_names():
    after = KINDS["label sets"]
    assert isinstance(after, LabelSets)
    turned = LabelSets(after.truth[:, ::-1], after.predicted[:, ::-1], NAMES[::-1], CHANCES[:, ::-1])
    found = compared(saved(turned), saved(after), metrics.names_for(after), 0, 1)
    assert {name: one.difference for name, one in found.differences.items()} == {
        name: pytest.approx(0) for name in metrics.names_for(after)
    }
    assert found.flips is not None
    assert found.flips["changed"] == 0
    other = LabelSets(after.truth, after.predicted, ("negative", "other"))
    with pytest.raises(DataError, match=r"negative, other.*negative, positive"):
        compared(saved(other), saved(after), ["f1_micro"], 0, 1)


def test_spans_are_compared_by_resamples_of_sentences():
    truth = tuple(("B-x", "O") if row % 2 else ("O", "B-y") for row in range(40))
    worse = tuple(tags if row % 3 else ("O", "O") for row, tags in enumerate(truth))
    before, after = Spans(truth, worse, ("x", "y")), Spans(truth, truth, ("x", "y"))
    ids = [str(row) for row in range(40)]
    found = compared(saved(before, ids), saved(after, ids), ["f1", "accuracy"], 200, 1).differences
    assert {one.test for one in found.values()} == {"paired bootstrap"}
    assert found["f1"].low > 0
    assert found["f1"].p < 0.05


@pytest.mark.parametrize("kind", ["numbers", "windows", "texts", "samples", "spans"])
def test_what_is_not_just_right_or_wrong_has_no_flips(kind):
    comparison = compared(saved(KINDS[kind]), saved(KINDS[kind]), metrics.names_for(KINDS[kind]), 0, 1)
    assert comparison.flips is None
    assert comparison.as_dict()["n"] == 3


def test_a_metric_that_the_baseline_cannot_have_is_left_out():
    labels, chances = KINDS["labels alone"], KINDS["classes"]
    found = compared(saved(labels), saved(chances), ["accuracy", "brier"], 0, 1).differences
    assert list(found) == ["accuracy"]
