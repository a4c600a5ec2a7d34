"""The examples of docs/eval.md: commands print the lines that stand below them, in order."""

from __future__ import annotations

from typing import get_args

import pytest
from data_page import BLOCK, EVAL_PAGE, examples, headings, in_order, is_refusal, links, runs

from llmkit.metrics.texts.scripts import SPACELESS_BLOCKS
from llmkit.options.evaluation import TokenizerName

EXAMPLES = examples(EVAL_PAGE)
TEXT = BLOCK.sub("", EVAL_PAGE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("steps", EXAMPLES, ids=lambda steps: steps[-1].command[-30:])
def test_an_example_prints_what_the_page_shows(llmkit, tmp_path, monkeypatch, steps):
    monkeypatch.chdir(tmp_path)
    for step, ran in runs(llmkit, steps):
        assert step.shown
        assert in_order(step.shown, ran.err.splitlines()) == [], ran.err
        assert ran.code == (2 if is_refusal(step) else 0)


def test_the_page_names_every_tokenizer_and_script():
    assert len(EXAMPLES) > 3
    assert [name for name in get_args(TokenizerName) if f"`{name}`" not in TEXT] == []
    assert [script for script in list(SPACELESS_BLOCKS)[:7] if script not in TEXT] == []


def test_the_links_of_the_page_lead_to_its_headings():
    assert len(links(TEXT)) > 3
    assert links(TEXT) <= headings(TEXT)
