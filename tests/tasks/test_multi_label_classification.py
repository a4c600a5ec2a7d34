from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from conftest import write_csv, write_jsonl
from datasets import ClassLabel, Dataset, Features, List, Value
from evaluating import Files, read_jsonl, trained, valid, values
from sklearn import metrics as sklearn_metrics
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from llmkit.data.labels import Labels
from llmkit.data.splits import Cut, cut_rows
from llmkit.errors import ModelError
from llmkit.tasks import TaskSettings
from llmkit.tasks.multi_label_classification import MultiLabelClassification, config_threshold
from llmkit.tasks.text_classification import TextClassification

TOPICS = list(tiny.TOPICS)
ROWS = tiny.topics(40, seed=9)
TEXTS = [row["text"] for row in ROWS]
ZH = {"价格": "价格很便宜", "服务": "服务非常热情", "房间": "房间又大又干净"}


@pytest.fixture(scope="session")
def topical(models_root) -> Path:
    """A trained model that is right about most topics, and about not quite all of them."""
    model = models_root / "topical"
    data = write_jsonl(models_root / "topics" / "train.jsonl", tiny.topics(96)).parent
    write_jsonl(data / "validation.jsonl", tiny.topics(32, seed=1))
    figures = trained(data, tiny.bert_folder(models_root / "topical-base"), model, max_steps=100, learning_rate=2e-3)
    assert 0.6 < figures.metrics["f1_micro"] < 1
    return model


@pytest.fixture
def topics(tmp_path) -> Path:
    return write_jsonl(tmp_path / "topics.jsonl", ROWS)


