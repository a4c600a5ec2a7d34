from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from llmkit.errors import OptionError
from llmkit.evaluation.suite_files import SuiteMember, is_suite, read_suite
from llmkit.options import DataOptions, EvalOptions, ModelOptions
from llmkit.options.base import Options
from llmkit.options.overrides import field_types, other_names

KINDS = {
    **field_types(ModelOptions, DataOptions, EvalOptions),
    "fail_under": list[str] | None,
    "strict": bool,
    "threshold": float | None,
    "swap": Path | None,
}


@pytest.fixture
def suite(tmp_path):
    """Write a suite and read it; returns the suite, or the problems."""

    def read(text: str):
        (tmp_path / "night.yaml").write_text(text)
        try:
            return read_suite(str(tmp_path / "night.yaml"), KINDS, other_names(EvalOptions))
        except OptionError as error:
            return [problem.replace(f"{tmp_path}/", "") for problem in error.problems]

    return read


def test_an_option_has_each_name_of_its_flag(suite):
    found = suite("""
system: Be true.
evals:
  - lm-eval:piqa
  - {dataset: 'lm-eval:arc_easy', system-instruction: Be kind.}
""")
    assert [member.options["system_instruction"] for member in found.members] == ["Be true.", "Be kind."]
    assert other_names(EvalOptions) == {"system": "system_instruction"}
    assert suite("{system: a, system_instruction: b, evals: [c]}") == [
        "night.yaml: 'system_instruction' is given twice"
    ]


def test_a_suite_is_read_with_the_options_that_hold_for_all(suite):
    found = suite("""
name: nightly
model: runs/{config}
limit: 200
fail-under: {f1: 0.85, accuracy: 0.9}
evals:
  - glue/mrpc
  - dataset: data/reviews.csv
    name: reviews
    model: "runs/{name}-2"
    fail_under: accuracy=0.8
    limit: null
    strict: true
    swap: terms.csv
""")
    assert found.name == "nightly"
    assert found.members == (
        SuiteMember(
            "glue/mrpc", "glue/mrpc", {"model": "runs/mrpc", "limit": 200, "fail_under": ["f1=0.85", "accuracy=0.9"]}
        ),
        SuiteMember(
            "reviews",
            "data/reviews.csv",
            {"model": "runs/reviews-2", "fail_under": ["accuracy=0.8"], "strict": True, "swap": Path("terms.csv")},
        ),
    )


def test_a_suite_without_a_name_has_its_files(suite):
    assert suite("evals: [a.csv]").name == "night"


@pytest.mark.parametrize(
    ("line", "option", "value"),
    [
        ("fail_under: f1=0.85", "fail_under", ["f1=0.85"]),
        ("fail_under: [f1=0.85, {accuracy: 1}]", "fail_under", ["f1=0.85", "accuracy=1"]),
        ("column: {text: review, label: 3}", "column", ["text=review", "label=3"]),
        ("revision: 1.5", "revision", "1.5"),
        ("limit: 1e2", "limit", 100),
        ("limit: 5.0", "limit", 5),
        ("threshold: 1e-3", "threshold", 0.001),
        ("threshold: 2", "threshold", 2.0),
        ("strict: no", "strict", False),
        ("dtype: float32", "dtype", "float32"),
    ],
)
def test_a_value_becomes_the_type_of_its_option(suite, line, option, value):
    options = suite(f"evals: [a.csv]\n{line}").members[0].options
    assert options == {option: value}
    assert type(options[option]) is type(value)


