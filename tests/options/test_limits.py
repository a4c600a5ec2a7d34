"""No number and no empty value of any flag hangs a command or ends in a traceback: it is refused, with the limit."""

from __future__ import annotations

import dataclasses
import typing

import pytest

import llmkit.options
from llmkit.errors import OptionError
from llmkit.options import FinetuneRequest, Options
from llmkit.options.base import LIMITS
from llmkit.options.overrides import field_types, main_type
from llmkit.training.rows.mixture import open_components

GROUPS = [kind for name in llmkit.options.__all__ if issubclass(type(kind := getattr(llmkit.options, name)), type)]
GROUPS = [kind for kind in GROUPS if issubclass(kind, Options)]
NUMBERS = [
    (group, field.name)
    for group in GROUPS
    for field in dataclasses.fields(group)
    if main_type(field_types(group)[field.name]) in (int, float)
]
BEYOND = (10**41, 1e300, -1, float("nan"), float("inf"), float("-inf"))


def named(pair: tuple[type, str]) -> str:
    return f"{pair[0].__name__}.{pair[1]}" if isinstance(pair, tuple) else repr(pair)


@pytest.mark.parametrize("value", BEYOND, ids=repr)
@pytest.mark.parametrize("number", NUMBERS, ids=named)
def test_every_number_of_every_group_has_limits(number, value):
    group, name = number
    with pytest.raises(OptionError) as refused:
        group(**{name: value})
    flag = f"--{name.replace('_', '-')}"
    assert any(problem.startswith(flag) and "must" in problem for problem in refused.value.problems)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("number", [pair for pair in NUMBERS if pair[1] in LIMITS], ids=named)
def test_the_limit_itself_is_within(number):
    group, name = number
    kind, problems = main_type(field_types(group)[name]), []
    try:
        group(**{name: typing.cast("type", kind)(LIMITS[name][1])})
    except OptionError as error:  # it may need another flag
        problems += error.problems
    assert not any("must be at" in problem for problem in problems)


@pytest.mark.parametrize("name", LIMITS)
def test_every_limit_is_of_a_flag(name):
    assert any(name == field for _, field in NUMBERS)


@pytest.mark.parametrize("value", ["9" * 5000, "99999", "-1", "1.5", ""])
def test_frozen_layers_are_a_number_of_few_digits(value):
    with pytest.raises(OptionError, match="--freeze takes all or a number of layers"):
        llmkit.options.AdapterOptions(freeze=value)


@pytest.mark.parametrize("value", ["inf", "nan", "1e999", ""])
def test_gates_are_numbers(value):
    with pytest.raises(OptionError, match="--fail-under takes metric=number"):
        llmkit.options.GateOptions(fail_under=[f"f1={value}"])


def test_a_weight_is_at_most_a_thousand():
    request = FinetuneRequest(dataset=["a.csv@1e9"])
    with pytest.raises(OptionError, match=r"a.csv@1e\+09: a weight is at most 1000"):
        open_components(request.dataset, request.data, request.splits, None)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["finetune", "a.csv", "-o", ""], "--output must not be empty"),
        (["finetune", "a.csv", "--output="], "--output must not be empty"),
        (["finetune", ""], "dataset must not be empty"),
        (["finetune", "a.csv", ""], "dataset must not be empty"),
        (["pretrain", "a.txt", "-o", ""], "--output must not be empty"),
        (["pretrain", ""], "corpus must not be empty"),
        (["generate", "-i", ""], "--input must not be empty"),
        (["classify", "-i", "a.csv", "-o", ""], "--output must not be empty"),
        (["eval", "a.csv", "--plots", "", "--junit", ""], "--plots must not be empty; --junit must not be empty"),
        (["eval", "a.csv", "--baseline", ""], "--baseline must not be empty"),
        (["merge", "a", "-o", ""], "--output must not be empty"),
        (["data", "a.csv", "--picture", ""], "--picture must not be empty"),
        (["compare", "a.json", "b.json", "--markdown", ""], "--markdown must not be empty"),
        (["finetune", "a.csv", "--config", ""], "--config must not be empty"),
        (["eval", "glue/mrpc", "-m", "x", "--strict"], "--strict makes gates stricter, and there is none"),
        (["compare", "a.json", "b.json", "--strict"], "--strict makes a gate stricter, and there is none"),
        (["finetune", "a.csv", "--max-steps", "1" + "0" * 25], "--max-steps must be at most 1000000000, not 1e+25"),
        (["finetune", "a.csv", "--epochs", "1e308"], "--epochs must be at most 100000, not 1e+308"),
        (["finetune", "a.csv@1e9"], "a.csv@1e+09: a weight is at most 1000"),
    ],
)
def test_each_is_one_sentence_and_writes_nothing(llmkit, tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    ran = llmkit(*arguments)
    assert ran.code == 2
    assert sentence in ran.error
    assert not list(tmp_path.glob("*"))


def test_an_empty_path_in_a_config_file_is_refused(llmkit, tmp_path):
    file = tmp_path / "options.yaml"
    file.write_text('output: ""\n')
    assert "output must not be empty" in llmkit("finetune", "a.csv", "--config", file).error


@pytest.mark.parametrize("command", [["classify", "x"], ["eval", "a.csv"], ["finetune", "a.csv"], ["data", "a.csv"]])
def test_a_revision_beside_a_model_on_this_machine_is_refused(llmkit, classifier, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("text,label\na good film,negative\na bad film,positive\n" * 4)
    ran = llmkit(*command, "-m", classifier, "--revision", "main")
    assert ran.code == 2
    assert ran.error.startswith("--revision names a version on the Hub, and")
