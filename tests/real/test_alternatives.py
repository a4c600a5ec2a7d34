"""Choices and labels that SmolLM2 compares by their likelihood, on questions of science and on news."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.real


def test_choices_are_those_of_lm_eval_and_clearly_better_than_a_guess(hub, smollm2):
    flags = ("-m", smollm2, "--limit", 100, "--dtype", "float32", "--json")
    ours = hub("eval", "allenai/ai2_arc:ARC-Easy", *flags)
    assert ours.code == 0, ours.err
    theirs = hub("eval", "lm-eval:arc_easy", *flags)
    assert theirs.code == 0, theirs.err
    for name, other in (("accuracy", "acc"), ("accuracy_norm", "acc_norm")):
        assert ours.json["metrics"][name]["value"] == pytest.approx(theirs.json["metrics"][other]["value"], abs=0.02)
    assert ours.json["metrics"]["accuracy"]["low"] > 0.3


def test_news_are_sorted_without_any_training_and_the_batch_size_changes_nothing(hub, smollm2):
    flags = ("--task", "zero-shot-classification", "--limit", 20, "--dtype", "float32", "--no-cache", "--json")
    ran, again = (hub("eval", "ag_news", "-m", smollm2, *flags, "--batch-size", size) for size in (4, 3))
    assert ran.code == again.code == 0, ran.err + again.err
    assert ran.json["n"] == 20
    assert ran.json["metrics"]["accuracy"] == again.json["metrics"]["accuracy"]
