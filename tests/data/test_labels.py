from __future__ import annotations

import shlex

import numpy as np
import pytest
from conftest import write_csv
from datasets import ClassLabel, Dataset, Features, Value
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from transformers import BertConfig

from llmkit.data.labels import Labels, by_number, found_in, match, names_of, natural, refuse_unseen, spelled_as
from llmkit.data.splits import CUT_SHARE, Cut, cut_rows
from llmkit.errors import DataError, OptionError
from llmkit.models.config import output_names
from llmkit.tasks.encoding.merged_outputs import merged_probabilities


def column(*values: object, feature: object = None) -> Dataset:
    features = Features({"label": feature}) if feature is not None else None
    return Dataset.from_dict({"label": list(values)}, features=features)


def model_of(*names: str) -> Labels:
    return Labels(names)


def declaring(*names: str, values: tuple[int, ...] | None = None) -> Dataset:
    """A dataset of class labels, by default one row for each."""
    return column(*(range(len(names)) if values is None else values), feature=ClassLabel(names=list(names)))


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


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ((0.0, 1.0, None, float("nan")), ["0", "1", None, None]),
        ((1.5, -2.0), ["1.5", "-2"]),
        ((True, False, None), ["true", "false", None]),
        ((0, -7, None), ["0", "-7", None]),
        (("0", " a ", "", " \t", None), ["0", "a", None, None, None]),
        ((None, None), [None, None]),
    ],
)
def test_a_label_is_named_as_it_is_written(values, names):
    assert names_of(column(*values), "label") == names


def test_lists_have_no_names():
    with pytest.raises(DataError, match="holds lists or objects"):
        names_of(column([1], [2]), "label")


def test_classes_that_pandas_wrote_as_decimals_are_matched():
    matching = match(column(0.0, 1.0, None), "label", model_of("0", "1"))
    assert matching.labels.names == ("0", "1")
    with pytest.raises(DataError, match="holds numbers and the model predicts classes"):
        match(column(0.5, 1.0), "label", model_of("0", "1"))


def test_names_go_into_the_config_and_come_back(tmp_path):
    BertConfig(**Labels(("1", "2", "10")).config()).save_pretrained(tmp_path)
    config = BertConfig.from_pretrained(tmp_path)
    assert (config.id2label, config.label2id) == ({0: "1", 1: "2", 2: "10"}, {"1": 0, "2": 1, "10": 2})
    assert output_names(config) == ("1", "2", "10")
    assert output_names(BertConfig(**Labels(()).config())) == ()


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
    ("model", "dataset", "names", "merge"),
    [
        pytest.param(("neg", "pos"), column("pos", "neg"), ("neg", "pos"), None, id="equal names"),
        pytest.param(("pos", "neg"), column("pos", "neg"), ("pos", "neg"), None, id="the model's order holds"),
        pytest.param(("pos", "neg"), declaring("neg", "pos"), ("neg", "pos"), (1, 0), id="the dataset's order holds"),
        pytest.param(("1", "0"), column(1, 0), ("0", "1"), (1, 0), id="integers have an order"),
        pytest.param(("true", "false"), column(True), ("false", "true"), (1, 0), id="booleans have an order"),
        pytest.param(("a", "b", "c"), column("b"), ("a", "b", "c"), None, id="the dataset has fewer"),
        pytest.param(("good", "bad"), column(1, feature=STARS), ("bad", "good"), (1, 0), id="a class without rows"),
        pytest.param(
            ("x", "good", "bad"), column(1, feature=STARS), ("bad", "good", "x"), (2, 1, 0), id="and an extra"
        ),
        pytest.param(("a", "A"), column("A", "a"), ("a", "A"), None, id="case tells the model's own labels apart"),
        pytest.param(("neg", "pos"), column(None, "", feature=Value("string")), ("neg", "pos"), None, id="no labels"),
        pytest.param((), column(0.5), (), None, id="regression"),
        pytest.param((), column(1, 5, 3), (), None, id="whole numbers are numbers to a model that predicts them"),
    ],
)
def test_labels_are_matched_by_name_and_never_by_position(model, dataset, names, merge):
    matching = match(dataset, "label", model_of(*model))
    assert (matching.labels.names, matching.merge) == (names, merge)


