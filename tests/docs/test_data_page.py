"""The examples of docs/data.md, and that of the README: commands print the lines that stand below them, in order."""

from __future__ import annotations

from pathlib import Path

import pytest
from data_page import BLOCK, PAGE, README, examples, headings, in_order, is_refusal, links, runs, steps_of

EXAMPLES = examples(PAGE)
COMMANDS = [step for steps in EXAMPLES for step in steps if step.arguments[0] == "llmkit"]


@pytest.mark.parametrize("steps", EXAMPLES + examples(README), ids=lambda steps: steps[0].command[:40])
def test_an_example_prints_what_the_page_shows(llmkit, tmp_path, monkeypatch, steps):
    monkeypatch.chdir(tmp_path)
    for step, ran in runs(llmkit, steps):
        assert in_order(step.shown, ran.err.splitlines()) == [], ran.err
        assert ran.code == (2 if is_refusal(step) else 0)


def test_the_page_shows_files_makes_them_and_runs_commands_alone():
    assert len(COMMANDS) > 40
    assert len(examples(README)) == 1
    assert {step.arguments[0] for steps in EXAMPLES for step in steps} == {"cat", "head", "python", "llmkit"}
    assert [step.command for step in COMMANDS if not step.shown] == []
    assert PAGE.read_text(encoding="utf-8").count("```") == 2 * len(EXAMPLES)


def test_the_links_of_the_page_lead_to_its_headings():
    text = BLOCK.sub("", PAGE.read_text(encoding="utf-8"))
    assert len(links(text)) > 10
    assert links(text) <= headings(text)


def test_files_of_several_names_are_parted_by_their_titles(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (step,) = steps_of("$ head a/*.txt\n==> a/x.txt <==\none\ntwo\n==> a/y.txt <==\nthree\n")
    step.make(Path())
    assert Path("a/x.txt").read_text(encoding="utf-8") == "one\ntwo\n"
    assert Path("a/y.txt").read_text(encoding="utf-8") == "three\n"
