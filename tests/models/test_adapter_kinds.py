"""Adapters of every kind that peft saves: opened and merged as peft does, or refused by what is so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft_adapters import QUERY, TEXTS, completions, continuation, gpt2_folder, make
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

pytestmark = pytest.mark.filterwarnings("ignore")
FOLDED: dict[str, tuple[str, dict[str, Any]]] = {
    "rank-stabilized": ("Lora", {**QUERY, "use_rslora": True}),
    "decomposed": ("Lora", {**QUERY, "use_dora": True}),
    "biases of lora": ("Lora", {**QUERY, "bias": "lora_only"}),
    "ranks by module": ("Lora", {**QUERY, "rank_pattern": {"q_proj": 4}, "alpha_pattern": {"q_proj": 32}}),
    "one layer": ("Lora", {**QUERY, "layers_to_transform": [0]}),
    "parameters": ("Lora", {"target_modules": [], "target_parameters": ["q_proj.weight"]}),
    "excluded": ("Lora", {"target_modules": "all-linear", "exclude_modules": ["down_proj"]}),
    "copies of both ends": ("Lora", {**QUERY, "modules_to_save": ["embed_tokens", "lm_head"]}),
    "a tied copy": ("Lora", {**QUERY, "modules_to_save": ["embed_tokens"], "ensure_weight_tying": True}),
    "pissa": ("Lora", {**QUERY, "init_lora_weights": "pissa"}),
    "AdaLoRA": ("AdaLora", {**QUERY, "total_step": 10}),
    "IA3": ("IA3", {"target_modules": ["k_proj", "down_proj"], "feedforward_modules": ["down_proj"]}),
    "LoHa": ("LoHa", QUERY),
    "LoKr": ("LoKr", QUERY),
    "OFT": ("OFT", {**QUERY, "oft_block_size": 4}),
    "VeRA": ("Vera", {**QUERY, "save_projection": False}),
    "FourierFT": ("FourierFT", {**QUERY, "n_frequency": 10}),
    "FRoD": ("Frod", QUERY),
    "norms": ("LNTuning", {"target_modules": ["norm"]}),
    "tokens alone": ("TrainableTokens", {"token_indices": [1, 2]}),
}
VIRTUAL: dict[str, tuple[str, dict[str, Any]]] = {
    "prompt tuning": ("PromptTuning", {"num_virtual_tokens": 3}),
    "p-tuning": ("PromptEncoder", {"num_virtual_tokens": 3, "encoder_hidden_size": 8}),
    "prefix tuning": ("PrefixTuning", {"num_virtual_tokens": 3}),
}


@pytest.fixture
def texts(tmp_path) -> Path:
    (tmp_path / "texts.txt").write_text("".join(f"{text}\n" for text in TEXTS))
    return tmp_path / "texts.txt"


@pytest.mark.parametrize("name", FOLDED)
def test_a_kind_that_changes_weights_answers_as_in_peft_and_so_does_the_merged_model(
    llmkit, llama, texts, tmp_path, name
):
    kind, values = FOLDED[name]
    model, tokenizer = make(llama, tmp_path / "adapter", kind, values), AutoTokenizer.from_pretrained(llama)
    expected = [continuation(model, tokenizer, text) for text in TEXTS]
    plain = AutoModelForCausalLM.from_pretrained(llama)
    assert expected != [continuation(plain, tokenizer, text) for text in TEXTS]
    assert completions(llmkit, tmp_path / "adapter", texts, "--batch-size", "4") == expected
    merged = llmkit("merge", tmp_path / "adapter", "-o", tmp_path / "merged", "--prompts", texts)
    assert merged.code == 0
    assert "Warning" not in merged.err
    assert "%|" not in merged.err  # no bar of a library
    tokenizer, alone = (auto.from_pretrained(tmp_path / "merged") for auto in (AutoTokenizer, AutoModelForCausalLM))
    assert [continuation(alone, tokenizer, text) for text in TEXTS] == expected


@pytest.mark.parametrize("name", VIRTUAL)
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_virtual_tokens_stand_before_each_text_in_every_batch(llmkit, llama, texts, tmp_path, name, family):
    base = llama if family == "llama" else gpt2_folder(tmp_path / "gpt2", llama)
    model = make(base, tmp_path / "adapter", *VIRTUAL[name])
    tokenizer = AutoTokenizer.from_pretrained(base)
    expected = [continuation(model, tokenizer, text) for text in TEXTS]
    assert expected != [continuation(AutoModelForCausalLM.from_pretrained(base), tokenizer, text) for text in TEXTS]
    for size in ("1", "4"):
        assert completions(llmkit, tmp_path / "adapter", texts, "--batch-size", size) == expected
    refused = llmkit("merge", tmp_path / "adapter", "-o", tmp_path / "merged")
    assert refused.code == 2
    assert name in refused.error
    assert "-m" in refused.error
    untrained = llmkit("finetune", texts, "-m", tmp_path / "adapter", "-o", tmp_path / "run", "--task", "causal-lm")
    assert untrained.code == 2
    assert f"-m {base} trains its base" in untrained.error
    assert "llmkit merge" not in untrained.error


@pytest.mark.parametrize("name", VIRTUAL)
def test_the_loss_of_virtual_tokens_is_that_of_peft(llmkit, llama, tmp_path, name):
    model, tokenizer = make(llama, tmp_path / "adapter", *VIRTUAL[name]), AutoTokenizer.from_pretrained(llama)
    text = "the fox was in the garden and the king was kind"
    (tmp_path / "one.jsonl").write_text(json.dumps({"text": text}) + "\n")
    ran = llmkit("eval", tmp_path / "one.jsonl", "-m", tmp_path / "adapter", "--task", "causal-lm", "--json")
    assert ran.code == 0, ran.err
    ids = tokenizer(text, return_tensors="pt").input_ids
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[:, -ids.shape[1] :]
    expected = float(torch.nn.functional.cross_entropy(logits[0, :-1], ids[0, 1:]))
    assert ran.json["metrics"]["loss"]["value"] == pytest.approx(expected, abs=1e-5)


def test_virtual_tokens_take_places_of_the_context(llmkit, llama, tmp_path):
    base = gpt2_folder(tmp_path / "gpt2", llama)
    make(base, tmp_path / "adapter", *VIRTUAL["prompt tuning"])
    ran = llmkit("generate", "-m", tmp_path / "adapter", "the fox", "--max-new-tokens", "100")
    assert ran.code == 0, ran.err
    assert "leaves room for" in ran.err


def test_modules_of_gpt2_are_folded(llmkit, llama, texts, tmp_path):
    base = gpt2_folder(tmp_path / "gpt2", llama)
    model = make(base, tmp_path / "adapter", "Lora", {"target_modules": ["c_attn"], "fan_in_fan_out": True})
    expected = [continuation(model, AutoTokenizer.from_pretrained(base), text) for text in TEXTS]
    assert completions(llmkit, tmp_path / "adapter", texts) == expected
    assert llmkit("merge", tmp_path / "adapter", "-o", tmp_path / "merged").code == 0
    assert completions(llmkit, tmp_path / "merged", texts) == expected


@pytest.mark.parametrize(
    ("kind", "values"),
    [("Lora", {"target_modules": ["q", "v"]}), ("IA3", {"target_modules": ["k", "wo"], "feedforward_modules": ["wo"]})],
)
def test_an_encoder_decoder_answers_as_in_peft(llmkit, t5, texts, tmp_path, kind, values):
    model = make(t5, tmp_path / "adapter", kind, values, "SEQ_2_SEQ_LM")
    tokenizer = AutoTokenizer.from_pretrained(t5)
    expected = [continuation(model, tokenizer, f"summarize: {text}") for text in TEXTS]
    assert completions(llmkit, tmp_path / "adapter", texts, "--task", "summarization") == expected
    assert llmkit("merge", tmp_path / "adapter", "-o", tmp_path / "merged").code == 0
    assert completions(llmkit, tmp_path / "merged", texts, "--task", "summarization") == expected


def test_virtual_tokens_of_an_encoder_decoder_are_refused(llmkit, t5, tmp_path):
    make(t5, tmp_path / "adapter", *VIRTUAL["prompt tuning"], "SEQ_2_SEQ_LM")
    ran = llmkit("generate", "-m", tmp_path / "adapter", "the fox", "--task", "summarization")
    assert ran.code == 2
    assert "prompt tuning" in ran.error


def probabilities(model: Any, tokenizer: Any) -> list[float]:
    with torch.no_grad():
        return [model(**tokenizer(text, return_tensors="pt")).logits.softmax(-1)[0].max().item() for text in TEXTS]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("Lora", {"target_modules": ["query"]}),
        ("Lora", {"target_modules": ["query"], "use_dora": True, "bias": "all"}),
        ("IA3", {"target_modules": ["key", "output.dense"], "feedforward_modules": ["output.dense"]}),
        ("PromptTuning", {"num_virtual_tokens": 3}),
    ],
)
@pytest.mark.parametrize("outputs", [2, 3])
def test_a_head_of_its_own_makes_a_classifier_of_a_bare_base(llmkit, encoder, tmp_path, kind, values, outputs):
    torch.manual_seed(0)
    model = make(encoder, tmp_path / "adapter", kind, values, "SEQ_CLS", num_labels=outputs)
    expected = probabilities(model, AutoTokenizer.from_pretrained(encoder))
    ran = llmkit("classify", "-m", tmp_path / "adapter", *TEXTS)
    assert ran.code == 0, ran.err
    assert [row["score"] for row in ran.rows] == pytest.approx(expected, abs=1e-5)
    if kind != "PromptTuning":
        assert llmkit("merge", tmp_path / "adapter", "-o", tmp_path / "merged").code == 0
        alone = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged").eval()
        assert probabilities(alone, AutoTokenizer.from_pretrained(encoder)) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", ["lora", "prompt tuning", "prefix tuning"])
def test_a_decoder_with_a_head_classifies_as_in_peft(llmkit, llama, tmp_path, name):
    kind, values = VIRTUAL.get(name, ("Lora", QUERY))
    model = make(llama, tmp_path / "adapter", kind, values, "SEQ_CLS", num_labels=2)
    ran = llmkit("classify", "-m", tmp_path / "adapter", *TEXTS)
    assert ran.code == 0, ran.err
    expected = probabilities(model, AutoTokenizer.from_pretrained(llama))
    assert [row["score"] for row in ran.rows] == pytest.approx(expected, abs=1e-5)


def test_an_encoder_without_a_pooler_embeds_with_an_adapter_as_in_peft(llmkit, encoder, tmp_path):
    base, tokenizer = tmp_path / "base", AutoTokenizer.from_pretrained(encoder)
    AutoModelForMaskedLM.from_pretrained(encoder).save_pretrained(base)
    tokenizer.save_pretrained(base)
    torch.manual_seed(0)
    config = LoraConfig(task_type="FEATURE_EXTRACTION", target_modules=["query"], init_lora_weights=False)
    model = get_peft_model(AutoModel.from_pretrained(base), config).eval()
    model.save_pretrained(tmp_path / "adapter")
    ran = llmkit("embed", TEXTS[1], "-m", tmp_path / "adapter", "--no-normalize", "--json")
    assert ran.code == 0, ran.err
    with torch.no_grad():
        expected = model(**tokenizer(TEXTS[1], return_tensors="pt")).last_hidden_state[0].mean(0)
    assert ran.json["embedding"] == pytest.approx(expected.tolist(), abs=1e-5)
