"""Finetuning a language model on a single text: its end is held out; and files of rows that ask nothing."""

from __future__ import annotations

import json

import pytest
from conftest import write_jsonl

SHORT = ("--max-steps", "2", "--batch-size", "2")
SENTENCES = "the king was good. the fox was bad.\n" * 40


@pytest.mark.parametrize("model", ["llama", "masked"])
def test_the_end_of_one_text_is_held_out_and_measured_again_by_eval(llmkit, request, tmp_path, model):
    file, run = tmp_path / "tale.txt", tmp_path / "run"
    file.write_text(SENTENCES)
    ran = llmkit("finetune", file, "-m", request.getfixturevalue(model), "-o", run, *SHORT, "--json")
    assert ran.code == 0, ran.err
    assert "1 to train on, 1 to measure on (the last 5% of the text)" in ran.err
    document = json.loads((run / "run.json").read_text())["data"]
    assert document["cut"]["document"] == "text"
    again = llmkit("eval", file, "-m", run, "--json")
    assert again.json["metrics"] == ran.json["metrics"]
    assert again.json["rows_sha256"] == ran.json["rows_sha256"]


def test_a_student_is_taught_with_one_text_or_with_one_row(llmkit, llama, tmp_path):
    file = write_jsonl(tmp_path / "row.jsonl", [{"text": SENTENCES}])
    ran = llmkit(
        "finetune",
        file,
        "--teacher",
        llama,
        "--student-layers",
        "1",
        "--task",
        "causal-lm",
        "-o",
        tmp_path / "run",
        *SHORT,
    )
    assert ran.code == 0, ran.err
    assert "the last 5% of the text" in ran.err


def test_of_two_texts_one_each_the_ends_are_held_out(llmkit, llama, tmp_path):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(SENTENCES)
    ran = llmkit("finetune", tmp_path / "a.txt", tmp_path / "b.txt", "-m", llama, "--dry-run")
    assert ran.code == 0, ran.err
    assert "2 to train on, 2 to measure on" in ran.err


def test_a_text_that_cannot_be_cut_is_refused(llmkit, llama, tmp_path):
    (tmp_path / "a.txt").write_text("a\n")
    ran = llmkit("finetune", tmp_path / "a.txt", "-m", llama, "--dry-run")
    assert ran.code == 5
    assert "too short to train on and to measure on; give --validation, or more text" in ran.error


def test_one_row_with_a_label_is_still_too_few(llmkit, classifier, tmp_path):
    file = write_jsonl(tmp_path / "row.jsonl", [{"text": "good", "label": "x"}])
    ran = llmkit("finetune", file, "-m", classifier, "--dry-run", "--task", "text-classification")
    assert ran.code in {2, 5}
    assert ran.error


@pytest.mark.parametrize("rows", [[{"prompt": ""}], [{"prompt": None}, {"prompt": "  "}], [{"prompt": []}]])
def test_a_file_without_prompts_is_nothing_to_answer(llmkit, llama, tmp_path, rows):
    ran = llmkit("generate", "-m", llama, "--input", write_jsonl(tmp_path / "rows.jsonl", rows))
    assert ran.code == 5
    assert f"nothing to answer, none of {len(rows)} rows has a prompt" in ran.error
    assert not ran.out


def test_a_blank_prompt_beside_others_is_answered_as_before(llmkit, llama, tmp_path):
    file = write_jsonl(tmp_path / "rows.jsonl", [{"prompt": ""}, {"prompt": "the fox"}])
    ran = llmkit("generate", "-m", llama, "--input", file, "--max-new-tokens", "2")
    assert (ran.code, len(ran.rows)) == (0, 2)
