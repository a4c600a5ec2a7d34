from __future__ import annotations

import pytest
from conftest import write_csv
from datasets import ClassLabel, Dataset, Features, Value
from transformers import BertConfig

from llmkit.errors import DataError
from llmkit.labels import Labels, found_in, match, names_of, natural, refuse_unseen
from llmkit.splits import CUT_SHARE, Cut, cut_rows


def column(*values: object, feature: object = None) -> Dataset:
    features = Features({"label": feature}) if feature is not None else None
    return Dataset.from_dict({"label": list(values)}, features=features)


def config_of(*names: str) -> BertConfig:
    return BertConfig(**Labels(names).config())


STARS = ClassLabel(names=["bad", "good", "best"])


@pytest.mark.parametrize(
    ("dataset", "names"),
    [
        pytest.param(column("pos", "neg", "pos"), ("neg", "pos"), id="strings"),
        pytest.param(column("10", "2", "1"), ("1", "2", "10"), id="digits in strings"),
        pytest.param(column("topic 10", "topic 9", "Topic"), ("Topic", "topic 9", "topic 10"), id="digits in names"),
        pytest.param(column(10, 2, 0), ("0", "2", "10"), id="integers"),
        pytest.param(column(1, -10, 0, -2), ("-10", "-2", "0", "1"), id="negative integers"),
        pytest.param(column("-1", "1", "0"), ("-1", "0", "1"), id="negative integers in strings"),
        pytest.param(column(True, False), ("false", "true"), id="booleans"),
        pytest.param(column(2, 0, feature=STARS), ("bad", "good", "best"), id="class label"),
        pytest.param(column(1, 3, feature=Value("uint8")), ("1", "3"), id="small integers"),
        pytest.param(column("b", "a", feature=Value("large_string")), ("a", "b"), id="large strings"),
        pytest.param(column(" a", "a ", "b", "", None), ("a", "b"), id="blanks and nulls"),
        pytest.param(column(0.5, 3.0), (), id="floats are a regression"),
        pytest.param(column(0.5, 3.0, feature=Value("float32")), (), id="small floats"),
    ],
)
def test_labels_are_found_in_this_order(dataset, names):
    labels = found_in(dataset, "label")
    assert (labels.names, labels.regression) == (names, names == ())


def test_no_two_names_are_equal_in_natural_order():
    names = ["1", "01", "001", "a1", "a01"]  # equal keys would leave the order of a set to chance
    assert len({tuple(natural(name)) for name in names}) == len(names)


def test_a_row_without_a_label_has_no_name():
    assert names_of(column(1, -1, None, feature=STARS), "label") == ["good", None, None]
    assert names_of(column("a", "", "  ", None), "label") == ["a", None, None, None]
    assert names_of(column(3, None, -1), "label") == ["3", None, "-1"]
    assert names_of(column(True, None, False), "label") == ["true", None, "false"]


@pytest.mark.parametrize(
    ("dataset", "phrase"),
    [
        (column("a", "a", ""), "only the label 'a' in column 'label'"),
        (column(1, 1, -1, feature=STARS), "only the label 'good'"),
        (column("", None), "no label at all"),
    ],
)
def test_one_class_is_too_few(dataset, phrase):
    with pytest.raises(DataError, match=phrase):
        found_in(dataset, "label")


def test_names_go_into_the_config_and_come_back(tmp_path):
    config_of("1", "2", "10").save_pretrained(tmp_path)
    config = BertConfig.from_pretrained(tmp_path)
    assert (config.id2label, config.label2id) == ({0: "1", 1: "2", 2: "10"}, {"1": 0, "2": 1, "10": 2})
    assert Labels.of_model(config) == Labels(("1", "2", "10"))
    assert Labels.of_model(config_of()).regression


