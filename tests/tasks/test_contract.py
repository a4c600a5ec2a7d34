from __future__ import annotations

import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
import transformers
from conftest import write_jsonl
from datasets import Dataset
from evaluating import lasting, valid
from task_cases import CASES, settings_of
from transformers import AutoConfig, AutoTokenizer

from llmkit import metrics
from llmkit.inference.prediction import predict
from llmkit.tasks import TASKS, Reference, TaskSettings
from llmkit.training.loop.losses import Loss
from llmkit.training.loop.recipe import balanced_weights

VERBS = ("pretrain", "finetune", "classify", "generate", "eval")  # embed takes any model


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
    columns = task.columns.match(dataset, {})
    assert columns == case.columns
    assert task.columns.match(Dataset.from_list(case.unsuitable), {}) is None
    assert task.columns.requirement()

    config = AutoConfig.from_pretrained(model)
    assert task.supports(config)
    assert task.can_finetune(config) or "finetune" not in task.commands
    assert task.columns.usable_rows(dataset, columns) == list(range(len(dataset)))
    assert task.columns.first_invalid_row(dataset, columns) is None
    tokenizer = AutoTokenizer.from_pretrained(model)
    settings = settings_of(name, dataset, config, tokenizer)
    labels = settings.labels
    task.check_settings(settings)
    assert task.headline_metric(settings) in task.default_metrics(labels)
    assert set(task.default_metrics(labels)) <= set(task.metric_names(labels)) <= set(metrics.METRICS)

    for training in (True, False) if "finetune" in task.commands else (False,):
        prepared = task.encoding.encode(dataset, tokenizer, settings, training=training)
        assert 0 < min(prepared["length"]) <= max(prepared["length"]) <= 32
        batch = task.encoding.collator(tokenizer, settings)(prepared.select(range(4)).to_list())
        assert all(isinstance(value, torch.Tensor) and len(value) == 4 for value in batch.values())
        assert batch["input_ids"].shape == batch["attention_mask"].shape
        if training:  # the loss that it learns from
            network = getattr(transformers, task.auto_class_for(config)).from_pretrained(model)
            loss = task.loss(network, batch)
            assert (network(**batch).loss if loss is None else loss).isfinite()
            counts = task.class_counts(prepared, settings)
            weights = None if counts is None else balanced_weights(counts)
            if task.supports_label_smoothing(settings) or weights:
                plain, other = Loss(), Loss(0.2 if task.supports_label_smoothing(settings) else 0.0, weights)
                assert plain.terms(task, network, batch).item() != other.terms(task, network, batch).item() > 0
                assert plain.sizes(network, batch).item() >= 4
            assert all(values.ends[0] < values.ends[-1] for values in task.search_space(settings).values())

    data = write_jsonl(tmp_path / "rows.jsonl", case.rows)
    run, steps = model, ("--max-steps", "2", "--batch-size", "8")
    if "finetune" in task.commands:
        run = tmp_path / "run"
        trained = llmkit("finetune", data, "-m", model, "-o", run, *case.flags, *steps, "--json")
        assert trained.code == 0, trained.err
        assert trained.json["task"] == name
        told = replace(settings, reference=Reference(str(model))) if task.needs_reference_outputs else settings
        assert list(valid(trained.json)["metrics"]) == list(task.metrics_for(told))
        assert trained.json["headline"] == task.headline_metric(told)
        assert trained.json["n"] > 0
    again = ("eval", data, "-m", run, *(case.flags if run == model else ()), "--json")  # a run knows what it is for
    first, second = (valid(llmkit(*again).json) for _ in range(2))
    assert first["task"] == name
    assert (first["cached"], second["cached"]) == (False, True)
    assert lasting(first) == lasting(second)
    if "finetune" in task.commands:
        assert first["metrics"] == trained.json["metrics"]

    network = getattr(transformers, task.auto_class_for(config)).from_pretrained(run)
    network.save_pretrained(tmp_path / "again")
    reopened = getattr(transformers, task.auto_class_for(config)).from_pretrained(tmp_path / "again")
    prepared = task.encoding.encode(dataset, tokenizer, settings, training=False)
    first, second = (predict(task, kind, tokenizer, prepared, settings, 4) for kind in (network, reopened))
    assert pickle.dumps(first) == pickle.dumps(second)
    assert len(first) == len(prepared)
    assert all(isinstance(float(number), float) for record in first for number in record)  # flat: the cache keeps them
    seen, again = (
        task.answers.evaluation_arrays(records, prepared, tokenizer, settings) for records in (first, second)
    )
    assert len(seen) == len(task.answers.unit_contents(dataset, prepared, settings)) > 0
    assert set(task.metrics_for(settings)) <= set(metrics.names_for(seen)) <= set(task.metric_names(labels))
    assert next(iter(task.answers.counts(seen).values())) > 0
    for metric in metrics.names_for(seen):
        assert metrics.value(metric, seen) == pytest.approx(metrics.value(metric, again), rel=0, abs=0, nan_ok=True)