@pytest.mark.parametrize(
    ("model", "dataset", "names", "how"),
    [
        (("neg", "pos"), declaring("neg", "pos"), ("neg", "pos"), None),
        (("NEG", "Pos"), column("neg", "pos"), ("neg", "pos"), "labels: NEG is neg, Pos is pos, by name, case and"),
        (
            ("not-equivalent", "equivalent"),
            declaring("not_equivalent", "equivalent"),
            ("not_equivalent", "equivalent"),
            "labels: not-equivalent is not_equivalent, by name, case and separators",
        ),
        (("NOT__Equivalent", "b"), column("not - equivalent"), ("not - equivalent", "b"), "labels: NOT__Equivalent is"),
        (("STRASSE", "b"), column("straße"), ("straße", "b"), "labels: STRASSE is straße, by name"),
        (("LABEL_0", "LABEL_1"), column(1, 0), ("0", "1"), "labels: LABEL_0 is 0, LABEL_1 is 1, by their number"),
        (("LABEL_1", "LABEL_0"), column(1, 0), ("0", "1"), "labels: LABEL_1 is 1, LABEL_0 is 0, by their number"),
        (("LABEL_0", "LABEL_1", "LABEL_2"), column(1), ("1", "LABEL_0", "LABEL_2"), "labels: LABEL_1 is 1, by their"),
        (("label-0", "label-1"), declaring("0", "1"), ("0", "1"), "labels: label-0 is 0, label-1 is 1, by their"),
        (("0", "1"), declaring("LABEL_0", "LABEL_1"), ("LABEL_0", "LABEL_1"), "labels: 0 is LABEL_0, 1 is LABEL_1"),
        (("label 0", "Label-1"), column("LABEL_0", "LABEL_1"), ("LABEL_0", "LABEL_1"), "labels: label 0 is LABEL_0"),
        (("b", "a"), declaring("a", "b"), ("a", "b"), "labels: the model has them in another order, matched by name"),
    ],
)
def test_what_settles_by_itself_is_said(model, dataset, names, how):
    matching = match(dataset, "label", model_of(*model))
    assert matching.labels.names == names
    assert matching.how is None if how is None else str(matching.how).startswith(how)


@pytest.mark.parametrize(
    ("model", "dataset", "phrases"),
    [
        (("neg", "pos"), column("pos", "mixed"), ["no label 'mixed'", "'mixed', 'pos'", "'neg', 'pos'"]),
        (("neg", "pos"), declaring("bad", "good", "best", values=(0, 1)), ["'bad', 'good', 'best'", "'neg', 'pos'"]),
        (("LABEL_0", "LABEL_1"), declaring("neg", "pos"), ["'neg', 'pos'", "'LABEL_0', 'LABEL_1'"]),
        (("LABEL_0", "LABEL_1"), column(True, False), ["'false', 'true'", "'LABEL_0', 'LABEL_1'"]),
        (("LABEL_0", "LABEL_1"), column(1, 2), ["no label '2'", "--label-map LABEL_0=2"]),
        (("neg", "pos"), column(0, 1), ["'0', '1'", "'neg', 'pos'"]),
        (("a", "A"), column("b", "A"), ["no label 'b'", "'a', 'A'"]),
        (("x-1", "x_1"), column("x 1"), ["no label 'x 1'"]),
        (("X-1", "b"), column("x 1", "x_1"), ["no label 'x 1', 'x_1'"]),
        (("1", "2"), column(-1, 2), ["no label '-1'"]),
        (("score 1", "score 2"), column("score -1", "score 2"), ["no label 'score -1'"]),
        (("neg", "pos"), column(0.5, 1.0), ["holds numbers and the model predicts classes"]),
        ((), column("pos", "neg"), ["holds classes and the model predicts numbers"]),
        ((), declaring("bad", "good"), ["holds classes and the model predicts numbers"]),
    ],
)
def test_a_mismatch_shows_both_lists(model, dataset, phrases):
    with pytest.raises(DataError) as refusal:
        match(dataset, "label", model_of(*model))
    assert [phrase for phrase in phrases if phrase not in str(refusal.value)] == []


