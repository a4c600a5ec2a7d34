"""LLM benchmarks on the command line: lm-eval's numbers in our report, gates, baselines, cache and files."""

from __future__ import annotations

import hashlib
import json
import logging

import pytest
import tiny
import yaml
from conftest import write_jsonl
from evaluating import Files, lasting, valid, values

ROWS = [
    {"question": f"the {thing} was", "choices": [tiny.GOOD[i % 8], tiny.BAD[i % 8]], "label": i % 2}
    for i, thing in enumerate(tiny.THINGS * 2)
]


@pytest.fixture(autouse=True)
def _calm():
    logging.getLogger("lm_eval").setLevel(logging.CRITICAL)


@pytest.fixture
def task(tmp_path):
    """Write a task over a local file: `task("choosing")` is `lm-eval:...yaml`."""
    rows = write_jsonl(tmp_path / "rows.jsonl", ROWS)

    def write(name, **changed):
        content = {
            "task": name,
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(rows)}, "cache_dir": str(tmp_path / "cache")},
            "output_type": "multiple_choice",
            "test_split": "test",
            "doc_to_text": "{{question}}",
            "doc_to_choice": "choices",
            "doc_to_target": "label",
            "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
            "metadata": {"version": 1.0},
        } | changed
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(content))
        return f"lm-eval:{path}"

    return write


def test_a_benchmark_has_the_report_the_files_the_gates_and_the_cache_of_any_evaluation(llmkit, llama, task, tmp_path):
    name, files = task("choosing"), Files(tmp_path / "out")
    ran = llmkit(
        "eval", name, "-m", llama, "--fail-under", "acc=0", *files.flags, "--json", "--markdown", tmp_path / "m.md"
    )
    assert ran.code == 0, ran.err
    result = valid(ran.json)
    assert result["task"] == "lm-eval"
    assert result["n"] == len(ROWS)
    assert result["metrics"]["acc"]["interval"] == "wilson"
    assert result["metrics"]["acc"]["low"] < result["metrics"]["acc"]["value"] < result["metrics"]["acc"]["high"]
    assert [gate["met"] for gate in result["gates"]] == [True]
    assert values(files.result) == values(result)
    assert files.failures == files.errors == {}
    assert sum(row["acc"] for row in files.rows) / len(ROWS) == result["metrics"]["acc"]["value"]
    right = [row["label"] == row["prediction"] for row in files.rows]
    assert [bool(row["acc"]) for row in files.rows] == right
    assert "acc" in (tmp_path / "m.md").read_text(encoding="utf-8")
    again = llmkit("eval", name, "-m", llama, "--json")
    assert again.json["cached"]
    assert again.json["metrics"] == result["metrics"]
    fresh = llmkit("eval", name, "-m", llama, "--json", "--no-cache", "--batch-size", 1)
    assert not fresh.json["cached"]
    assert values(fresh.json) == pytest.approx(values(result))


def test_a_gate_that_is_missed_or_names_nothing_never_passes(llmkit, llama, task):
    name, other = task("choosing"), task("guessing", metric_list=[{"metric": "acc"}])
    assert llmkit("eval", name, "-m", llama, "--fail-under", "acc=1.01").code == 1
    both = f"{name},{other.removeprefix('lm-eval:')}"
    ran = llmkit("eval", both, "-m", llama, "--fail-under", "acc_norm=0", "--json")
    assert ran.code == 0, ran.err
    assert [len(one["gates"]) for one in valid(ran.json)["results"]] == [1, 0]
    ran = llmkit("eval", both, "-m", llama, "--fail-under", "accuracies=0")
    assert ran.code == 2
    assert "--fail-under: there is no metric 'accuracies'" in ran.error
    assert llmkit("eval", name, "-m", llama, "--fail-above", "acc=0.9").code == 2
    assert "choose their own rows" in llmkit("eval", name, "-m", llama, "--slice", "label").error


