from __future__ import annotations

import json
from functools import partial

import pytest
from conftest import write_csv
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from llmkit.data import Source, open_dataset
from llmkit.data.splits import CUT_SHARE, Cut, cut_rows, evaluation_rows, names_file, select, train_and_validation
from llmkit.errors import DataError, EmptyError
from llmkit.options import SplitOptions
from llmkit.tasks import TASKS

labelled = partial(TASKS["text-classification"].columns.has_labels, columns={"text": "text", "label": "label"})


def numbered(count: int, start: int = 0) -> Dataset:
    return Dataset.from_dict({"i": list(range(start, start + count))})


def source_of(**splits: Dataset) -> Source:
    return Source("somewhere", DatasetDict(splits))


def texts(*labels: object) -> Dataset:
    return Dataset.from_list([{"text": f"text {row}", "label": label} for row, label in enumerate(labels)])


SPLITS = DatasetDict(train=numbered(100), validation=numbered(5, 100), empty=numbered(0))


@pytest.mark.parametrize(
    ("spec", "rows"),
    [
        ("train", range(100)),
        ("train[:10%]", range(10)),
        ("train[90%:]", range(90, 100)),
        ("train[20:22]", range(20, 22)),
        ("train[-3:]", range(97, 100)),
        ("validation+train[:2]", [100, 101, 102, 103, 104, 0, 1]),
    ],
)
def test_a_split_expression_names_these_rows(spec, rows):
    assert select(SPLITS, spec)["i"] == list(rows)


def test_a_limit_takes_the_first_rows_and_may_exceed_them():
    assert select(SPLITS, "train[50:]", 2)["i"] == [50, 51]
    assert len(select(SPLITS, "validation", 999)) == 5


@pytest.mark.parametrize(
    ("spec", "phrase"),
    [
        ("trian", r"no split 'trian' \(did you mean 'train'\?\); the dataset has train, validation, empty"),
        ("test", "no split 'test'; the dataset has"),
        ("train+valdation", "valdation"),
        ("train[:ten]", r"'train\[:ten\]' is not a split or slice"),
        ("train[:200%]", "not a split or slice"),
        ("train[", "not a split or slice"),
    ],
)
def test_a_wrong_split_expression_is_refused(spec, phrase):
    with pytest.raises(DataError, match=phrase):
        select(SPLITS, spec)


@pytest.mark.parametrize("spec", ["empty", "train[5:5]", "train[10:5]"])
def test_a_split_without_rows_is_empty(spec):
    with pytest.raises(EmptyError, match="holds no rows"):
        select(SPLITS, spec)


@pytest.mark.parametrize(("count", "held_out"), [(2, 1), (14, 1), (100, 10), (1003, 100)])
def test_a_cut_parts_the_rows_in_two_and_keeps_their_order(count, held_out):
    kept, aside = (part["i"] for part in cut_rows(numbered(count), Cut("train", CUT_SHARE, 42)))
    assert sorted([*kept, *aside]) == list(range(count))
    assert (len(aside), list(kept), list(aside)) == (held_out, sorted(kept), sorted(aside))


def test_a_cut_is_its_seed_and_nothing_else():
    asides = [cut_rows(numbered(200), Cut("train", 0.1, seed))[1]["i"][:] for seed in (1, 1, 2)]
    assert asides[0] == asides[1] != asides[2]
    assert asides[0] != list(range(20))  # drawn, not the head


@pytest.mark.parametrize("seed", range(5))
def test_a_cut_takes_no_labels_last_row(seed):
    rows = texts("rare", *"ab" * 5, "", None)
    kept, aside = cut_rows(rows, Cut("train", 0.5, seed, column="label"))
    assert {"rare", "a", "b"} <= set(kept["label"])
    assert len(aside) == 6
    assert sorted([*kept["text"], *aside["text"]]) == sorted(rows["text"])


def test_too_few_rows_are_not_cut():
    with pytest.raises(EmptyError, match="one row is too few"):
        cut_rows(numbered(1), Cut("train", 0.1, 42))
    with pytest.raises(EmptyError, match="each label has one row"):
        cut_rows(texts("a", "b", "c"), Cut("train", 0.1, 42, column="label"))


@pytest.mark.parametrize("name", ["validation", "validation_matched", "valid", "val", "dev"])
def test_a_validation_split_is_taken_by_any_of_its_names(name):
    rows = train_and_validation(
        source_of(train=numbered(9), test=numbered(9), **{name: numbered(3)}), SplitOptions(), None, 42
    )
    assert (rows.name, rows.cut, len(rows.train), len(rows.validation)) == (name, None, 9, 3)


def test_without_a_validation_split_train_is_cut_and_test_left_alone():
    rows = train_and_validation(
        source_of(train=numbered(50), test=numbered(50, 1000)), SplitOptions(train_split="train[:40]"), 30, 7
    )
    assert sorted([*rows.train["i"], *rows.validation["i"]]) == list(range(30))
    assert rows.cut == Cut("train[:40]", CUT_SHARE, 7, 30)
    assert Cut(**json.loads(json.dumps(rows.cut.as_dict()))) == rows.cut