def plain_chances(folder: Path, texts: list[str], pairs: list[str] | None = None) -> np.ndarray:
    """Return what transformers alone says of each label, one row at a time."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    assert model.config.problem_type == "multi_label_classification"
    made = []
    for row, text in enumerate(texts):
        with torch.inference_mode():
            inputs = tokenizer(text, *([pairs[row]] if pairs else []), return_tensors="pt")
            made.append(torch.sigmoid(model(**inputs).logits[0].double()).numpy())
    return np.stack(made)


def truth_of(rows: list[dict], names: list[str]) -> np.ndarray:
    return np.array([[name in row["labels"] for name in names] for row in rows])


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_figures_are_scikit_learns_on_a_plain_forward_pass(llmkit, topical, topics, batch_size):
    chances, truth = plain_chances(topical, TEXTS), truth_of(ROWS, TOPICS)
    guess = chances >= 0.5
    found = valid(llmkit("eval", topics, "-m", topical, "--batch-size", batch_size, "--json").json)
    expected = {
        "f1_micro": sklearn_metrics.f1_score(truth, guess, average="micro"),
        "f1_macro": sklearn_metrics.f1_score(truth, guess, average="macro", zero_division=0),
        "precision_micro": sklearn_metrics.precision_score(truth, guess, average="micro"),
        "recall_micro": sklearn_metrics.recall_score(truth, guess, average="micro"),
        "exact_match": sklearn_metrics.accuracy_score(truth, guess),
        "average_precision": sklearn_metrics.average_precision_score(truth, chances, average="macro"),
        "roc_auc": sklearn_metrics.roc_auc_score(truth, chances, average="macro"),
    }
    assert values(found) == pytest.approx(expected, abs=1e-9)
    assert found["headline"] == "f1_micro"
    assert 0.5 < expected["f1_micro"] < 1
    for figure in found["metrics"].values():
        assert figure["low"] <= figure["value"] <= figure["high"]
    assert {name: row["support"] for name, row in found["per_class"].items()} == dict(
        zip(TOPICS, truth.sum(0).tolist(), strict=True)
    )
    assert found["invariance"]["changed"] == 0


@pytest.mark.parametrize("batch_size", [1, 16])
def test_classify_answers_what_a_plain_forward_pass_does(llmkit, topical, batch_size):
    texts = [*TEXTS[:8], "the king was good"]
    chances = plain_chances(topical, texts)
    ran = llmkit("classify", *texts, "-m", topical, "--batch-size", batch_size)
    assert ran.code == 0, ran.err
    for row, text, chance in zip(ran.rows, texts, chances, strict=True):
        order = np.argsort(-chance)
        assert row["text"] == text
        assert list(row["scores"]) == [TOPICS[i] for i in order]
        np.testing.assert_allclose(list(row["scores"].values()), chance[order], atol=2e-6)
        assert row["labels"] == [TOPICS[i] for i in order if chance[i] >= 0.5]
    assert len({len(row["labels"]) for row in ran.rows}) > 2  # none, one and several


def test_pairs_lines_and_the_best_scores(llmkit, topical):
    found = llmkit("classify", "the film", "-m", topical, "--pair", "the river was warm", "--top", "1").rows[0]
    (chance,) = plain_chances(topical, ["the film"], ["the river was warm"])
    best = int(chance.argmax())
    assert found["scores"] == {TOPICS[best]: pytest.approx(chance[best], abs=2e-6)}
    assert (found["text"], found["pair"]) == ("the film", "the river was warm")
    lines = llmkit("classify", "-m", topical, stdin="the film was good\n\n").rows
    assert [row["labels"] is None for row in lines] == [False, True]
    assert lines[1] == {"text": "", "labels": None, "scores": None}


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_classify_a_file(llmkit, topical, tmp_path, suffix):
    rows = [{"id": str(place), "review": text} for place, text in enumerate([*TEXTS[:5], " "])]
    write = write_csv if suffix == ".csv" else write_jsonl
    data, made = write(tmp_path / f"rows{suffix}", rows), tmp_path / f"made{suffix}"
    ran = llmkit("classify", "-m", topical, "--input", data, "--output", made)
    assert ran.code == 0, ran.err
    if suffix == ".csv":
        with made.open(newline="", encoding="utf-8") as file:
            found = [
                {**row, "labels": json.loads(row["labels"] or "null"), "scores": json.loads(row["scores"] or "null")}
                for row in csv.DictReader(file)
            ]
    else:
        found = read_jsonl(made)
    plain = llmkit("classify", *TEXTS[:5], "-m", topical).rows
    for row, answer, given in zip(found, plain, rows[:5], strict=False):
        assert {"id": row["id"], "review": row["review"]} == given
        assert row["labels"] == answer["labels"]
        assert row["scores"] == pytest.approx(answer["scores"], abs=2e-6)
    assert found[5]["labels"] is None


def test_a_terminal_shows_which_labels_hold(on_terminal, llmkit, topical):
    row = llmkit("classify", TEXTS[1], "-m", topical).rows[0]
    shown = on_terminal("classify", TEXTS[1], "-m", topical).out
    assert all(heading in shown for heading in ("text", "label", "score", "holds"))
    for name, score in row["scores"].items():
        (line,) = [line for line in shown.splitlines() if f"{score:.4f}" in line]
        assert name in line
        assert ("yes" in line) == (name in row["labels"])
    assert on_terminal("classify", " ", "-m", topical).code == 0


def test_finetune_and_eval_give_the_same_and_chinese_labels_come_back(llmkit, llama, tmp_path):
    dice = np.random.default_rng(3)
    rows = []
    for number in range(40):
        held = [label for label in ZH if dice.random() < 0.5]
        text = "。".join(ZH[label] for label in held) or "没有什么可说的"
        rows.append({"文本": f"{text}。{number}", "标签": json.dumps(held, ensure_ascii=False)})
    data, run = write_csv(tmp_path / "评论.csv", rows), tmp_path / "run"
    ran = llmkit("finetune", data, "-m", llama, "-o", run, "--epochs", "4", "--learning-rate", "3e-3", "--json")
    assert ran.code == 0, ran.err
    assert "task: multi-label-classification; columns text=文本, labels=标签" in ran.err
    assert valid(ran.json)["metrics"] == valid(llmkit("eval", data, "-m", run, "--json").json)["metrics"]
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["LlamaForSequenceClassification"]
    assert [config["id2label"][str(i)] for i in range(3)] == sorted(ZH)
    texts = [row["文本"] for row in rows[:6]]
    found = llmkit("classify", *texts, "-m", run).rows
    assert {tuple(sorted(row["scores"])) for row in found} == {tuple(sorted(ZH))}
    for row, chance in zip(found, plain_chances(run, texts), strict=True):
        np.testing.assert_allclose([row["scores"][name] for name in sorted(ZH)], chance, atol=2e-6)
        assert set(row["labels"]) == {name for name, one in zip(sorted(ZH), chance, strict=True) if one >= 0.5}


def kinds_of_columns(folder: Path, kind: str) -> tuple[Path, list[str]]:
    """Write the same rows with their labels in one of the ways that there are; return them and the names."""
    ids = [[TOPICS.index(name) for name in row["labels"]] for row in ROWS]
    texts = [row["text"] for row in ROWS]
    if kind == "names in json":
        return write_jsonl(folder / "rows.jsonl", ROWS), TOPICS
    if kind == "names in csv":
        return write_csv(folder / "rows.csv", [{**row, "labels": json.dumps(row["labels"])} for row in ROWS]), TOPICS
    if kind == "integers":
        rows = [{"text": text, "labels": [10 * one for one in held]} for text, held in zip(texts, ids, strict=True)]
        return write_jsonl(folder / "rows.jsonl", rows), ["0", "10", "20"]
    names = ["nature of things", "art", "home"]  # declared: neither sorted nor as the model has them
    features = Features({"text": Value("string"), "labels": List(ClassLabel(names=names))})
    Dataset.from_dict({"text": texts, "labels": ids}, features=features).save_to_disk(folder / "rows")
    return folder / "rows", names


@pytest.mark.parametrize("kind", ["names in json", "names in csv", "integers", "classes"])
def test_labels_of_any_kind_are_kept_in_their_order(llmkit, classifier, tmp_path, kind):
    data, names = kinds_of_columns(tmp_path, kind)
    run = tmp_path / "run"
    ran = llmkit("finetune", data, "-m", classifier, "-o", run, "--max-steps", "2", "--json")
    assert ran.code == 0, ran.err
    config = json.loads((run / "config.json").read_text())
    assert [config["id2label"][str(place)] for place in range(3)] == names
    assert config["problem_type"] == "multi_label_classification"
    found = llmkit("eval", data, "-m", run, "--split", "train", "--json").json
    supports = truth_of(ROWS, TOPICS).sum(0).tolist()
    assert {name: row["support"] for name, row in found["per_class"].items()} == dict(zip(names, supports, strict=True))
    assert llmkit("eval", data, "-m", run, "--json").json["metrics"] == ran.json["metrics"]


def test_the_loss_is_the_binary_cross_entropy_of_each_label(sorter):
    task, tokenizer = MultiLabelClassification(), AutoTokenizer.from_pretrained(sorter)
    settings = TaskSettings({"text": "text", "labels": "labels"}, 64, labels=Labels(tuple(TOPICS)))
    prepared = task.encoding.encode(Dataset.from_list(ROWS[:6]), tokenizer, settings, training=True)
    batch = task.encoding.collator(tokenizer, settings)(prepared.to_list())
    model = AutoModelForSequenceClassification.from_pretrained(sorter).eval()
    chances, truth = plain_chances(sorter, TEXTS[:6]), truth_of(ROWS[:6], TOPICS)
    expected = -np.mean(np.where(truth, np.log(chances), np.log(1 - chances)))
    assert model(**batch).loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("flags", [(), ("--threshold", "0.3"), ("--threshold", "0.7")])
def test_the_threshold_is_kept_with_the_model_and_a_flag_outranks_it(llmkit, sorter, topics, tmp_path, flags):
    run = tmp_path / "run"
    ran = llmkit("finetune", topics, "-m", sorter, "-o", run, "--max-steps", "2", *flags, "--json")
    assert ran.code == 0, ran.err
    kept = float(flags[1]) if flags else 0.5
    assert json.loads((run / "config.json").read_text())["threshold"] == kept
    assert llmkit("eval", topics, "-m", run, "--json").json["metrics"] == ran.json["metrics"]
    chances, truth = plain_chances(run, TEXTS), truth_of(ROWS, TOPICS)
    for more, threshold in (((), kept), (("--threshold", "0.45"), 0.45)):
        ran = llmkit("eval", topics, "-m", run, "--split", "train", *more, "--json")
        found = ran.json
        expected = sklearn_metrics.f1_score(truth, chances >= threshold, average="micro")
        assert values(found)["f1_micro"] == pytest.approx(expected)
        assert f"a label is predicted from a probability of {threshold:g}" in ran.err
        assert found["cached"] is bool(more)  # the answers are the same, however they are read
        (row,) = llmkit("classify", TEXTS[0], "-m", run, *more).rows
        assert set(row["labels"]) == {name for name, one in zip(TOPICS, chances[0], strict=True) if one >= threshold}


def test_finetune_tunes_the_threshold_on_the_validation_rows_and_says_so(llmkit, sorter, topics, tmp_path):
    validation = write_jsonl(tmp_path / "validation.jsonl", tiny.topics(24, seed=5))
    run = tmp_path / "run"
    command = (
        "finetune",
        topics,
        "-m",
        sorter,
        "-o",
        run,
        "--max-steps",
        "3",
        "--validation",
        validation,
        "--threshold",
        "auto",
        "--json",
    )
    ran = llmkit(*command)
    assert ran.code == 0, ran.err
    kept = json.loads((run / "config.json").read_text())["threshold"]
    assert kept != 0.5
    assert f"threshold: {kept:g}, which gives the best f1_micro of the 24 validation rows" in ran.err
    assert "from a probability that is tuned after training" in ran.err
    assert "optimistic" in ran.err
    rows = read_jsonl(validation)
    chances, truth = plain_chances(run, [row["text"] for row in rows]), truth_of(rows, TOPICS)
    best = max(sklearn_metrics.f1_score(truth, chances >= one, average="micro") for one in chances.ravel())
    assert values(ran.json)["f1_micro"] == pytest.approx(best)
    assert best > sklearn_metrics.f1_score(truth, chances >= 0.5, average="micro")
    assert llmkit("eval", validation, "-m", run, "--json").json["metrics"] == ran.json["metrics"]
    again = llmkit(*command, "--resume")
    assert "nothing to do" in again.err
    assert again.json["metrics"] == ran.json["metrics"]
    for verb in (("eval", topics), ("classify", "the film")):
        refused = llmkit(*verb, "-m", run, "--threshold", "auto")
        assert refused.code == 2
        assert "--threshold auto is for finetune" in refused.error


@pytest.mark.parametrize("threshold", ["0.5", 1.5, True, None])
def test_a_config_with_a_threshold_that_is_none_is_refused(sorter, threshold):
    config = AutoConfig.from_pretrained(sorter)
    config.threshold = threshold
    with pytest.raises(ModelError, match="a number between 0 and 1 is wanted"):
        config_threshold(config)


@pytest.mark.parametrize(
    ("cell", "sentence"),
    [
        ("art", """train[ing]*, row 3: 'art' where a list of labels is wanted, such as ["art"]"""),
        ("art, home", """'art, home' where a list of labels is wanted, such as ["art", "home"]"""),
        ('["art"', "row 3: '[\"art\"' where a list"),
        ('{"art": 1}', "row 3: '{\"art\": 1}' where a list"),
        ("[1, 0, 1]", "row 3: its labels [1, 0, 1] name '1' more than once: a list of those that hold is wanted"),
        ('["art", null]', "row 3: None is no label"),
        ('["art", true]', "row 3: True is no label"),
        ('["art", 0.5]', "row 3: 0.5 is no label"),
        ('["art", " "]', "row 3: ' ' is no label"),
    ],
)
def test_a_row_without_a_list_of_labels_is_named_and_nothing_is_written(llmkit, sorter, tmp_path, cell, sentence):
    rows = [{**row, "labels": json.dumps(row["labels"])} for row in ROWS]
    rows[2]["labels"] = cell
    data, run = write_csv(tmp_path / "rows.csv", rows), tmp_path / "run"
    for ran in (
        llmkit("finetune", data, "-m", sorter, "-o", run),
        llmkit("eval", data, "-m", sorter, "--split", "train"),
        llmkit("finetune", topics_file(tmp_path), "-m", sorter, "-o", run, "--validation", data),
    ):
        assert ran.code == 2, ran.err
        assert sentence.partition("row 3: ")[2] in ran.error
        assert "row 3: " in ran.error
        assert ran.out == ""
    assert not run.exists()


def topics_file(folder: Path) -> Path:
    return write_jsonl(folder / "sound.jsonl", ROWS)


def test_labels_that_do_not_suit_are_refused(llmkit, sorter, tmp_path):
    run = tmp_path / "run"
    mixed = write_jsonl(tmp_path / "mixed.jsonl", [*ROWS[:2], {"text": "a", "labels": "art"}])
    named = llmkit("finetune", mixed, "-m", sorter, "-o", run)
    assert (named.code, "str in row 3" in named.error) == (2, True)

    strings = write_jsonl(tmp_path / "strings.jsonl", [{"text": text, "topic": "art"} for text in TEXTS])
    told = llmkit("finetune", strings, "-m", sorter, "-o", run, "--column", "labels=topic")
    assert told.code == 2
    assert """training, row 1: 'art' where a list of labels is wanted, such as ["art"]""" in told.error

    joined = write_jsonl(tmp_path / "joined.jsonl", [{"text": text, "labels": "art, home"} for text in TEXTS])
    by_name = llmkit("finetune", joined, "-m", sorter, "-o", run, "--task", "multi-label-classification")
    assert by_name.code == 2
    assert """row 1: 'art, home' where a list of labels is wanted, such as ["art", "home"]""" in by_name.error
    task = llmkit("finetune", strings, "-m", sorter, "-o", run, "--task", "multi-label-classification")
    assert (task.code, "a list of labels" in task.error) == (2, True)

    other = write_jsonl(tmp_path / "other.jsonl", [*ROWS[:4], {"text": "a", "labels": ["art", "sport"]}])
    unseen = llmkit("finetune", topics_file(tmp_path), "-m", sorter, "-o", run, "--validation", other)
    assert unseen.code == 2
    assert "validation: label 'sport' (first in row 5) does not occur in training" in unseen.error
    unknown = llmkit("eval", other, "-m", sorter, "--split", "train")
    assert (unknown.code, "the model has no label 'sport'" in unknown.error) == (2, True)

    alone = write_jsonl(
        tmp_path / "alone.jsonl", [{"text": text, "labels": ["art"] * (n % 2)} for n, text in enumerate(TEXTS)]
    )
    single = llmkit("finetune", alone, "-m", sorter, "-o", run)
    assert (single.code, "only the label 'art'" in single.error) == (2, True)
    assert not run.exists()


def test_rows_without_a_list_are_left_out_and_an_empty_list_is_none_of_them(llmkit, sorter, tmp_path):
    rows = [*ROWS[:10], {"text": "the king", "labels": None}, {"text": " ", "labels": ["art"]}]
    data = write_jsonl(tmp_path / "rows.jsonl", rows)
    ran = llmkit("eval", data, "-m", sorter, "--json")
    assert ran.json["n"] == 10
    assert "2 of 12 rows have no text or no list of labels and are left out" in ran.err
    cells = [
        {"text": row["text"], "labels": cell} for row, cell in zip(ROWS, ('["art"]', "", "  ", "[]"), strict=False)
    ]
    blank = llmkit("eval", write_csv(tmp_path / "blank.csv", cells), "-m", sorter, "--json")
    assert blank.json["n"] == 2
    none = sum(not row["labels"] for row in ROWS[:10])
    assert none
    assert f"labels a row, none in {none} rows;" in ran.err


def test_no_label_is_left_without_a_training_row_by_a_cut():
    rows = [{"text": str(number), "labels": ["often", *(["rare"] if number in (4, 7) else [])]} for number in range(10)]
    for seed in range(20):
        kept, aside = cut_rows(Dataset.from_list(rows), Cut("train", 0.3, seed, column="labels"))
        assert len(aside) == 3
        assert any("rare" in labels for labels in kept["labels"])


def test_a_saved_file_of_predictions_gives_the_same_figures(llmkit, topical, topics, tmp_path):
    for suffix in ("jsonl", "csv"):
        file = tmp_path / f"preds.{suffix}"
        measured = llmkit("eval", topics, "-m", topical, "--save-predictions", file, "--json").json
        scored = llmkit("eval", topics, "--predictions", file, "--json")
        assert scored.code == 0, scored.err
        assert scored.json["task"] == "multi-label-classification"
        assert scored.json["metrics"] == measured["metrics"]
        assert scored.json["per_class"] == measured["per_class"]
    rows = [{"text": row["text"], "prediction": row["labels"]} for row in ROWS]  # any system's, without scores
    known = llmkit("eval", topics, "--predictions", write_jsonl(tmp_path / "others.jsonl", rows), "--json").json
    assert values(known) == {name: 1.0 for name in measured["metrics"] if name not in ("average_precision", "roc_auc")}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"prediction": "art"}, """predictions, row 2: 'art' where a list of labels is wanted, such as ["art"]"""),
        ({"prediction": ["art", "arts"]}, "predictions, row 2: 'arts' is none of the dataset's labels"),
        ({"prediction": ["art", "art"]}, "name 'art' more than once"),
        ({"scores": {"art": 0.5, "home": 0.4}}, "predictions, row 2: its scores are of 'art', 'home'; one for each"),
        ({"scores": dict.fromkeys(TOPICS, 1.5)}, "predictions, row 2: its scores must be probabilities, not"),
    ],
)
def test_a_prediction_that_is_no_list_of_labels_is_named(llmkit, topics, tmp_path, change, sentence):
    scores = dict.fromkeys(TOPICS, 0.75)  # they need not sum to 1
    rows = [{"text": row["text"], "prediction": row["labels"], "scores": scores} for row in ROWS]
    assert llmkit("eval", topics, "--predictions", write_jsonl(tmp_path / "good.jsonl", rows)).code == 0
    rows[1] |= change
    ran = llmkit("eval", topics, "--predictions", write_jsonl(tmp_path / "bad.jsonl", rows))
    assert ran.code == 2
    assert sentence in ran.error


def test_gates_and_a_paired_comparison(llmkit, topical, sorter, topics, tmp_path):
    files = Files(tmp_path)
    assert llmkit("eval", topics, "-m", topical, *files.flags).code == 0
    score = values(files.result)["f1_micro"]
    assert llmkit("eval", topics, "-m", topical, "--fail-under", f"f1_micro={score - 0.01}").code == 0
    failed = llmkit("eval", topics, "-m", topical, "--fail-under", f"f1_micro={score + 0.01}")
    assert failed.code == 1
    same = llmkit("eval", topics, "-m", topical, "--baseline", files.json, "--max-drop", "f1_micro=0.01", "--json")
    assert same.code == 0
    assert same.json["baseline"]["flips"]["changed"] == 0
    worse = llmkit("eval", topics, "-m", sorter, "--baseline", topical, "--max-drop", "f1_micro=0.01", "--json")
    assert worse.code == 1
    before, after = (plain_chances(model, TEXTS) >= 0.5 for model in (topical, sorter))
    assert worse.json["baseline"]["flips"]["changed"] == int((before != after).any(1).sum()) > 0
    difference = worse.json["baseline"]["metrics"]["f1_micro"]
    truth = truth_of(ROWS, TOPICS)
    scores = [sklearn_metrics.f1_score(truth, guess, average="micro") for guess in (before, after)]
    assert difference["difference"] == pytest.approx(scores[1] - scores[0])


def test_labels_are_matched_by_name_or_by_the_map_and_two_outputs_can_be_one(llmkit, topical, tmp_path):
    german = {"art": "Kunst", "home": "Zuhause", "nature": "Natur"}
    rows = [{"text": row["text"], "labels": [german[name] for name in row["labels"]]} for row in ROWS]
    data = write_jsonl(tmp_path / "rows.jsonl", rows)
    refused = llmkit("eval", data, "-m", topical)
    assert (refused.code, "--label-map" in refused.error) == (2, True)
    flags = [flag for name, other in german.items() for flag in ("--label-map", f"{name}={other}")]
    mapped = llmkit("eval", data, "-m", topical, *flags, "--json").json
    plain = llmkit("eval", write_jsonl(tmp_path / "own.jsonl", ROWS), "-m", topical, "--json").json
    assert values(mapped) == values(plain)

    two = [
        {"text": row["text"], "labels": sorted({"in" if name == "home" else "out" for name in row["labels"]})}
        for row in ROWS
    ]
    ran = llmkit(
        "eval",
        write_jsonl(tmp_path / "two.jsonl", two),
        "-m",
        topical,
        "--label-map",
        "home=in",
        "--label-map",
        "art=out",
        "--label-map",
        "nature=out",
        "--json",
    )
    chances = plain_chances(topical, TEXTS)
    joined = np.stack([chances[:, [0, 2]].max(1), chances[:, 1]], axis=1)  # either of them says "out"
    truth = truth_of(two, ["out", "in"])
    assert values(ran.json)["f1_micro"] == pytest.approx(
        sklearn_metrics.f1_score(truth, joined >= 0.5, average="micro")
    )


def test_a_multi_label_model_is_no_classifier_of_one_label(classifier, sorter):
    single, several = (AutoConfig.from_pretrained(model) for model in (classifier, sorter))
    assert [task.supports(single) for task in (TextClassification(), MultiLabelClassification())] == [True, False]
    assert [task.supports(several) for task in (TextClassification(), MultiLabelClassification())] == [False, True]


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({"text": "a", "labels": ["x"]}, {"text": "text", "labels": "labels"}),
        ({"review": "a", "topics": ["x"], "words": ["a"]}, {"text": "review", "labels": "topics"}),
        (
            {"premise": "a", "hypothesis": "b", "label": [1]},
            {"text": "premise", "pair": "hypothesis", "labels": "label"},
        ),
        ({"text": "a", "labels": '["x"]'}, {"text": "text", "labels": "labels"}),
        ({"text": "a", "labels": []}, {"text": "text", "labels": "labels"}),
        ({"text": "a", "labels": "x"}, None),
        ({"text": "a", "labels": "[x]"}, None),
        ({"text": "a", "labels": [0.5]}, None),
        ({"text": "a", "words": ["x"]}, None),
        ({"tokens": ["a"], "tags": ["x"]}, None),
    ],
)
def test_columns_are_told_by_lists_of_labels(row, found):
    assert MultiLabelClassification().columns.match(Dataset.from_list([row]), {}) == found


def test_the_check_of_batches_looks_at_each_label(llmkit, topical, topics, monkeypatch):
    from llmkit.tasks import multi_label_classification

    original = multi_label_classification.pad_batch

    def careless(rows, tokenizer, kind):
        batch = original(rows, tokenizer, kind)
        return {**batch, "attention_mask": torch.ones_like(batch["attention_mask"])}

    monkeypatch.setattr(multi_label_classification, "pad_batch", careless)
    checked = llmkit("eval", topics, "-m", topical, "--check-invariance", "40", "--json").json["invariance"]
    assert checked["changed"] == len(checked["changed_rows"]) > 0
    assert {row["alone"] for row in checked["changed_rows"]} <= {"holds", "does not hold"}
    assert all(row["alone"] != row["together"] for row in checked["changed_rows"])


def test_swapped_terms_flip_sets_of_labels(llmkit, topical, topics, tmp_path):
    terms = tmp_path / "terms.csv"
    terms.write_text("film,river\n")
    result = valid(llmkit("eval", topics, "-m", topical, "--swap", terms, "--json").json)
    swap = result["swap"]
    held = [text for text in TEXTS if "film" in text or "river" in text]
    other = [text.replace("film", "?").replace("river", "film").replace("?", "river") for text in held]
    before, after = (plain_chances(topical, texts) >= 0.5 for texts in (held, other))
    assert swap["n"] == len(held)
    assert swap["flipped"] == int((before != after).any(1).sum()) > 0
    assert all(sorted(row["before"]) != sorted(row["after"]) for row in swap["rows"])


def test_terms_are_swapped_in_texts_alone(llmkit, tagger, tmp_path):
    (tmp_path / "terms.csv").write_text("film,river\n")
    data = write_jsonl(tmp_path / "words.jsonl", tiny.entities(8))
    ran = llmkit("eval", data, "-m", tagger, "--swap", tmp_path / "terms.csv")
    assert ran.code == 2
    assert "--swap changes texts, and column 'tokens' holds lists" in ran.error


def test_slices_plots_and_reports_of_sets_of_labels(llmkit, topical, tmp_path):
    rows = [{**row, "part": "ab"[place % 2]} for place, row in enumerate(ROWS)]
    data, files = write_jsonl(tmp_path / "rows.jsonl", rows), Files(tmp_path)
    ran = llmkit("eval", data, "-m", topical, "--slice", "part", "--plots", tmp_path / "plots", *files.flags)
    assert ran.code == 0, ran.err
    halves = files.result["slices"]["part"]["values"]
    for place, part in enumerate("ab"):
        chances, truth = plain_chances(topical, TEXTS[place::2]), truth_of(ROWS[place::2], TOPICS)
        expected = sklearn_metrics.f1_score(truth, chances >= 0.5, average="micro")
        assert halves[part]["metrics"]["f1_micro"]["value"] == pytest.approx(expected)
    assert list((tmp_path / "plots").iterdir())
    assert files.rows[0]["label"] == ROWS[0]["labels"]
