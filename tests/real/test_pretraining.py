"""Pretraining on real text, in a worker of its own where there are several."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.real


# half of the usual epochs for the causal one: CI's time; the whole runs' figures are larger
@pytest.mark.parametrize(("flags", "gain"), [(["--epochs", "2"], 1.5), (["--arch", "bert"], 0.4)])
def test_pretraining_on_fairytales_beats_a_smoothed_unigram_model(hub, flags, gain):
    folder = f"runs/fairytales-{flags[-1]}"
    ran = hub("pretrain", "local/fairytales", "-o", folder, *flags, "--json")
    assert ran.code == 0, ran.err
    baseline = next(line for line in ran.err.splitlines() if "unigram" in line)
    assert float(baseline.rpartition(" ")[2]) - ran.json["metrics"]["loss"]["value"] >= gain
    if "bert" not in flags:
        told = hub("generate", "Once upon a time", "-m", folder, "--max-new-tokens", 40)
        assert told.code == 0, told.err
        assert len(told.out.split()) > 10