def test_the_validation_rows_can_be_a_split_a_slice_or_a_file(tmp_path):
    source = source_of(train=numbered(50), validation=numbered(5), test=numbered(4))
    other = write_csv(tmp_path / "other.csv", [{"i": 7}, {"i": 8}])
    for named, count in (("test", 4), ("train[:10%]", 5), (str(other), 2)):
        rows = train_and_validation(source, SplitOptions(train_split="train[10%:]", validation=named), None, 42)
        assert (rows.name, len(rows.validation), rows.cut) == (named, count, None)


def test_a_split_of_the_dataset_wins_over_a_folder_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "test" / "fixtures.csv", [{"i": 99}])
    rows = train_and_validation(
        source_of(train=numbered(50), test=numbered(4)), SplitOptions(validation="test"), None, 42
    )
    assert rows.validation["i"] == [0, 1, 2, 3]


def test_of_a_validation_folder_the_validation_rows_are_taken(tmp_path):
    write_csv(tmp_path / "other" / "train.csv", [{"i": 1}])
    write_csv(tmp_path / "other" / "validation.csv", [{"i": 2}])
    rows = train_and_validation(
        source_of(train=numbered(50)), SplitOptions(validation=str(tmp_path / "other")), None, 42
    )
    assert rows.validation["i"] == [2]


def test_eval_takes_validation_before_test_and_never_train():
    good = {"train": texts("a", "b"), "validation": texts("a", "b"), "test": texts("b", "a")}
    assert evaluation_rows(source_of(**good), None, None, labelled, None)[0] == "validation"
    good.pop("validation")
    assert evaluation_rows(source_of(**good), None, None, labelled, None)[0] == "test"
    good.pop("test")
    with pytest.raises(DataError, match=r"no validation or test split .* has labels; it has train: name one with --s"):
        evaluation_rows(source_of(**good), None, None, labelled, None)


classes = Features({"text": Value("string"), "label": ClassLabel(names=["no", "yes"])})
HIDDEN = {
    "-1 of a class label": Dataset.from_list([{"text": "a", "label": -1}] * 3, features=classes),
    "-1 of an integer": texts(-1, -1),
    "-1.0 of a number": texts(-1.0, -1.0),
    "nulls": Dataset.from_dict({"text": ["a"], "label": [None]}, features=classes),
    "empty strings": texts("", " "),
    "no label column": Dataset.from_dict({"text": ["a"]}),
}


@pytest.mark.parametrize("split", HIDDEN.values(), ids=HIDDEN)
def test_eval_passes_over_a_split_whose_labels_are_hidden(split):
    source = source_of(train=texts("a", "b"), validation=split, test=texts("a", "b"))
    assert evaluation_rows(source, None, None, labelled, None)[0] == "test"
    with pytest.raises(DataError, match="--split"):
        evaluation_rows(source_of(train=texts("a", "b"), test=split), None, None, labelled, None)


def test_minus_one_among_other_classes_is_a_class():
    assert labelled(texts(-1, 0, 1))
    assert labelled(texts(-1.0, 0.5))


def test_a_split_that_is_named_is_taken_without_a_question():
    source = source_of(train=texts("a", "b"), validation=texts("a"), test=texts(-1, -1))
    name, rows = evaluation_rows(source, "train[1:]", 5, labelled, None)
    assert (name, rows["label"][:]) == ("train[1:]", ["b"])
    assert evaluation_rows(source, "test", None, labelled, None)[0] == "test"


def test_one_file_is_what_is_measured_whatever_its_name(tmp_path):
    source = open_dataset(str(write_csv(tmp_path / "mine.csv", [{"text": "a", "label": "x"}])))
    assert evaluation_rows(source, None, None, labelled, None)[0] == "train"


def test_eval_finds_the_rows_that_the_training_run_cut():
    source = source_of(train=texts(*"ab" * 50), test=texts("a", "b"))
    trained = train_and_validation(source, SplitOptions(train_split="train[:80]"), 60, 7)
    cut = Cut(**json.loads(json.dumps(trained.cut.as_dict())))
    name, rows = evaluation_rows(source, None, None, labelled, cut)
    assert (name, rows["text"][:]) == (trained.name, trained.validation["text"][:])
    assert evaluation_rows(source, None, 2, labelled, cut)[1]["text"][:] == trained.validation["text"][:2]


def test_a_recorded_cut_gives_way_to_a_validation_split():
    source = source_of(train=texts(*"ab" * 50), validation=texts("a", "b"))
    assert evaluation_rows(source, None, None, labelled, Cut("train", 0.1, 42))[0] == "validation"


def test_rows_that_are_trained_on_are_not_measured_on():
    source = source_of(train=numbered(50))
    with pytest.raises(DataError, match="takes rows that --train-split train trains on"):
        train_and_validation(source, SplitOptions(validation="train[90%:]"), None, 42)


def test_a_split_that_is_called_like_a_file_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "held").mkdir()
    splits = DatasetDict({"train": Dataset.from_dict({"text": ["a"]})})
    assert names_file(splits, "held")
    splits["held"] = splits["train"]
    assert not names_file(splits, "held")
    assert not names_file(splits, "held[:1]")
    assert not names_file(splits, "nothing")