def test_a_label_unseen_in_training_is_named_with_its_row():
    labels, rows = Labels(("a", "b")), column("a", "", "c10", "c9", "c9")
    with pytest.raises(DataError) as refusal:
        refuse_unseen(labels, rows, "label", "validation")
    assert str(refusal.value) == (
        "validation: label 'c9', 'c10' (first in row 4) does not occur in training, which has 'a', 'b'"
    )
    refuse_unseen(labels, column("b", "", None), "label", "validation")
    refuse_unseen(Labels(()), column(7.5), "label", "validation")


def test_finetune_names_the_row_of_the_file_that_holds_an_unseen_label(llmkit, reviews, classifier, tmp_path):
    rows = [{"text": "", "label": "positive"}, {"text": "fine", "label": "negative"}, {"text": "so", "label": "so-so"}]
    path = write_csv(tmp_path / "held_out.csv", rows)
    ran = llmkit("finetune", reviews, "-m", classifier, "--validation", path, "-o", tmp_path / "run")
    assert ran.code == 2
    assert "'so-so' (first in row 3)" in ran.error
    assert not (tmp_path / "run").exists()


def test_a_rare_label_is_not_lost_to_the_cut_that_llmkit_makes_itself(llmkit, classifier, tmp_path):
    held_out = cut_rows(column(*range(20)), Cut("train", CUT_SHARE, 42))[1]["label"][0]
    rows = [{"text": "the film was fine", "label": "rare" if row == held_out else "ab"[row % 2]} for row in range(20)]
    path = write_csv(tmp_path / "reviews.csv", rows)
    ran = llmkit("finetune", path, "-m", classifier, "-o", tmp_path / "run", "--dry-run")
    assert ran.code == 0, ran.err


@pytest.mark.parametrize(
    ("model", "dataset", "names"),
    [
        pytest.param(("neg", "pos"), column("pos", "neg"), ("neg", "pos"), id="the model's order holds"),
        pytest.param(("pos", "neg"), column(0, 1, feature=ClassLabel(names=["neg", "pos"])), ("pos", "neg"), id="ids"),
        pytest.param(("POSITIVE", "Negative"), column("negative", "positive"), ("positive", "negative"), id="case"),
        pytest.param(("a", "b", "c"), column("b"), ("a", "b", "c"), id="the dataset has fewer"),
        pytest.param(("good", "bad"), column(1, feature=STARS), ("good", "bad"), id="a declared label that no row has"),
        pytest.param(("0", "1"), column(1, 0), ("0", "1"), id="integers"),
        pytest.param(("false", "true"), column(True), ("false", "true"), id="booleans"),
        pytest.param(("a", "A"), column("A", "a"), ("a", "A"), id="case tells the model's own labels apart"),
        pytest.param((), column(0.5), (), id="regression"),
    ],
)
def test_labels_are_matched_by_name_and_never_by_position(model, dataset, names):
    assert match(dataset, "label", config_of(*model)).names == names


@pytest.mark.parametrize(
    ("model", "dataset", "phrases"),
    [
        (("neg", "pos"), column("pos", "mixed"), ["no label 'mixed'", "'mixed', 'pos'", "'neg', 'pos'"]),
        (("LABEL_0", "LABEL_1"), column(0, 1), ["'0', '1'", "'LABEL_0', 'LABEL_1'"]),
        (("neg", "pos"), column(0, 1, feature=STARS), ["'bad', 'good', 'best'", "'neg', 'pos'"]),
        (("a", "A"), column("b", "A"), ["no label 'b'", "'a', 'A'"]),
        (("neg", "pos"), column(0.5, 1.0), ["holds numbers and the model predicts classes"]),
        ((), column("pos", "neg"), ["holds classes and the model predicts numbers"]),
        ((), column(0, 1, feature=STARS), ["holds classes and the model predicts numbers"]),
    ],
)
def test_a_mismatch_shows_both_lists(model, dataset, phrases):
    with pytest.raises(DataError) as refusal:
        match(dataset, "label", config_of(*model))
    assert [phrase for phrase in phrases if phrase not in str(refusal.value)] == []


def test_whole_numbers_are_numbers_to_a_model_that_predicts_them():
    assert match(column(1, 5, 3), "label", config_of()).regression
