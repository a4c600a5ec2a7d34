from __future__ import annotations

import pytest

pytestmark = pytest.mark.real
MINILM = "sentence-transformers/all-MiniLM-L6-v2"


def test_questions_on_reviews_and_on_wikipedia(hub):
    ran = hub("finetune", "megagonlabs/subjqa:grocery", "-m", MINILM, "-o", "runs/subjqa", "--max-steps", 40, "--json")
    assert ran.code == 0, ran.err
    again = hub("eval", "megagonlabs/subjqa:grocery", "-m", "runs/subjqa", "--json")
    assert again.code == 0, again.err
    assert again.json["metrics"] == ran.json["metrics"]
    for language in ("en", "zh"):
        other = hub("eval", f"google/xquad:xquad.{language}", "-m", "runs/subjqa", "--limit", 60, "--json")
        assert other.code == 0, other.err
        assert other.json["n"] == 60