def test_a_benchmark_is_compared_with_a_model_or_with_a_saved_result(llmkit, llama, task, tmp_path):
    other, name, saved = tiny.llama_folder(tmp_path / "other", seed=3), task("choosing"), tmp_path / "old.json"
    assert llmkit("eval", name, "-m", other, "--output", saved).code == 0
    flags = ("eval", name, "-m", llama, "--max-drop", "acc=1", "--json")
    by_file, by_model = (valid(llmkit(*flags, "--baseline", what).json) for what in (saved, other))
    assert by_file["baseline"]["metrics"] == by_model["baseline"]["metrics"]
    paired = by_file["baseline"]["metrics"]["acc"]
    assert paired["baseline"] == values(json.loads(saved.read_text()))["acc"]
    assert paired["test"] in {"exact McNemar", "McNemar"}
    shorter = llmkit("eval", name, "-m", llama, "--limit", 5, "--baseline", saved)
    assert shorter.code == 2
    assert "the rows are not those of the baseline" in shorter.error


def test_a_benchmark_that_fails_does_not_hide_the_others(llmkit, llama, task, tmp_path):
    name, broken = (
        task("choosing"),
        task("broken", dataset_kwargs={"data_files": {"test": str(tmp_path / "none.jsonl")}}),
    )
    ran = llmkit("eval", f"{name},{broken.removeprefix('lm-eval:')}", "-m", llama, "--json")
    assert ran.code == 2, ran.err
    assert [one["status"] for one in valid(ran.json)["results"]] == ["ok", "error"]
    assert ran.error.startswith("1 of 2 evaluations failed: ")
    assert "broken.yaml" in ran.error


CHAT = "{% for m in messages %}[{{ m.role }}] {{ m.content }} {% endfor %}"


def test_a_chat_template_and_a_system_instruction_are_applied_and_written_down(llmkit, task, tmp_path):
    name, chatty = task("choosing"), tiny.llama_folder(tmp_path / "chatty", chat_template=CHAT)
    plain = valid(llmkit("eval", name, "-m", chatty, "--json").json)
    assert not {"chat_template_sha256", "fewshot_as_multiturn", "system_instruction"} & set(plain)
    ran = llmkit("eval", name, "-m", chatty, "--apply-chat-template", "--system-instruction", "Be true.", "--json")
    assert ran.code == 0, ran.err
    chat = valid(ran.json)
    assert chat["chat_template_sha256"] == hashlib.sha256(CHAT.encode()).hexdigest()
    assert (chat["fewshot_as_multiturn"], chat["system_instruction"]) == (True, "Be true.")
    assert chat["prompts_sha256"] != plain["prompts_sha256"]
    assert not chat["cached"]  # other prompts are other requests
    config = tmp_path / "options.yaml"
    config.write_text(yaml.safe_dump({"apply_chat_template": True, "system_instruction": "Be true."}))
    again = valid(llmkit("eval", name, "-m", chatty, "--config", config, "--json").json)
    assert again["cached"]
    assert lasting(again) == lasting(chat)
    short = valid(llmkit("eval", name, "-m", chatty, "--apply-chat-template", "--system", "Be true.", "--json").json)
    assert lasting(short) == lasting(chat)
    config.write_text(yaml.safe_dump({"apply-chat-template": True, "system": "Be true."}))
    assert lasting(valid(llmkit("eval", name, "-m", chatty, "--config", config, "--json").json)) == lasting(chat)


def test_a_chat_template_is_asked_for_of_the_model_before_anything_is_measured(llmkit, llama, task, tmp_path):
    name, chatty = task("choosing"), tiny.llama_folder(tmp_path / "chatty", chat_template=CHAT)
    for flags in ([], ["--dry-run"]):
        ran = llmkit("eval", name, "-m", llama, "--apply-chat-template", *flags)
        assert ran.code == 2
        assert "has no chat template; leave --apply-chat-template out" in ran.error
    ran = llmkit("eval", name, "-m", chatty, "--baseline", llama, "--apply-chat-template")
    assert ran.code == 2
    assert "has no chat template" in ran.error
    deaf = tiny.llama_folder(tmp_path / "deaf", chat_template=CHAT.replace("messages", "messages[-1:]"))
    for flags in ([], ["--dry-run"]):
        ran = llmkit("eval", name, "-m", deaf, "--apply-chat-template", "--system", "Be true.", *flags)
        assert ran.code == 2
        assert "drops the system message; leave --system-instruction (--system) out" in ran.error
    (tmp_path / "own.jinja").write_text(CHAT)
    ran = llmkit("eval", name, "-m", llama, "--apply-chat-template", "--chat-template", tmp_path / "own.jinja")
    assert ran.code == 2
    assert "leave --chat-template out" in ran.error