@pytest.mark.parametrize(
    ("reference", "config"),
    [("glue/mrpc", "mrpc"), ("org/name:part", "part"), ("data/reviews.csv.gz", "reviews"), ("folder/", "folder")],
)
def test_the_config_of_a_member_is_the_last_part_of_its_dataset(reference, config):
    assert SuiteMember("m", reference).filled("{name}/{config}-{config}") == f"m/{config}-{config}"


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("evals: [a.csv]\nlimits: 5", ["night.yaml: there is no option 'limits' (did you mean 'limit'?)"]),
        (
            "evals: [{dataset: a.csv, fail-undr: 1}]",
            ["night.yaml, member 'a.csv': there is no option 'fail-undr' (did you mean 'fail_under'?)"],
        ),
        ("evals: [{name: a}]", ["night.yaml, member 'a': `dataset` is missing"]),
        ("evals: [{dataset: [a.csv]}]", ["night.yaml, member 1: `dataset` must be the name of one"]),
        ("evals: [5]", ["night.yaml, member 1 must be a dataset, or a mapping with a `dataset`, not 5"]),
        ("limit: 5", ["night.yaml: `evals` must be a list of datasets, or of mappings with a `dataset`"]),
        (
            "evals: [{}, {}]",
            ["night.yaml, member 1: `dataset` is missing", "night.yaml, member 2: `dataset` is missing"],
        ),
        ("evals: []", ["night.yaml: `evals` must be a list of datasets, or of mappings with a `dataset`"]),
        (
            "evals: [a, a, {dataset: b, name: a}]",
            ["night.yaml: two members are called 'a'; give each a `name` of its own"],
        ),
        (
            "evals: [glue, b.yml]",
            [
                "night.yaml, member 'glue': 'glue' is a suite, and a suite holds datasets",
                "night.yaml, member 'b.yml': 'b.yml' is a suite, and a suite holds datasets",
            ],
        ),
        ("evals: [a]\nlimit: many", ["night.yaml: limit must be a whole number, not 'many'"]),
        ("evals: [a]\nlimit: 2.5", ["night.yaml: limit must be a whole number, not 2.5"]),
        ("evals: [a]\nlimit: .inf", ["night.yaml: limit must be a whole number, not inf"]),
        ("evals: [a]\nlimit: true", ["night.yaml: limit must be a whole number, not True"]),
        ("evals: [a]\nthreshold: x", ["night.yaml: threshold must be a number, not 'x'"]),
        ("evals: [a]\nstrict: 1", ["night.yaml: strict must be true or false, not 1"]),
        (
            "evals: [a]\ndtype: float64",
            ["night.yaml: dtype must be one of auto, float32, bfloat16, float16, not 'float64'"],
        ),
        (
            "evals: [a]\npositive: yes",
            [
                'night.yaml: positive must be text (in quotes where YAML reads "yes", "no", "on" and "off" as true or '
                "false), not True"
            ],
        ),
        (
            "evals: [a]\nsplit: [x]",
            ["night.yaml: split must be text (in quotes, if YAML reads it as something else), not ['x']"],
        ),
        (
            "evals: [a]\nname: [x]",
            ["night.yaml: name must be text (in quotes, if YAML reads it as something else), not ['x']"],
        ),
        (
            "evals: [a]\nmodel: runs/{confg}",
            [
                "night.yaml, member 'a': model 'runs/{confg}': there is no {confg} (did you mean 'config'?); "
                "a suite knows {name} and {config}"
            ],
        ),
        ("evals: [a]\nfail-under: f1=1\nfail_under: f1=2", ["night.yaml: 'fail_under' is given twice"]),
        ("evals: [a]\nfail_under:\n  f1: 0.9\n  f1: 0.1", ["night.yaml, line 3: 'f1' is given twice"]),
        ("- a\n- b", ["night.yaml must hold a mapping with a list of `evals`"]),
        (
            "nmae: x\nlimit: many\nevals: [{dataset: a, strict: 2}, {}]",
            [
                "night.yaml: there is no option 'nmae' (did you mean 'name'?)",
                "night.yaml: limit must be a whole number, not 'many'",
                "night.yaml, member 'a': strict must be true or false, not 2",
                "night.yaml, member 2: `dataset` is missing",
            ],
        ),
    ],
)
def test_all_that_is_wrong_is_said_with_the_file_the_member_and_the_key(suite, text, problems):
    assert suite(text) == problems


def test_what_is_no_yaml_is_refused(suite):
    [problem] = suite("evals: [a")
    assert problem.startswith("night.yaml is not YAML: ")


def test_a_file_that_is_not_there_is_still_a_suite(tmp_path):
    (tmp_path / "nightly.yaml").write_text("evals: [a]")
    assert is_suite(str(tmp_path / "nigtly.yaml"))
    with pytest.raises(
        OptionError, match=r"there is no suite .*nigtly.yaml' \(did you mean 'nightly.yaml'\?\); built in: glue"
    ):
        read_suite(str(tmp_path / "nigtly.yaml"), KINDS)


def test_glue_is_built_in_unless_there_is_such_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_suite("glue")
    found = read_suite("glue", KINDS)
    assert found.name == "glue"
    assert [member.dataset for member in found.members][:2] == ["glue/mrpc", "glue/sst2"]
    assert {member.config: member.options for member in found.members if member.options} == {
        "mnli": {"split": "validation_matched"}
    }
    assert len(found.members) == 9
    (tmp_path / "glue").mkdir()
    assert not is_suite("glue")


@pytest.mark.parametrize("reference", ["glue/mrpc", "reviews.csv", "org/name", "-", "lm-eval:piqa", "yaml"])
def test_a_dataset_is_no_suite(reference):
    assert not is_suite(reference)


def test_every_option_of_the_groups_can_be_given_in_a_suite(tmp_path):
    groups: list[type[Options]] = [ModelOptions, DataOptions, EvalOptions]
    for group in groups:
        for name, default in vars(group()).items():
            if default is None or isinstance(default, bool | int | float | str):
                content = {"evals": ["a.csv"], name: default}
                (tmp_path / "s.yaml").write_text(yaml.safe_dump(content))
                options = read_suite(str(tmp_path / "s.yaml"), field_types(*groups)).members[0].options
                assert options == ({} if default is None else {name: default})
