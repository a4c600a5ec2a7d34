"""run.json as the runs of tiny models leave it, and the types that writers and readers take it for."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import pytest
import tiny
from conftest import write_csv

from llmkit.runs.record import FitRecord, RecipeRecord, RunRecord
from llmkit.training.loop.recipe import Recipe
from llmkit.training.loop.trainer import Fit

SHORT = ("--max-steps", "2", "--batch-size", "8", "--track", "none")
ALWAYS = set(RunRecord.__annotations__) - {"fit", "seeds", "search", "merged"}


def problems(value, kind, where: str = "run.json") -> list[str]:
    """Return where a document differs from its type: a TypedDict, a list, a mapping, a union, or a plain type."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return min((problems(value, argument, where) for argument in arguments), key=len)
    if kind in (object, typing.Any):
        return []
    if origin is typing.Literal:
        return [] if value in arguments else [f"{where}: {value!r} is none of {arguments}"]
    plain = dict if typing.is_typeddict(kind) else (int, float) if kind is float else origin or kind
    if not isinstance(value, plain):
        return [f"{where}: {value!r} is no {kind}"]
    if origin is list:
        return [p for item in value for p in problems(item, arguments[0], where)]
    if origin in (dict, Mapping):
        return [p for name, item in value.items() for p in problems(item, arguments[1], f"{where}.{name}")]
    return of_typeddict(value, kind, where) if typing.is_typeddict(kind) else []


def of_typeddict(value: dict, kind, where: str) -> list[str]:
    hints, marked = typing.get_type_hints(kind), typing.get_type_hints(kind, include_extras=True)
    optional = {name for name in hints if typing.get_origin(marked[name]) is typing.NotRequired or not kind.__total__}
    missing = sorted(set(hints) - set(value) - optional)
    found = [f"{where} lacks {missing}"] if missing else []
    found += [f"{where} has {name!r} too" for name in set(value) - set(hints)]
    named = (problems(value[name], hints[name], f"{where}.{name}") for name in hints if name in value)
    return [*found, *(problem for inner in named for problem in inner)]


def of(run: Path) -> dict:
    record = json.loads((run / "run.json").read_text())
    assert problems(record, RunRecord) == []
    return record


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    monkeypatch.setattr("llmkit.training.jobs.draw_results", lambda *given: [])
    monkeypatch.setattr("llmkit.training.jobs.draw_curves", lambda *given: None)


@pytest.mark.parametrize(
    ("flags", "more"),
    [((), set()), (("--streaming",), set()), (("--seeds", "2"), {"seeds"}), (("--search", "2"), {"search", "fit"})],
    ids=["plain", "streamed", "seeds", "search"],
)
def test_a_finetuning_leaves_a_run_json_of_just_these_fields(llmkit, classifier, tmp_path, flags, more):
    data, run = write_csv(tmp_path / "mine.csv", tiny.reviews(40)), tmp_path / "run"
    ran = llmkit("finetune", data, "-m", classifier, "-o", run, *SHORT, *flags)
    assert ran.code == 0, ran.err
    assert set(of(run)) == ALWAYS | more
    for trial in (*run.glob("trials/*"), *run.glob("seed-*")):
        assert set(of(trial)) == (ALWAYS - {"result", "training"} | {"fit"} if "search" in more else ALWAYS)


def test_mixes_students_preferences_and_merged_adapters_have_no_others(llmkit, classifier, llama, tmp_path):
    data = [write_csv(tmp_path / f"{name}.csv", tiny.reviews(40, seed)) for seed, name in enumerate("ab")]
    pairs = write_csv(tmp_path / "pairs.csv", tiny.preferences(20))
    lines = {
        "mix": (f"{data[0]}@2", data[1], "-m", classifier, "--lora"),
        "student": (data[0], "--teacher", classifier, "--student-layers", "1", "--class-weight", "balanced"),
        "preferences": (pairs, "-m", llama),
    }
    for name, line in lines.items():
        ran = llmkit("finetune", *line, "-o", tmp_path / name, *SHORT)
        assert ran.code == 0, ran.err
        assert set(of(tmp_path / name)) == ALWAYS
    assert len(of(tmp_path / "mix")["data"]["mix"]) == 2
    assert of(tmp_path / "student")["teacher"]["layers"] == [1]
    assert of(tmp_path / "preferences")["reference"]["beta"] == 0.1
    assert llmkit("merge", tmp_path / "mix", "-o", tmp_path / "merged").code == 0
    assert set(of(tmp_path / "merged")) == ALWAYS - {"model", "teacher", "dtype", "result", "training"} | {"merged"}


def test_a_pretraining_has_the_same_fields(llmkit, corpus, tmp_path):
    ran = llmkit("pretrain", corpus, "-o", tmp_path / "run", "--max-length", "32", *SHORT)
    assert ran.code == 0, ran.err
    assert set(of(tmp_path / "run")) == ALWAYS


def test_recipes_and_fits_are_written_field_by_field():
    assert [field.name for field in fields(Recipe)] == list(RecipeRecord.__annotations__)
    assert [field.name for field in fields(Fit)] == list(FitRecord.__annotations__)


def test_a_mistyped_field_is_seen():
    assert problems({"statuss": "finished"}, RunRecord) == ["run.json has 'statuss' too"]
    assert problems({"fit": {"steps": 1}}, RunRecord) == ["run.json.fit lacks ['best_step', 'best_value', 'seconds']"]
    assert problems({"max_length": "64"}, RunRecord) != []
