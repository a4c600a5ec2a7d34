from __future__ import annotations

import json
import shutil

import pytest
import tiny
import torch
from conftest import write_jsonl
from datasets import Dataset
from evaluating import read_jsonl, valid
from scipy.stats import pearsonr, spearmanr
from transformers import AutoModel, AutoTokenizer

from llmkit.tasks import TASKS

TASK = TASKS["sentence-similarity"]
PAIRS = tiny.likenesses(24)


def plain(folder, rows: list[dict], mode: str = "mean") -> list[float]:
    """Return the cosines of the two texts of each row from transformers alone, one text at a time."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    cosines = []
    for row in rows:
        pair = []
        for column in ("sentence1", "sentence2"):
            with torch.inference_mode():
                hidden = model(**tokenizer(row[column], return_tensors="pt")).last_hidden_state[0]
            pair.append(hidden[0] if mode == "cls" else hidden.mean(0))
        cosines.append(torch.nn.functional.cosine_similarity(*pair, dim=0).item())
    return cosines


def test_eval_gives_the_correlations_of_a_plain_script(llmkit, encoder, tmp_path):
    data, saved = write_jsonl(tmp_path / "pairs.jsonl", PAIRS), tmp_path / "saved.jsonl"
    ran = llmkit("eval", data, "-m", encoder, "--save-predictions", saved, "--json")
    assert ran.code == 0, ran.err
    result, cosines, truth = valid(ran.json), plain(encoder, PAIRS), [row["score"] for row in PAIRS]
    assert (result["task"], result["headline"], list(result["metrics"])) == (
        "sentence-similarity",
        "spearman",
        ["pearson", "spearman"],
    )
    assert [row["prediction"] for row in read_jsonl(saved)] == pytest.approx(cosines, abs=1e-6)
    assert result["metrics"]["pearson"]["value"] == pytest.approx(pearsonr(cosines, truth)[0], abs=1e-6)
    assert result["metrics"]["spearman"]["value"] == pytest.approx(spearmanr(cosines, truth)[0], abs=1e-6)
    assert result["invariance"]["changed"] == 0


def test_the_models_own_pooling_is_what_is_measured(llmkit, encoder, tmp_path):
    own = shutil.copytree(encoder, tmp_path / "own")
    (own / "1_Pooling").mkdir()
    kinds = [("Transformer", ""), ("Pooling", "1_Pooling")]
    modules = [{"type": f"sentence_transformers.models.{kind}", "path": path} for kind, path in kinds]
    (own / "modules.json").write_text(json.dumps(modules))
    (own / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    data, saved = write_jsonl(tmp_path / "pairs.jsonl", PAIRS), tmp_path / "saved.jsonl"
    ran = llmkit("eval", data, "-m", own, "--save-predictions", saved)
    assert ran.code == 0, ran.err
    found = [row["prediction"] for row in read_jsonl(saved)]
    assert found == pytest.approx(plain(own, PAIRS, "cls"), abs=1e-6)
    assert found != pytest.approx(plain(own, PAIRS), abs=1e-3)


def test_a_classifier_is_measured_so_where_it_is_asked_for_and_else_as_a_classifier(llmkit, classifier, tmp_path):
    data = write_jsonl(tmp_path / "pairs.jsonl", PAIRS)
    ran = llmkit("eval", data, "-m", classifier, "--task", "sentence-similarity", "--json")
    assert (ran.code, ran.json["task"]) == (0, "sentence-similarity")
    assert llmkit("eval", data, "-m", classifier, "--json").code == 2  # its two labels are no number


def test_german_and_chinese_pairs_are_read(llmkit, encoder, tmp_path):
    rows = [
        {"sentence1": "der Fuchs ist gut", "sentence2": "der König ist böse", "score": 1.0},
        {"sentence1": "狐狸很好。", "sentence2": "狐狸很好。", "score": 5.0},
        {"sentence1": "河水很冷。", "sentence2": "the garden", "score": 0.0},
    ]
    saved = tmp_path / "saved.jsonl"
    ran = llmkit("eval", write_jsonl(tmp_path / "pairs.jsonl", rows), "-m", encoder, "--save-predictions", saved)
    assert ran.code == 0, ran.err
    found = [row["prediction"] for row in read_jsonl(saved)]
    assert found == pytest.approx(plain(encoder, rows), abs=1e-6)
    assert found[1] == pytest.approx(1.0)


def test_rows_without_a_text_or_a_number_are_left_out_and_counted(llmkit, encoder, tmp_path):
    holes = [{**PAIRS[0], "sentence2": " "}, {**PAIRS[0], "sentence1": None}, {**PAIRS[0], "score": None}]
    ran = llmkit("eval", write_jsonl(tmp_path / "pairs.jsonl", [*holes, *PAIRS]), "-m", encoder, "--json")
    assert (ran.code, ran.json["n"]) == (0, len(PAIRS))
    assert "3 of 27 rows have a blank text or no number and are left out" in ran.err


@pytest.mark.parametrize(
    "rows",
    [
        [{"text": "a", "label": 1.0}],
        [{"sentence1": "a", "sentence2": "b"}],
        [{"sentence1": "a", "sentence2": "b", "label": "yes"}],
    ],
    ids=["no pair", "no label", "no number"],
)
def test_rows_that_are_no_pairs_with_a_number_do_not_fit(llmkit, encoder, tmp_path, rows):
    assert TASK.columns.match(Dataset.from_list(rows), {}) is None
    ran = llmkit("eval", write_jsonl(tmp_path / "rows.jsonl", rows), "-m", encoder)
    assert ran.code == 2
    assert "two texts and a number" in ran.error


def test_hidden_labels_are_no_labels():
    columns = {"text": "sentence1", "pair": "sentence2", "label": "score"}
    assert TASK.columns.has_labels(Dataset.from_list(PAIRS), columns)
    assert not TASK.columns.has_labels(Dataset.from_list([{**row, "score": -1.0} for row in PAIRS]), columns)
    assert not TASK.columns.has_labels(Dataset.from_list([{"sentence1": "a", "sentence2": "b"}]), columns)
