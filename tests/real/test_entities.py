from __future__ import annotations

import pytest

pytestmark = pytest.mark.real
MINILM = "sentence-transformers/all-MiniLM-L6-v2"


def test_entities_of_wnut_are_learned_and_measured_again(hub):
    ran = hub(
        "finetune",
        "leondz/wnut_17",
        "-m",
        MINILM,
        "-o",
        "runs/wnut",
        "--max-steps",
        150,
        "--json",
        "--learning-rate",
        "5e-4",
    )
    assert ran.code == 0, ran.err
    assert ran.json["metrics"]["f1"]["value"] > 0.15
    again = hub("eval", "leondz/wnut_17", "-m", "runs/wnut", "--json")
    assert again.code == 0, again.err
    assert again.json["metrics"] == ran.json["metrics"]
