"""Searches and seeds in two processes of one command: what they come to is what one process comes to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

FLAGS = ("--max-steps", "4", "--batch-size", "8", "--track", "none")


def run_record(run: Path) -> dict:
    return json.loads((run / "run.json").read_text())


@pytest.fixture
def both(llmkit, llmkit_process, reviews, classifier, tmp_path):
    """Train in one process and in two; return the two run folders."""

    def train(*flags: object) -> list[Path]:
        given = ("finetune", reviews, "-m", classifier, *FLAGS, *flags)
        alone = llmkit(*given, "-o", tmp_path / "alone")
        together = llmkit_process(*given, "-o", tmp_path / "together", "--processes", 2)
        assert (alone.code, together.code) == (0, 0), together.err
        return [tmp_path / "alone", tmp_path / "together"]

    return train


@pytest.mark.slow
def test_a_search_in_two_processes_tries_the_same_recipes_with_the_same_outcomes(both, tmp_path):
    space = tmp_path / "space.yaml"
    space.write_text("learning_rate: [1e-3, 1e+30, 1e-4]\n")
    alone, together = both("--search", 4, "--search-space", space)
    searches = [run_record(run)["search"] for run in (alone, together)]
    outcomes = [[(trial["state"], trial["values"], trial["steps"]) for trial in each["trials"]] for each in searches]
    assert outcomes[0] == outcomes[1]
    assert {state for state, *_ in outcomes[0]} >= {"complete", "failed"}  # what diverged in one has in both
    for one, two in zip(searches[0]["trials"], searches[1]["trials"]):
        assert two["value"] == pytest.approx(one["value"], abs=1e-6)
    assert searches[0]["best"] == searches[1]["best"]
    assert {file.name for file in (together / "trials").glob("*/*")} == {"run.json", "metrics.jsonl"}
    assert (together / "model.safetensors").is_file()
    assert run_record(together)["status"] == "finished"


@pytest.mark.slow
def test_seeds_in_two_processes_have_the_same_spread(both):
    alone, together = both("--seeds", 2, "--seed", 5)
    one, two = (run_record(run)["seeds"] for run in (alone, together))
    assert (two["seeds"], two["median_seed"]) == (one["seeds"], one["median_seed"]) == ([5, 6], one["median_seed"])
    for name, figure in one["metrics"].items():
        assert two["metrics"][name]["values"] == pytest.approx(figure["values"], abs=1e-5, nan_ok=True)
    assert not list(together.rglob("checkpoints"))
    assert run_record(together)["status"] == "finished"
