"""Several datasets trained on together: `llmkit finetune a.jsonl@2 b.csv`."""

from __future__ import annotations

import json
from collections import Counter

import pytest
import tiny
from conftest import write_csv, write_jsonl
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from llmkit.data import Source
from llmkit.data.parts import Part
from llmkit.data.splits import ComponentRecord
from llmkit.options import DataOptions, SplitOptions
from llmkit.tasks import TASKS
from llmkit.training.rows.mixture import MixtureComponent, align_columns, joined, weighted


@pytest.fixture
def both(tmp_path, monkeypatch):
    """Two files of reviews that call their columns differently, without validation rows."""
    monkeypatch.chdir(tmp_path)
    rows = tiny.reviews(100)
    write_jsonl(tmp_path / "a.jsonl", rows[:60])
    write_csv(
        tmp_path / "b.csv", [{"review": r["text"], "number": n, "stars": r["label"]} for n, r in enumerate(rows[60:])]
    )
    return tmp_path


def test_a_mix_is_trained_on_by_its_weights_and_eval_finds_the_rows_that_each_dataset_was_cut(llmkit, both, classifier):
    ran = llmkit("finetune", "a.jsonl@2", "b.csv@0.5", "-m", classifier, "-o", "run", "--max-steps", "2", "--json")
    assert ran.code == 0, ran.err
    assert "a.jsonl: 54 rows to train on, each 2 times an epoch, 6 to measure on" in ran.err
    assert "b.csv: 36 rows to train on, each 0.5 times an epoch, 4 to measure on" in ran.err
    data = json.loads((both / "run" / "run.json").read_text())["data"]
    assert (data["train_rows"], data["validation_rows"]) == (54 * 2 + 18, 10)
    assert [(one["reference"], one["weight"]) for one in data["mix"]] == [("a.jsonl", 2), ("b.csv", 0.5)]
    parts = [
        llmkit("eval", name, "-m", "run", "--json", "--save-predictions", f"{name}.out.jsonl")
        for name in ("a.jsonl", "b.csv")
    ]
    assert [part.json["n"] for part in parts] == [6, 4]
    right = sum(part.json["metrics"]["accuracy"]["value"] * part.json["n"] for part in parts)
    assert right / 10 == pytest.approx(ran.json["metrics"]["accuracy"]["value"])


def test_pretraining_takes_weights_too(llmkit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text(tiny.corpus(40))
    (tmp_path / "b.txt").write_text(tiny.corpus(60))
    counts = []
    for references in (("a.txt", "b.txt"), ("a.txt@3", "b.txt")):
        ran = llmkit("pretrain", *references, "--max-length", "32", "--dry-run")
        assert ran.code == 0, ran.err
        counts.append(int(ran.err.split("text: ")[1].split(" tokens")[0].replace(",", "")))
    assert counts[1] > 1.5 * counts[0]
    assert "a.txt: 1 documents to train on, each 3 times an epoch" in ran.err


def test_a_weight_is_how_often_each_row_comes():
    rows = Dataset.from_dict({"row": list(range(10))})
    component_records = [
        ComponentRecord("a", None, 2.5, 4, 0, "", None),
        ComponentRecord("b", None, 0.5, 6, 0, "", None),
    ]
    times = Counter(weighted(Part("training", rows), component_records, 1)["row"])
    assert sorted(times[row] for row in range(4)) == [2, 2, 3, 3]
    assert sorted(times[row] for row in range(4, 10)) == [0, 0, 0, 1, 1, 1]
    assert Counter(weighted(Part("training", rows), component_records, 1)["row"]) == times
    kept = rows.select([0, 1, 4, 5])  # of which some rows were left out before
    times = Counter(weighted(Part("training", kept, [1, 2, 5, 6]), component_records, 1)["row"])
    assert [times[row] >= 2 for row in (0, 1)] == [True, True]
    assert sum(times[row] for row in (4, 5)) == 1


def test_classes_are_joined_by_their_names():
    def component(name, label, labels):
        rows = {"text": [f"{name} {place}" for place in range(len(labels))], "label": labels}
        features = Features(text=Value("string"), label=label)
        return MixtureComponent(Source(name, DatasetDict(train=Dataset.from_dict(rows, features=features))), 1.0)

    components = [
        component("a", ClassLabel(names=["good", "bad"]), [0, 1]),
        component("b", ClassLabel(names=["bad", "good"]), [0, 1]),
        component("c", Value("string"), ["bad", "good"]),
    ]
    columns = {"text": "text", "label": "label"}
    same = align_columns(components, TASKS["text-classification"], columns, DataOptions(), SplitOptions(), None)
    assert joined(same).splits["train"]["label"][:] == ["good", "bad", "bad", "good", "bad", "good"]


@pytest.mark.parametrize(
    ("references", "phrase"),
    [
        (("a.jsonl", "c.csv@2"), "there is no file or folder 'c.csv'"),
        (("a.jsonl@0", "b.csv"), "a.jsonl@0: a weight is a number above 0, as in a.jsonl@2, not '0'"),
        (("a.jsonl@much", "b.csv"), "not 'much'"),
        (("a.jsonl@nan", "b.csv"), "not 'nan'"),
        (("a.jsonl", "a.jsonl@2"), "a.jsonl is named twice"),
        (("a.jsonl", "numbers.csv"), "numbers.csv: the columns (one, two) fit no task"),
        (("a.jsonl", "pairs.csv"), "pairs.csv has text, pair, label, where a.jsonl has text, label"),
        (("a.jsonl", "scores.csv"), "scores.csv: its label is of another kind than that of a.jsonl"),
    ],
)
def test_a_mix_that_cannot_be_is_one_sentence(llmkit, both, classifier, references, phrase):
    write_csv(both / "numbers.csv", [{"one": n, "two": n / 2} for n in range(9)])
    write_csv(both / "pairs.csv", [{"sentence1": f"a {n}", "sentence2": f"b {n}", "label": "x"} for n in range(9)])
    write_csv(both / "scores.csv", [{"text": f"a {n}", "label": n / 3} for n in range(9)])
    ran = llmkit("finetune", *references, "-m", classifier, "-o", both / "run", "--max-steps", "1")
    assert ran.code == 2, ran.err
    assert phrase in ran.error
    assert not (both / "run").exists()
