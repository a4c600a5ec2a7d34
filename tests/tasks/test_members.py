"""What each member of a task promises by itself: its columns, its encoding, its answers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers
from datasets import Dataset
from task_cases import CASES, settings_of
from transformers import AutoConfig, AutoTokenizer

from llmkit.inference.prediction import predict
from llmkit.options import AskOptions
from llmkit.tasks import TASKS, Task, TaskSettings
from llmkit.tasks.base.columns import Columns
from llmkit.tasks.base.encoding import Encoding


@pytest.fixture(params=sorted(TASKS))
def name(request) -> str:
    return request.param


@pytest.fixture
def task(name) -> Task:
    return TASKS[name]


@pytest.fixture
def rows(name) -> Dataset:
    return Dataset.from_list(CASES[name].rows)


@pytest.fixture
def model(request, name) -> Path:
    return request.getfixturevalue(CASES[name].model)


@pytest.fixture
def tokenizer(model):
    return AutoTokenizer.from_pretrained(model)


@pytest.fixture
def settings(name, rows, model, tokenizer) -> TaskSettings:
    return settings_of(name, rows, AutoConfig.from_pretrained(model), tokenizer)


def test_members_are_three_and_keep_nothing(task):
    assert {vars(member)["task"] for member in (task.columns, task.encoding, task.answers)} == {task.name}
    assert not isinstance(task, Columns | Encoding)
    assert set(vars(task.columns)) == set(vars(task.encoding)) == {"task"}
    assert set(vars(task.answers)) == {"task", "encoding"}
    assert task.answers.encoding is task.encoding
    assert vars(task) == {}


def test_columns_are_found_and_rows_are_read_by_them(task, name, rows, tokenizer):
    columns, found = task.columns, task.columns.match(rows, {})
    assert found == CASES[name].columns
    assert set(found) <= set(columns.roles)
    assert set(columns.optional_roles) <= set(columns.roles)
    assert set(columns.required_roles) <= set(columns.input_roles)
    assert columns.requirement().strip()
    assert columns.usable_rows(rows, found) == list(range(len(rows)))
    assert columns.evaluation_rows(rows, TaskSettings(found, 32)) == list(range(len(rows)))
    assert columns.first_invalid_row(rows, found) is None
    assert columns.has_labels(rows, found)
    targets = columns.targets(rows, found)
    assert len(targets) == len(rows)
    assert list(targets) == list(columns.targets(rows, found))


def test_columns_know_what_a_row_must_hold_to_be_asked(task, tokenizer):
    columns = task.columns
    inputs = dict.fromkeys(columns.required_roles, "a text")
    assert columns.is_answerable(inputs)
    assert all(not columns.is_answerable({**inputs, role: " "}) for role in columns.required_roles)
    samples = columns.sample_inputs(["the fox", "a dog"], tokenizer)
    assert len(samples) == 2
    assert all(set(columns.required_roles) <= set(sample) for sample in samples)
    if columns.input_roles:
        assert columns.match_file([inputs], {}).keys() >= set(columns.required_roles)


def test_encoding_is_a_pure_function_of_rows(task, rows, tokenizer, settings):
    encoding = task.encoding
    assert encoding.first_unencodable_row(rows, tokenizer, settings) is None
    for training in (True, False) if "finetune" in task.commands else (False,):
        first, second = (encoding.encode(rows, tokenizer, settings, training=training) for _ in range(2))
        assert first.to_list() == second.to_list()
        assert 0 < min(first["length"]) <= max(first["length"]) <= settings.max_length
        assert set(encoding.rows_without_targets(first)) <= set(range(len(first)))
        packed = encoding.pack(first, settings)
        assert packed.to_list() == first.to_list()  # nothing asks for packs


def test_a_batch_is_tensors_and_the_model_is_given_its_part(task, rows, tokenizer, settings):
    encoding = task.encoding
    encoded = encoding.encode(rows, tokenizer, settings, training=False)
    batch = encoding.collator(tokenizer, settings)(encoded.select(range(4)).to_list())
    assert all(isinstance(value, torch.Tensor) and len(value) == 4 for value in batch.values())
    assert set(encoding.model_inputs(batch)) == set(batch) - encoding.non_input_keys
    assert "input_ids" in encoding.model_inputs(batch)


def test_answers_are_numbers_that_become_arrays(task, rows, model, tokenizer, settings):
    network = getattr(transformers, task.auto_class_for(AutoConfig.from_pretrained(model))).from_pretrained(model)
    encoded = task.encoding.encode(rows, tokenizer, settings, training=False)
    predictions = predict_all(task, network, tokenizer, encoded, settings)
    assert len(predictions) == len(encoded)
    assert all(isinstance(float(number), float) for prediction in predictions for number in prediction)
    arrays = task.answers.evaluation_arrays(predictions, encoded, tokenizer, settings)
    units = task.answers.unit_rows(encoded, settings)
    assert (units is not None) == task.answers.one_row_per_unit(settings)
    assert len(arrays) == len(task.answers.unit_contents(rows, encoded, settings)) > 0
    assert next(iter(task.answers.counts(arrays).values())) > 0


def test_an_answer_has_the_fields_and_the_cells_that_it_promises(task, name, model, tokenizer):
    if not {"classify", "generate"} & task.commands or task.answers.continues_prompt:
        return
    config = AutoConfig.from_pretrained(model)
    network = getattr(transformers, task.auto_class_for(config)).from_pretrained(model)
    inputs = task.columns.sample_inputs(["the fox saw a dog", "a bird sang to the fox"], tokenizer)
    rows, given = Dataset.from_list(inputs), AskOptions(labels="fox,dog" if name.startswith("zero-shot") else None)
    draft = TaskSettings({role: role for role in inputs[0]}, 32)
    settings = task.resolve_settings(draft, given, config, tokenizer)
    encoded = task.encoding.encode(rows, tokenizer, settings, training=False)
    predictions = predict_all(task, network, tokenizer, encoded, settings)
    answers = task.answers.format(predictions, encoded, rows, tokenizer, settings, None)
    empty = task.answers.empty(settings)
    assert len(answers) == len(rows)
    assert all(set(empty) <= set(answer) for answer in answers)
    assert set(empty.values()) == {None}
    for answer in (answers[0], empty):
        assert len(task.answers.cells(inputs[0], answer)) == len(task.answers.headings())


def predict_all(task, network, tokenizer, encoded, settings):
    return predict(task, network, tokenizer, encoded, settings, 8)
