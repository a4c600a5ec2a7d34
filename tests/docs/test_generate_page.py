"""The examples of docs/generate.md: commands print the lines that stand below them, on stderr and then on stdout."""

from __future__ import annotations

import re

import pytest
from data_page import BLOCK, GENERATE_PAGE, headings, is_refusal, links, runs, steps_of

from llmkit.models.text.decoding import BEAM_FIELDS, SAMPLING_FIELDS, TEXT_FIELDS
from llmkit.options import GenerationOptions

TEXT = GENERATE_PAGE.read_text(encoding="utf-8")
PROSE = BLOCK.sub("", TEXT)
EXAMPLES = [steps_of(found[1]) for found in BLOCK.finditer(TEXT)]


@pytest.mark.parametrize("steps", EXAMPLES, ids=lambda steps: steps[-1].command[-30:])
def test_an_example_prints_what_the_page_shows(llmkit, tmp_path, monkeypatch, steps):
    monkeypatch.chdir(tmp_path)
    for step, ran in runs(llmkit, steps):
        assert [*ran.err.splitlines(), *ran.out.splitlines()] == list(step.shown)
        assert ran.code == (2 if is_refusal(step) else 0)


def test_the_page_names_fields_that_there_are_and_flags_that_there_are():
    rows = re.findall(r"^\| (`.+?) \|.*\| (.+?) \|$", PROSE, re.MULTILINE)
    named = {name for cells, _ in rows for name in re.findall(r"`(\w+)`", cells)}
    assert len(named) > 12
    assert named <= {*TEXT_FIELDS, *BEAM_FIELDS, *SAMPLING_FIELDS, "do_sample", "eos_token_id"}
    flags = {flag[2:].replace("-", "_") for _, cell in rows for flag in re.findall(r"--[\w-]+", cell)}
    assert len(flags) > 5
    assert [name for name in flags if not hasattr(GenerationOptions(), name)] == []


def test_the_links_of_the_page_lead_to_its_headings():
    assert len(links(PROSE)) > 5
    assert links(PROSE) <= headings(PROSE)
    assert len(TEXT.splitlines()) < 180
