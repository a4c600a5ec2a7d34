from __future__ import annotations

import json
import pickle
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
import transformers
from conftest import write_jsonl
from datasets import Dataset
from evaluating import lasting, valid
from transformers import AutoConfig, AutoTokenizer

from llmkit import metrics
from llmkit.inference import predict
from llmkit.tasks import TASKS, Setup

VERBS = ("pretrain", "finetune", "classify", "generate", "eval")


@dataclass(frozen=True)
class Case:
    """What the contract needs to know of a task: rows that suit it, rows that do not, a model, pretrain's arch."""

    rows: list[dict[str, Any]]
    unsuitable: list[dict[str, Any]]
    model: str
    columns: dict[str, str]
    arch: str | None = None


LINES = [{"id": number, "text": line} for number, line in enumerate(tiny.corpus(160).split("\n\n"))]
NUMBERS = [{"length": number, "width": number * 2} for number in range(4)]
CASES = {
    "text-classification": Case(tiny.reviews(48), LINES, "classifier", {"text": "text", "label": "label"}),
    "causal-lm": Case(LINES, NUMBERS, "llama", {"text": "text"}, arch="llama"),
    "masked-lm": Case(LINES, NUMBERS, "masked", {"text": "text"}, arch="bert"),
}


@pytest.fixture(params=sorted(TASKS))
def name(request) -> str:
    return request.param


@pytest.fixture
def model(request, name) -> Path:
    return request.getfixturevalue(CASES[name].model)


def test_every_task_has_a_case():
    assert set(CASES) == set(TASKS)
    assert all(TASKS[name].name == name for name in TASKS)


def test_a_task_keeps_its_contract_from_rows_to_a_saved_model(llmkit, name, model, tmp_path):
    task, case = TASKS[name], CASES[name]
    dataset = Dataset.from_list(case.rows)
    columns = task.fits(dataset, {})
    assert columns == case.columns
    assert task.fits(Dataset.from_list(case.unsuitable), {}) is None
    assert task.wants()

    config = AutoConfig.from_pretrained(model)
    assert task.opens(config)
    assert task.trains_on(config)
    assert task.usable(dataset, columns) == list(range(len(dataset)))
    labels = task.labels(dataset, None, columns)
    setup = Setup(columns=columns, max_length=32, labels=labels)
    task.check(setup)
    assert task.headline(setup) in task.usual_metrics(labels)
    assert set(task.usual_metrics(labels)) <= set(task.metric_names(labels)) <= set(metrics.METRICS)

    tokenizer = AutoTokenizer.from_pretrained(model)
    for training in (True, False):
        prepared = task.prepare(dataset, tokenizer, setup, training=training)
        assert list(prepared["length"]) == [len(ids) for ids in prepared["input_ids"]]
        assert 0 < max(prepared["length"]) <= 32
        batch = task.collator(tokenizer, setup)(prepared.select(range(4)).to_list())
        assert {"input_ids", "attention_mask", "labels"} <= set(batch)
        assert all(isinstance(value, torch.Tensor) and len(value) == 4 for value in batch.values())
        assert batch["input_ids"].shape == batch["attention_mask"].shape

    data = write_jsonl(tmp_path / "rows.jsonl", case.rows)
    run, steps = tmp_path / "run", ("--max-steps", "2", "--batch-size", "8")
    trained = llmkit("finetune", data, "-m", model, "-o", run, *steps, "--json")
    assert trained.code == 0, trained.err
    assert trained.json["task"] == name
    assert list(valid(trained.json)["metrics"]) == list(task.usual_metrics(labels))
    assert trained.json["headline"] == task.headline(setup)
    assert trained.json["n"] > 0
    first, second = (valid(llmkit("eval", data, "-m", run, "--json").json) for _ in range(2))
    assert (first["cached"], second["cached"]) == (False, True)
    assert lasting(first) == lasting(second)
    assert first["metrics"] == trained.json["metrics"]

    network = getattr(transformers, task.auto_class).from_pretrained(run)
    network.save_pretrained(tmp_path / "again")
    reopened = getattr(transformers, task.auto_class).from_pretrained(tmp_path / "again")
    prepared = task.prepare(dataset, tokenizer, setup, training=False)
    first, second = (predict(task, kind, tokenizer, prepared, setup, 4) for kind in (network, reopened))
    assert pickle.dumps(first) == pickle.dumps(second)
    assert len(first) == len(prepared)
    assert all(isinstance(float(number), float) for record in first for number in record)  # flat: the cache keeps them
    seen, again = (task.observe(records, prepared, tokenizer, setup) for records in (first, second))
    assert len(seen) == len(task.unit_contents(dataset, prepared, setup)) > 0
    assert set(metrics.names_for(seen)) == set(task.metric_names(labels))
    assert next(iter(task.counts(seen).values())) > 0
    for metric in task.metric_names(labels):
        assert metrics.value(metric, seen) == metrics.value(metric, again)


