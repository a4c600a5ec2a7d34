"""Evaluations in several processes: one that fails alone ends the command; where all fail, the next is measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny
from conftest import write_jsonl

from llmkit.cli.launch.fleet import Fleet
from llmkit.cli.launch.running import launch

PROGRAM = str(Path(__file__).parents[1] / "support" / "failing_rank.py")

pytestmark = pytest.mark.slow


@pytest.fixture
def suite(tmp_path):
    """Return a suite whose first member names no file."""
    rows = write_jsonl(tmp_path / "rows.jsonl", tiny.reviews(20))
    path = tmp_path / "suite.yaml"
    path.write_text(f"evals:\n  - dataset: {tmp_path / 'none.jsonl'}\n  - dataset: {rows}\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("rank", ["0", "1"])
def test_one_that_fails_alone_is_told_with_its_rank(tmp_path, capfd, monkeypatch, suite, good, rank):
    monkeypatch.setenv("FAILS", rank)
    code, sentence = launch(Fleet(processes=2), (PROGRAM,), ("eval", str(suite), "-m", str(good), "--no-cache"))
    assert code == 3
    assert sentence.startswith(f"rank {rank}: ")
    assert "llmkit failed (ValueError: no such thing)" in sentence
    assert "Traceback" not in capfd.readouterr().err


def test_a_member_that_fails_in_all_does_not_hide_the_others(tmp_path, capfd, suite, good):
    from llmkit.cli.app import main

    argv = ("eval", str(suite), "-m", str(good), "--no-cache", "--output")
    code, sentence = launch(Fleet(processes=2), (PROGRAM,), (*argv, str(tmp_path / "two.json")))
    said = capfd.readouterr()
    assert code == 2 == main([*argv, str(tmp_path / "one.json")])
    alone = capfd.readouterr()
    assert said.out == alone.out
    assert alone.err == f"{said.err}error: {sentence}\n"
    one, two = (json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8")) for name in ("one", "two"))
    assert [result["status"] for result in two["results"]] == ["error", "ok"]
    assert two["results"][0] == one["results"][0]
    assert two["results"][1]["metrics"] == one["results"][1]["metrics"]
