from __future__ import annotations

import shlex
from dataclasses import fields
from typing import Any

import yaml
from example_results import EXAMPLES

from llmkit.options import DataOptions, EvalOptions, GateOptions, ModelOptions, ResultOptions

OPTIONS = {
    field.name
    for group in (DataOptions, EvalOptions, GateOptions, ModelOptions, ResultOptions)
    for field in fields(group)
}


def workflow_steps() -> list[dict[str, Any]]:
    workflow = yaml.safe_load((EXAMPLES / "eval.github-workflow.yml").read_text(encoding="utf-8"))
    assert True in workflow  # YAML 1.1 reads the key `on` as true, GitHub does not
    assert workflow["permissions"] == {"contents": "read", "checks": "write"}
    steps: list[dict[str, Any]] = workflow["jobs"]["eval"]["steps"]
    return steps


def test_the_workflow_calls_llmkit_with_flags_that_there_are():
    (command,) = [step["run"] for step in workflow_steps() if step.get("run", "").startswith("llmkit")]
    assert "\n" not in command.strip()
    words = shlex.split(command)
    given = {word.removeprefix("--").replace("-", "_") for word in words if word.startswith("--")}
    assert given <= OPTIONS
    assert given == {"fail_under", "baseline", "max_drop", "output", "junit", "save_predictions"}
    GateOptions(fail_under=["f1=0.85"], baseline="eval/baseline.json", max_drop=["f1=0.01"])


def test_the_workflow_keeps_the_files_of_a_job_that_failed():
    steps = workflow_steps()
    (command,) = [step["run"] for step in steps if step.get("run", "").startswith("llmkit")]
    kept = {step["uses"].partition("@")[0]: step for step in steps if step.get("if") == "always()"}
    assert set(kept) == {"actions/upload-artifact", "mikepenz/action-junit-report"}
    assert kept["mikepenz/action-junit-report"]["with"]["report_paths"] == "report.xml"
    for file in kept["actions/upload-artifact"]["with"]["path"].split():
        assert file in shlex.split(command)


def test_the_suite_is_of_data_and_options_that_there_are():
    suite = yaml.safe_load((EXAMPLES / "suite.yaml").read_text(encoding="utf-8"))
    assert set(suite) == {"model", "evals"}
    names = [member.pop("name") for member in suite["evals"]]
    assert len(set(names)) == len(names) == 3
    for member in suite["evals"]:
        assert (EXAMPLES.parent / member.pop("dataset") / f"{member['split']}.csv").is_file()
        assert set(member) <= OPTIONS
        assert all(isinstance(limit, float) for limit in member.get("fail_under", {}).values())
