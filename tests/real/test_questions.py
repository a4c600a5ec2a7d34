from __future__ import annotations

import pytest

pytestmark = pytest.mark.real
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
BRIEFLY = ("--max-steps", 12, "--limit", 200, "--max-length", 192)


def test_questions_on_reviews_and_on_wikipedia(hub):
    ran = hub("finetune", "megagonlabs/subjqa:grocery", "-m", MINILM, "-o", "runs/subjqa", *BRIEFLY, "--json")
    assert ran.code == 0, ran.err
    again = hub("eval", "megagonlabs/subjqa:grocery", "-m", "runs/subjqa", "--json")
    assert again.code == 0, again.err
    assert again.json["n"] == 78
    assert again.json["metrics"] == ran.json["metrics"]
    for language in ("en", "zh"):
        other = hub("eval", f"google/xquad:xquad.{language}", "-m", "runs/subjqa", "--limit", 16, "--json")
        assert other.code == 0, other.err
        assert other.json["n"] == 16
