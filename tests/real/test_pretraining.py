"""Pretraining on real text, in a worker of its own where there are several."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.real


# a quarter of the usual epochs: CI's time; the whole runs' figures are larger
@pytest.mark.parametrize(("arch", "gain"), [("llama", 1.0), ("bert", 0.2)])
def test_pretraining_on_fairytales_beats_a_smoothed_unigram_model(hub, arch, gain):
    folder = f"runs/fairytales-{arch}"
    ran = hub("pretrain", "local/fairytales", "-o", folder, "--arch", arch, "--epochs", 1, "--json")
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
        assert "time" in [fill["token"].strip() for fill in filled.json["fills"]]