def test_units_are_rows_where_the_task_says_so(name, model):
    task, case = TASKS[name], CASES[name]
    dataset, tokenizer = Dataset.from_list(case.rows), AutoTokenizer.from_pretrained(model)
    config = AutoConfig.from_pretrained(model)
    network = getattr(transformers, task.auto_class_for(config)).from_pretrained(model)
    joined = settings_of(name, dataset, config, tokenizer)
    for settings in (joined, replace(joined, per_row=True)):
        prepared = task.encoding.encode(dataset, tokenizer, settings, training=False)
        seen = task.answers.evaluation_arrays(
            predict(task, network, tokenizer, prepared, settings, 8), prepared, tokenizer, settings
        )
        assert len(seen) == len(task.answers.unit_contents(dataset, prepared, settings))
        rows = task.answers.unit_rows(prepared, settings)
        assert (rows is not None) == task.answers.one_row_per_unit(settings)
        assert rows is None or len(rows) == len(set(rows)) == len(seen)
    assert task.answers.one_row_per_unit(replace(joined, per_row=True))
    assert rows == list(range(len(dataset)))


@pytest.mark.parametrize("flags", [(), ("--per-row",)], ids=["usual", "per row"])
def test_the_batch_size_changes_neither_a_figure_nor_a_prediction(llmkit, name, model, tmp_path, flags):
    if flags and TASKS[name].answers.one_row_per_unit(TaskSettings(columns={}, max_length=8)):
        return  # its units are rows anyway, and the flag is refused
    data = write_jsonl(tmp_path / "rows.jsonl", CASES[name].rows)
    files = [tmp_path / f"{size}.json" for size in (3, 16)]
    for size, file in zip((3, 16), files):
        flagged = (*CASES[name].flags, *flags)
        ran = llmkit("eval", data, "-m", model, "--batch-size", size, "-o", file, *flagged, "--no-cache")
        assert ran.code == 0, ran.err
    small, large = (valid(json.loads(file.read_text())) for file in files)
    assert (small["batch_size"], large["batch_size"]) == (3, 16)
    for metric, figure in small["metrics"].items():
        other = large["metrics"][metric]
        for part in ("value", "low", "high"):
            assert figure[part] is other[part] is None or figure[part] == pytest.approx(other[part], rel=1e-5, abs=1e-5)
    for column, values in small["rows"].items():
        if column in ("nll", "scores") and values is not None:
            pairs = zip(np.hstack(values), np.hstack(large["rows"][column]), strict=True)
            assert all(one == pytest.approx(other, rel=1e-5, abs=1e-5) for one, other in pairs)
        else:
            assert values == large["rows"][column]
    assert small["invariance"]["changed"] == 0