def test_units_are_rows_where_the_task_says_so(name, model):
    task, case = TASKS[name], CASES[name]
    dataset, tokenizer = Dataset.from_list(case.rows), AutoTokenizer.from_pretrained(model)
    labels = task.labels(dataset, None, case.columns)
    network = getattr(transformers, task.auto_class).from_pretrained(model)
    joined = Setup(columns=case.columns, max_length=16, labels=labels)
    for setup in (joined, replace(joined, per_row=True)):
        prepared = task.prepare(dataset, tokenizer, setup, training=False)
        seen = task.observe(predict(task, network, tokenizer, prepared, setup, 8), prepared, tokenizer, setup)
        assert len(seen) == len(task.unit_contents(dataset, prepared, setup))
        rows = task.unit_rows(prepared, setup)
        assert (rows is not None) == task.by_row(setup)
        assert rows is None or len(rows) == len(set(rows)) == len(seen)
    assert task.by_row(replace(joined, per_row=True))
    assert rows == list(range(len(dataset)))


@pytest.mark.parametrize("flags", [(), ("--per-row",)], ids=["usual", "per row"])
def test_the_batch_size_changes_neither_a_figure_nor_a_prediction(llmkit, name, model, tmp_path, flags):
    if flags and TASKS[name].by_row(Setup(columns={}, max_length=8)):
        return  # its units are rows anyway, and the flag is refused
    data = write_jsonl(tmp_path / "rows.jsonl", CASES[name].rows)
    files = [tmp_path / f"{size}.json" for size in (3, 16)]
    for size, file in zip((3, 16), files):
        ran = llmkit("eval", data, "-m", model, "--batch-size", size, "-o", file, *flags, "--no-cache")
        assert ran.code == 0, ran.err
    small, large = (valid(json.loads(file.read_text())) for file in files)
    assert (small["batch_size"], large["batch_size"]) == (3, 16)
    for metric, figure in small["metrics"].items():
        other = large["metrics"][metric]
        for part in ("value", "low", "high"):
            assert figure[part] is other[part] is None or figure[part] == pytest.approx(other[part], rel=1e-5, abs=1e-5)
    for column, values in small["rows"].items():
        if column in ("nll", "scores"):
            assert np.asarray(values) == pytest.approx(np.asarray(large["rows"][column]), rel=1e-5, abs=1e-5)
        else:
            assert values == large["rows"][column]
    assert small["invariance"]["changed"] == 0


def test_a_task_can_be_pretrained_or_says_which_can(llmkit, name, corpus, tmp_path):
    case, run = CASES[name], tmp_path / "run"
    flags = ("-o", run, "--max-length", "32", "--vocab-size", "300", "--max-steps", "2", "--json")
    ran = llmkit("pretrain", corpus, "--task", name, *flags)
    able = [other for other, task in TASKS.items() if "pretrain" in task.verbs]
    if name in able:
        assert ran.code == 0, ran.err
        assert ran.json["task"] == name
        assert case.arch in TASKS[name].families
    else:
        assert ran.code == 2
        assert all(other in ran.error for other in able)
        assert not run.exists()


@pytest.mark.parametrize("verb", VERBS)
def test_what_a_task_cannot_do_is_a_sentence_that_names_the_tasks_that_can(llmkit, name, model, verb, tmp_path):
    task = TASKS[name]
    able = [other.name for other in TASKS.values() if verb in other.verbs]
    assert able
    if verb in task.verbs:
        return
    what = tmp_path / "corpus.txt" if verb == "pretrain" else "the fox"
    (tmp_path / "corpus.txt").write_text(tiny.corpus(40))
    ran = llmkit(verb, what, "-m", model)
    assert ran.code == 2
    assert name in ran.error
    assert all(other in ran.error for other in able)
    assert all(f"llmkit {other}" in ran.error for other in task.verbs)
    assert ran.out == ""


def test_a_model_of_another_task_is_refused_by_eval_with_its_own_named(llmkit, name, model, tmp_path):
    data = write_jsonl(tmp_path / "rows.jsonl", CASES[name].rows)
    for other in set(TASKS) - {name}:
        ran = llmkit("eval", data, "-m", model, "--task", other)
        assert ran.code == 2
        assert name in ran.error
    unknown = llmkit("eval", data, "-m", model, "--task", name + "x")
    assert unknown.code == 2
    assert f"did you mean '{name}'" in unknown.error


def test_weights_without_the_tasks_head_are_refused_rather_than_made_up(llmkit, name, model, tmp_path):
    from safetensors.torch import load_file, save_file

    beheaded = tmp_path / "beheaded"
    shutil.copytree(model, beheaded)
    kept = load_file(beheaded / "model.safetensors")
    lost = "model.norm.weight" if name == "causal-lm" else next(key for key in kept if not key.startswith("bert."))
    del kept[lost]
    save_file(kept, beheaded / "model.safetensors", metadata={"format": "pt"})
    data = write_jsonl(tmp_path / "rows.jsonl", CASES[name].rows)
    ran = llmkit("eval", data, "-m", beheaded)
    assert ran.code == 2, ran.err
    assert "lacks weights" in ran.error
