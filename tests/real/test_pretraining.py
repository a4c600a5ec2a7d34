"""Pretraining on real text, in a worker of its own where there are several."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.real


# a quarter of the usual epochs for the causal one: CI's time; a masked one has hardly begun to learn by then
@pytest.mark.parametrize(("arch", "epochs", "gain"), [("llama", 1, 1.0), ("bert", 4, 0.4)])
def test_pretraining_on_fairytales_beats_a_smoothed_unigram_model(hub, arch, epochs, gain):
    folder = f"runs/fairytales-{arch}"
    ran = hub("pretrain", "local/fairytales", "-o", folder, "--arch", arch, "--epochs", epochs, "--json")
    assert ran.code == 0, ran.err
    baseline = next(line for line in ran.err.splitlines() if "unigram" in line)
    assert float(baseline.rpartition(" ")[2]) - ran.json["metrics"]["loss"]["value"] >= gain
    if arch == "llama":
        told = hub("generate", "Once upon a time", "-m", folder, "--max-new-tokens", 40)
        assert told.code == 0, told.err
        assert len(told.out.split()) > 10
    else:
        filled = hub("generate", "Once upon a [MASK] there was a poor woodcutter.", "-m", folder, "--top", 5, "--json")
        assert filled.code == 0, filled.err
        scores = [fill["score"] for fill in filled.json["fills"]]
        assert len(scores) == 5
        assert scores == sorted(scores, reverse=True)