@pytest.mark.parametrize(
    ("model", "dataset"),
    [
        (("LABEL_0", "LABEL_1"), declaring("negative", "positive")),
        (("entailment", "neutral", "contradiction"), declaring("entailment", "not_entailment")),
        (("LABEL_0", "LABEL_1"), declaring("not so good", "it's $1")),
    ],
)
def test_the_flags_of_the_refusal_can_be_pasted_and_settle_it(model, dataset):
    with pytest.raises(DataError) as refusal:
        match(dataset, "label", model_of(*model))
    words = shlex.split(str(refusal.value).split("for example ")[1])
    assert words[::2] == ["--label-map"] * (len(words) // 2)
    matching = match(dataset, "label", model_of(*model), dict(pair.split("=", 1) for pair in words[1::2]))
    assert matching.labels.names == tuple(dataset.features["label"].names)


def test_no_flag_is_named_where_none_can_settle_it():
    with pytest.raises(DataError) as refusal:
        match(column("a", "b", "c"), "label", model_of("a", "b"))
    assert (
        str(refusal.value) == "the model has no label 'c': the dataset's labels are 'a', 'b', 'c', the model's 'a', 'b'"
    )


def test_a_long_list_is_cut():
    with pytest.raises(DataError) as refusal:
        match(declaring(*(f"topic {n}" for n in range(40))), "label", model_of(*(f"LABEL_{n}" for n in range(40))))
    assert str(refusal.value).count("--label-map") == 12
    assert str(refusal.value).endswith("'LABEL_11=topic 11' and 28 more")


@pytest.mark.parametrize(
    ("model", "dataset", "mapping", "names", "merge"),
    [
        (("LABEL_0", "LABEL_1"), declaring("neg", "pos"), {"LABEL_0": "pos", "LABEL_1": "neg"}, ("neg", "pos"), (1, 0)),
        (
            ("entailment", "neutral", "contradiction"),
            declaring("entailment", "not_entailment"),
            {"neutral": "not_entailment", "contradiction": "not_entailment"},
            ("entailment", "not_entailment"),
            (0, 1, 1),
        ),
        (("a", "b"), column("a", "b"), {"a": "b", "b": "a"}, ("b", "a"), None),
        (("neg", "POS", "other"), column("neg", "pos"), {"neg": "neg"}, ("neg", "pos", "other"), None),
        (("Pos", "POS"), column("pos"), {"Pos": "pos"}, ("pos",), (0, 0)),
    ],
)
def test_a_map_names_the_labels_and_may_merge_them(model, dataset, mapping, names, merge):
    matching = match(dataset, "label", model_of(*model), mapping)
    assert (matching.labels.names, matching.merge) == (names, merge)
    assert str(matching.how).startswith("labels: ")
    assert "by --label-map" in str(matching.how)


def test_a_map_that_leaves_a_label_without_any_of_the_models_is_refused():
    dataset = declaring("neg", "pos", values=(1, 1))
    with pytest.raises(DataError, match=r"--label-map leaves the model without a label 'pos'.*--label-map up=pos"):
        match(dataset, "label", model_of("up", "down"), {"down": "neg"})


def test_a_partial_map_of_numbered_labels_turns_their_numbers_off():
    """LABEL_1 must not be added to LABEL_0 in the class 1 because the user named one of five shifted labels."""
    with pytest.raises(DataError, match="without a label '2', '3'"):
        match(column(1, 2, 3), "label", model_of("LABEL_0", "LABEL_1", "LABEL_2"), {"LABEL_0": "1"})


def test_a_map_with_unknown_labels_is_refused_with_all_its_problems():
    with pytest.raises(OptionError) as refusal:
        match(column("neg", "pos"), "label", model_of("LABEL_0", "LABEL_1"), {"LABEL_2": "neg", "LABEL_1": "poz"})
    assert refusal.value.problems == (
        "--label-map LABEL_2=neg: the model has no label 'LABEL_2' (did you mean 'LABEL_1'?); "
        "it has 'LABEL_0', 'LABEL_1'",
        "--label-map LABEL_1=poz: the dataset has no label 'poz' (did you mean 'pos'?); it has 'neg', 'pos'",
    )
    with pytest.raises(OptionError, match="column 'label' holds numbers"):
        match(column(0.5), "label", model_of(), {"LABEL_0": "neg"})


NAMES = st.lists(st.text("abAB_- 01", min_size=1).filter(str.strip), min_size=2, max_size=6, unique=True)


@settings(max_examples=200, deadline=None)
@given(st.data(), NAMES)
def test_a_permutation_of_names_always_matches_and_no_prediction_changes_its_name(data, names):
    ids = data.draw(st.permutations(range(len(names))))
    dataset = declaring(*names) if data.draw(st.booleans()) else column(*names)
    names = [name for name in names_of(dataset, "label") if name is not None]
    assume(len(set(names)) == len(names))  # strings are stripped, which can make one of two
    straight = match(dataset, "label", model_of(*names))
    turned = match(dataset, "label", model_of(*(names[i] for i in ids)))
    assert set(turned.labels.names) == set(names)
    chances = np.random.default_rng(0).dirichlet(np.ones(len(names)), size=20)

    def predicted(matching, outputs):
        merged = merged_probabilities(outputs, matching.merge, len(matching.labels.names))
        return [matching.labels.names[best] for best in merged.argmax(-1)]

    assert predicted(turned, chances[:, ids]) == predicted(straight, chances)


@settings(max_examples=100, deadline=None)
@given(st.permutations(["neutral", "Entailment", "contra-diction", "other thing"]))
def test_a_dataset_with_an_order_gives_it_to_every_model(order):
    dataset = declaring("other_thing", "contradiction", "entailment", "NEUTRAL")
    matching = match(dataset, "label", model_of(*order), {"contra-diction": "contradiction"})
    assert matching.labels.names == ("other_thing", "contradiction", "entailment", "NEUTRAL")


def test_probabilities_of_one_class_are_added():
    outputs = np.array([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]])
    merged = merged_probabilities(outputs, (1, 0, 1), 2)
    np.testing.assert_allclose(merged, [[0.5, 0.5], [0.1, 0.9]])
    np.testing.assert_array_equal(merged_probabilities(outputs, None, 3), outputs)


def test_a_spelling_is_found_only_where_it_is_the_only_one():
    assert spelled_as("POS", ["pos", "neg"]) == "pos"
    assert spelled_as("not equivalent", ["not_equivalent", "equivalent"]) == "not_equivalent"
    assert spelled_as("Pos", ["pos", "POS"]) is None
    assert spelled_as("POS", ["pos", "POS"]) == "POS"
    assert spelled_as("mixed", ["pos"]) is None


def test_numbers_pair_only_where_all_of_a_side_have_one():
    assert by_number(["LABEL_1", "LABEL_2"], ["2", "3"]) == {"LABEL_2": "2"}
    assert by_number(["1"], ["LABEL_0", "LABEL_1"]) == {"1": "LABEL_1"}
    assert by_number(["LABEL_1", "neg"], ["1", "2"]) == {}
    assert by_number(["LABEL_1"], ["1", "01"]) == {}
    assert by_number([], ["1"]) == {}
