"""A batch that does not fit is learned from in parts, and what a GPU is too small for is said with a remedy."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from llmkit.training.estimates import batch_size
from llmkit.training.estimates.memory import Memory
from llmkit.training.loop import trainer
from llmkit.training.loop.recipe import Recipe


@pytest.fixture
def little_memory(monkeypatch):
    """Half of a batch of 16 rows fits here, by what is told of it: 1,000 bytes a row."""
    told = batch_size.estimate

    def of_rows(subject):
        return replace(told(subject), memory=Memory(activations=1000 * subject.recipe.batch_size))

    monkeypatch.setattr(batch_size, "estimate", of_rows)
    monkeypatch.setattr(batch_size, "too_large", lambda subject: (16_000, 10_000))
    monkeypatch.setattr(batch_size, "memory_here", lambda device: 10_000)


def recipe_of(folder):
    return json.loads((folder / "run.json").read_text(encoding="utf-8"))["recipe"]


def test_a_batch_that_does_not_fit_is_learned_from_in_parts(llmkit, reviews, classifier, tmp_path, little_memory):
    common = ("finetune", reviews, "-m", classifier, "--max-steps", 2, "--learning-rate", 1e-3)
    ran = llmkit(*common, "-o", tmp_path / "parts")
    recipe = recipe_of(tmp_path / "parts")
    assert (recipe["batch_size"], recipe["accumulation"]) == (8, 2)
    assert "batch: 8 rows at once, 2 times a step (16 rows as without it)" in ran.err
    assert "--accumulate 1 takes it whole" in ran.err
    whole = llmkit(*common, "--accumulate", 1, "-o", tmp_path / "whole")
    recipe = recipe_of(tmp_path / "whole")
    assert (recipe["batch_size"], recipe["accumulation"]) == (16, 1)
    assert "at once" not in whole.err


def test_what_fits_is_left_as_it_is(llmkit, reviews, classifier, tmp_path):
    ran = llmkit("finetune", reviews, "-m", classifier, "--max-steps", 1, "-o", tmp_path / "run")
    assert recipe_of(tmp_path / "run")["accumulation"] == 1
    assert "at once" not in ran.err


@pytest.mark.parametrize(
    ("rows", "accumulation", "flags"),
    [(16, 1, "--batch-size 8 --accumulate 2"), (9, 2, "--batch-size 3 --accumulate 6"), (1, 4, None)],
)
def test_halves_are_the_same_rows(rows, accumulation, flags):
    assert Recipe(1, None, rows, 1e-3, 0, 1, accumulation=accumulation).halves == flags


@pytest.mark.parametrize("verb", ["finetune", "pretrain"])
def test_too_little_memory_on_a_gpu_names_the_remedy(llmkit, reviews, corpus, classifier, tmp_path, monkeypatch, verb):
    def full(*given):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(trainer, "fit", full)
    data = (reviews, "-m", classifier) if verb == "finetune" else (corpus,)
    ran = llmkit(verb, *data, "--batch-size", 8, "--max-steps", 1, "-o", tmp_path / "run")
    assert ran.code == 12
    assert "with 8 rows at once; try --batch-size 4 --accumulate 2" in ran.err