def test_a_task_can_be_pretrained_or_says_which_can(llmkit, name, corpus, tmp_path):
    case, run = CASES[name], tmp_path / "run"
    flags = ("-o", run, "--max-length", "32", "--vocab-size", "300", "--max-steps", "2", "--json")
    ran = llmkit("pretrain", corpus, "--task", name, *flags)
    able = [other for other, task in TASKS.items() if "pretrain" in task.commands]
    if name in able:
        assert ran.code == 0, ran.err
        assert ran.json["task"] == name
        assert case.arch in TASKS[name].architectures
    else:
        assert ran.code == 2
        assert all(other in ran.error for other in able)
        assert not run.exists()


@pytest.mark.parametrize("verb", VERBS)
def test_what_a_task_cannot_do_is_a_sentence_that_names_the_tasks_that_can(llmkit, name, model, verb, tmp_path):
    task = TASKS[name]
    able = [other.name for other in TASKS.values() if verb in other.commands]
    assert able
    if verb in task.commands:
        return
    what = tmp_path / "corpus.txt" if verb == "pretrain" else "the fox"
    (tmp_path / "corpus.txt").write_text(tiny.corpus(40))
    ran = llmkit(verb, what, "-m", model, *CASES[name].flags)
    assert ran.code == 2
    assert name in ran.error
    assert all(other in ran.error for other in able)
    assert all(f"llmkit {other}" in ran.error for other in task.commands)
    assert ran.out == ""


def test_a_model_of_another_task_is_refused_by_eval_with_its_own_named(llmkit, name, model, tmp_path):
    data = write_jsonl(tmp_path / "rows.jsonl", CASES[name].rows)
    config = AutoConfig.from_pretrained(model)
    for other in sorted(set(TASKS) - {name}):
        if TASKS[other].supports(config):
            continue  # the model can do that too
        ran = llmkit("eval", data, "-m", model, "--task", other)
        assert ran.code == 2
        assert other in ran.error
        assert any(own in ran.error for own in TASKS if TASKS[own].supports(config))
    unknown = llmkit("eval", data, "-m", model, "--task", name + "x")
    assert unknown.code == 2
    assert f"did you mean '{name}'" in unknown.error


def test_weights_without_the_tasks_head_are_refused_rather_than_made_up(llmkit, name, model, tmp_path):
    from safetensors.torch import load_file, save_file

    beheaded = tmp_path / "beheaded"
    shutil.copytree(model, beheaded)
    kept = load_file(beheaded / "model.safetensors")
    head = CASES[name].head
    lost = next(key for key in kept if (key.startswith(head) if head else not key.startswith("bert.")))
    del kept[lost]
    save_file(kept, beheaded / "model.safetensors", metadata={"format": "pt"})
    data = write_jsonl(tmp_path / "rows.jsonl", CASES[name].rows)
    ran = llmkit("eval", data, "-m", beheaded, *CASES[name].flags)
    assert ran.code == 2, ran.err
    assert "lacks weights" in ran.error


def test_an_adapter_of_the_task_is_measured_as_it_was_trained_and_merged_into_the_same_model(
    llmkit, name, model, tmp_path
):
    case, run, data = CASES[name], tmp_path / "run", write_jsonl(tmp_path / "rows.jsonl", CASES[name].rows)
    if "finetune" not in TASKS[name].commands:
        return
    steps = ("--max-steps", "2", "--batch-size", "8", "--json")
    trained = llmkit("finetune", data, "-m", model, "-o", run, *case.flags, *steps, "--lora", "--lora-rank", "2")
    assert trained.code == 0, trained.err
    assert sorted(file.name for file in run.glob("*.safetensors")) == ["adapter_model.safetensors"]
    measured = llmkit("eval", data, "-m", run, "--json")
    assert valid(measured.json)["metrics"] == trained.json["metrics"], measured.err
    merged = llmkit("merge", run, "-o", tmp_path / "merged", "--json")
    assert (merged.code, merged.json["agreement"]) == (0, 1.0), merged.err
    again = llmkit("eval", data, "-m", tmp_path / "merged", "--json")
    assert again.json["task"] == name
    for metric, figure in measured.json["metrics"].items():
        assert again.json["metrics"][metric]["value"] == pytest.approx(figure["value"], rel=1e-4, abs=1e-4), metric
