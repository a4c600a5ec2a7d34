"""Pretraining on real text, in a worker of its own where there are several."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.real


def test_pretraining_on_fairytales_beats_a_smoothed_unigram_model(hub):
    """A quarter of the usual epochs, and no masked-lm, which has hardly begun to learn by then: CI's time."""
    ran = hub("pretrain", "local/fairytales", "-o", "runs/fairytales", "--epochs", 1, "--json")
    assert ran.code == 0, ran.err
    baseline = next(line for line in ran.err.splitlines() if "unigram" in line)
    assert float(baseline.rpartition(" ")[2]) - ran.json["metrics"]["loss"]["value"] >= 1.0
    told = hub("generate", "Once upon a time", "-m", "runs/fairytales", "--max-new-tokens", 40)
    assert told.code == 0, told.err
    assert len(told.out.split()) > 10
