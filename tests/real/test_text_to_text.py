from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.real
SCITLDR = "allenai/scitldr"


def test_the_first_sentence_is_a_fair_summary_of_an_abstract(hub, real_hub):
    from datasets import load_dataset

    rows = load_dataset(str(real_hub / "datasets" / SCITLDR), split="test")
    lead = hub.folder / "lead.jsonl"
    lines = [{"source": row["source"], "prediction": row["source"][0]} for row in rows]
    lead.write_text("".join(json.dumps(line) + "\n" for line in lines))
    ran = hub("eval", SCITLDR, "--split", "test", "--predictions", lead, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["task"] == "summarization"
    assert 0.2 < ran.json["metrics"]["rougeL"]["value"] < 0.35


def test_a_chat_model_translates_by_a_prompt(hub, smollm2):
    ran = hub(
        "generate",
        "-m",
        smollm2,
        "--task",
        "translation",
        "--source",
        "en",
        "--target",
        "fr",
        "Good morning.",
        "--max-new-tokens",
        24,
        "--json",
    )
    assert ran.code == 0, ran.err
    assert "Bonjour" in ran.json["completion"]
