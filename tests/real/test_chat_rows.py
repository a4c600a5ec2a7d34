"""Instructions in English and Chinese as SmolLM2-Instruct is taught them: of the tokenizer and its template alone."""

from __future__ import annotations

import pytest
import torch
from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer

from llmkit.tasks import TASKS, TaskSettings
from llmkit.tasks.conversational import ConversationalSettings

pytestmark = pytest.mark.real
MODEL, DATA = "HuggingFaceTB/SmolLM2-135M-Instruct", "llamafactory/demo_data"
SETS = {"alpaca_en_demo": 999, "alpaca_zh_demo": 1000}


@pytest.mark.parametrize("name", SETS)
def test_of_every_row_the_answer_is_learned_and_the_end_of_the_turn(real_hub, name):
    rows = load_dataset(str(real_hub / "datasets" / DATA / name), split="train")
    tokenizer = AutoTokenizer.from_pretrained(real_hub / "models" / MODEL)
    task = TASKS["conversational"]
    columns = task.columns.match(rows, {})
    assert task.encoding.first_unencodable_row(rows, tokenizer, TaskSettings(columns, 2048)) is None
    prepared = task.encoding.encode(rows, tokenizer, TaskSettings(columns, 2048), training=True)
    assert len(prepared) == SETS[name]
    for ids, labels, answer in zip(prepared["input_ids"], prepared["labels"], rows["output"], strict=True):
        start = next(place for place, label in enumerate(labels) if label != -100)
        assert labels[start:] == ids[start:]
        assert tokenizer.decode(ids[start:]) == f"{answer}<|im_end|>\n"
        assert tokenizer.decode(ids[:start]).endswith("<|im_end|>\n<|im_start|>assistant\n")


def test_short_rows_packed_have_the_logits_that_they_have_alone(real_hub, smollm2):
    rows = load_dataset(str(real_hub / "datasets" / DATA / "alpaca_en_demo"), split="train")
    task, tokenizer = TASKS["conversational"], AutoTokenizer.from_pretrained(smollm2)
    settings = TaskSettings(task.columns.match(rows, {}), 256, specific=ConversationalSettings(packing=True))
    short = task.encoding.encode(rows.select(range(30)), tokenizer, settings, training=True)
    short = short.filter(lambda row: row["length"] < 70).select(range(3))
    (pack,) = task.encoding.pack(short, settings).to_list()
    model = AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32).eval()
    starts = [place for place, position in enumerate(pack["position_ids"]) if position == 0]
    with torch.no_grad():
        packed = model(**task.encoding.collator(tokenizer, settings)([pack])).logits[0]
        for start, end in zip(starts, [*starts[1:], len(pack["input_ids"])], strict=True):
            alone = model(torch.tensor([pack["input_ids"][start:end]])).logits[0]
            torch.testing.assert_close(packed[start:end], alone, rtol=1e-4, atol=1e-4)


def test_the_default_model_is_planned_for_them(hub):
    ran = hub("finetune", f"{DATA}:alpaca_zh_demo", "--packing", "--max-length", 512, "--dry-run")
    assert ran.code == 0, ran.err
    assert f"model: {MODEL}, the default for conversational" in ran.err
    assert "rows: 900 to train on, 100 to measure on" in ran.err
    assert "packing: 900 rows in " in ran.err
