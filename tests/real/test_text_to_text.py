from __future__ import annotations

import json

import pytest
import sacrebleu

pytestmark = pytest.mark.real
MULTI30K, SCITLDR = "bentrevett/multi30k", "allenai/scitldr"


@pytest.fixture(scope="module")
def t5(hub):
    """A T5 that has seen a little of the captions."""
    ran = hub("pretrain", MULTI30K, "--arch", "t5", "--limit", 4000, "--vocab-size", 2000, "--max-length", 64,
              "--max-steps", 20, "-o", "runs/t5-captions")  # fmt: skip
    assert ran.code == 0, ran.err
    return "runs/t5-captions"


def test_captions_are_translated_better_with_training_and_measured_as_sacrebleu_does(hub, t5):
    flags = ("--limit", 4000, "--validation", "test", "--max-steps", 120, "--target-length", 24, "--max-length", 48)
    ran = hub("finetune", MULTI30K, "-m", t5, "-o", "runs/captions", *flags, "--learning-rate", "2e-3", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["task"] == "translation"
    kept = hub.folder / "kept.jsonl"
    again = hub("eval", MULTI30K, "-m", "runs/captions", "--split", "test", "--save-predictions", kept, "--json")
    assert again.json["metrics"] == ran.json["metrics"]
    rows = [json.loads(line) for line in kept.read_text().splitlines()]
    guesses, references = [row["prediction"] for row in rows], [row["label"][0] for row in rows]
    own = sacrebleu.CHRF().corpus_score(guesses, [references]).score
    assert again.json["metrics"]["chrf"]["value"] == pytest.approx(own, abs=1e-4)
    before = hub("eval", MULTI30K, "-m", t5, "--task", "translation", "--split", "test", "--limit", 100,
                 "--target-length", 24, "--json")  # fmt: skip
    assert before.json["metrics"]["chrf"]["value"] < own


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
    ran = hub("generate", "-m", smollm2, "--task", "translation", "--source", "en", "--target", "fr", "Good morning.",
              "--max-new-tokens", 24, "--json")  # fmt: skip
    assert ran.code == 0, ran.err
    assert "Bonjour" in ran.json["completion"]
