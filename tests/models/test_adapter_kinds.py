"""Adapters of every kind that peft saves: opened and merged as peft does, or refused by what is so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

pytestmark = pytest.mark.filterwarnings("ignore")
TEXTS = ("the fox", "a cat sat on the mat", "once", "the king was kind")
HEADS = {
    "CAUSAL_LM": AutoModelForCausalLM,
    "SEQ_2_SEQ_LM": AutoModelForSeq2SeqLM,
    "SEQ_CLS": AutoModelForSequenceClassification,
    "TOKEN_CLS": AutoModelForTokenClassification,
}
QUERY = {"target_modules": ["q_proj"]}
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
    "norms": ("LNTuning", {"target_modules": ["norm"]}),
    "tokens alone": ("TrainableTokens", {"token_indices": [1, 2]}),
}
VIRTUAL: dict[str, tuple[str, dict[str, Any]]] = {
    "prompt tuning": ("PromptTuning", {"num_virtual_tokens": 3}),
    "p-tuning": ("PromptEncoder", {"num_virtual_tokens": 3, "encoder_hidden_size": 8}),
    "prefix tuning": ("PrefixTuning", {"num_virtual_tokens": 3}),
}


def make(base: Path, folder: Path, kind: str, values: dict[str, Any], task_type: str = "CAUSAL_LM", **model) -> Any:
    """Save a random adapter with peft, and return the model that peft opens of it."""
    torch.manual_seed(0)
    config = getattr(peft, f"{kind}Config")(task_type=task_type, **values)
    adapted = get_peft_model(HEADS[task_type].from_pretrained(base, **model), config)
    with torch.no_grad():
        for weights in adapted.parameters():
            if weights.requires_grad:
                weights.add_(torch.randn_like(weights) * 0.5)
    adapted.save_pretrained(folder)
    return reopened(base, folder, task_type, **model)


def reopened(base: Path, folder: Path, task_type: str = "CAUSAL_LM", **model) -> Any:
    return PeftModel.from_pretrained(HEADS[task_type].from_pretrained(base, **model), str(folder)).eval()


def continuation(model: Any, tokenizer: Any, text: str, length: int = 8) -> str:
    ids = tokenizer(text, return_tensors="pt").input_ids
    output = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=length, do_sample=False)
    if model.config.is_encoder_decoder:
        return str(tokenizer.decode(output[0][1:], skip_special_tokens=True))
    before = len(tokenizer.decode(ids[0], skip_special_tokens=True))
    return str(tokenizer.decode(output[0], skip_special_tokens=True))[before:]


def completions(llmkit, model: Path, texts: Path, *flags: str) -> list[str]:
    ran = llmkit("generate", "-m", model, "-i", texts, "--max-new-tokens", "8", *flags)
    assert ran.code == 0, ran.err
    return [row["completion"] for row in ran.rows]


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
    assert "UserWarning" not in merged.err
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


@pytest.mark.parametrize("name", VIRTUAL)
def test_the_loss_of_virtual_tokens_is_that_of_peft(llmkit, llama, texts, tmp_path, name):
    model, tokenizer = make(llama, tmp_path / "adapter", *VIRTUAL[name]), AutoTokenizer.from_pretrained(llama)
    (tmp_path / "one.jsonl").write_text(json.dumps({"text": "the fox was in the garden and the king was kind"}) + "\n")
    ran = llmkit("eval", tmp_path / "one.jsonl", "-m", tmp_path / "adapter", "--task", "causal-lm", "--json")
    assert ran.code == 0, ran.err
    plain = llmkit("eval", tmp_path / "one.jsonl", "-m", llama, "--task", "causal-lm", "--json")
    ids = tokenizer("the fox was in the garden and the king was kind", return_tensors="pt").input_ids
    losses = []
    for network, own in (
        (model, 0 if name == "prefix tuning" else 3),
        (AutoModelForCausalLM.from_pretrained(llama), 0),
    ):
        with torch.no_grad():
            logits = network(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[:, own:]
        losses.append(float(torch.nn.functional.cross_entropy(logits[0, :-1], ids[0, 1:])))
    figures = [result.json["metrics"]["loss"]["value"] for result in (ran, plain)]
    # what a text ends with may count too: the two differ as those of peft do
    assert figures[0] != pytest.approx(figures[1], abs=1e-3)
    assert losses[0] != pytest.approx(losses[1], abs=1e-3)


def gpt2_folder(folder: Path, llama: Path) -> Path:
    """A random GPT-2, of Conv1D modules and learned positions."""
    tokenizer = AutoTokenizer.from_pretrained(llama)
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64, "initializer_range": 0.3}
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    dropouts = dict.fromkeys(("attn_pdrop", "embd_pdrop", "resid_pdrop"), 0.0)
    torch.manual_seed(1)
    config = AutoConfig.for_model("gpt2", vocab_size=len(tokenizer), **sizes, **ends, **dropouts)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


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
    expected = [continuation(model, AutoTokenizer.from_pretrained(t5), text) for text in TEXTS]
    assert completions(llmkit, tmp_path / "adapter", texts) == expected
    assert llmkit("merge", tmp_path / "adapter", "-o", tmp_path / "merged").code == 0
    assert completions(llmkit, tmp_path / "merged", texts) == expected


def test_virtual_tokens_of_an_encoder_decoder_are_refused(llmkit, t5, tmp_path):
    make(t5, tmp_path / "adapter", *VIRTUAL["prompt tuning"], "SEQ_2_SEQ_LM")
    ran = llmkit("generate", "-m", tmp_path / "adapter", "the fox")
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


def resized(base: Path, folder: Path, values: dict[str, Any], added: int = 3, **saving: Any) -> tuple[Any, Any]:
    """Save an adapter that was trained with tokens of its own, and return the model and the tokenizer."""
    torch.manual_seed(0)
    tokenizer, model = AutoTokenizer.from_pretrained(base), AutoModelForCausalLM.from_pretrained(base)
    tokenizer.add_tokens([f"<new{number}>" for number in range(added)], special_tokens=True)
    model.resize_token_embeddings(len(tokenizer))
    adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, **values)).eval()
    with torch.no_grad():
        for weights in adapted.parameters():
            if weights.requires_grad:
                weights.add_(torch.randn_like(weights) * 0.3)
    adapted.save_pretrained(folder, **saving)
    tokenizer.save_pretrained(folder)
    return adapted, tokenizer


@pytest.mark.parametrize(
    "values",
    [QUERY, {**QUERY, "modules_to_save": ["embed_tokens", "lm_head"]}, {"target_modules": ["embed_tokens", "q_proj"]}],
)
def test_a_base_gets_the_embeddings_of_an_adapter_that_brings_tokens(llmkit, llama, texts, tmp_path, values):
    model, tokenizer = resized(llama, tmp_path / "adapter", values)
    expected = [continuation(model, tokenizer, text) for text in TEXTS]
    assert completions(llmkit, tmp_path / "adapter", texts) == expected
    ran = llmkit("merge", tmp_path / "adapter", "-o", tmp_path / "merged")
    assert ran.code == 0, ran.err
    assert f"embeddings: {len(tokenizer)} of the adapter" in ran.err
    assert json.loads((tmp_path / "merged" / "config.json").read_text())["vocab_size"] == len(tokenizer)
    assert completions(llmkit, tmp_path / "merged", texts) == expected


def test_trained_rows_of_the_new_tokens_are_enough(llmkit, llama, texts, tmp_path):
    first = len(AutoTokenizer.from_pretrained(llama))
    values = {**QUERY, "trainable_token_indices": [first, first + 1, first + 2]}
    model, tokenizer = resized(llama, tmp_path / "adapter", values, save_embedding_layers=False)
    expected = [continuation(model, tokenizer, text) for text in TEXTS]
    assert completions(llmkit, tmp_path / "adapter", texts) == expected


@pytest.mark.parametrize(
    ("values", "words"),
    [(QUERY, "holds none for the others"), ({**QUERY, "modules_to_save": ["embed_tokens"]}, "the head's rows")],
)
def test_rows_of_new_tokens_that_nobody_holds_are_refused(llmkit, llama, tmp_path, values, words):
    resized(llama, tmp_path / "adapter", values, save_embedding_layers=False)
    for line in (("generate", "the fox", "-m"), ("merge", "-o", tmp_path / "merged")):
        ran = llmkit(*line, tmp_path / "adapter")
        assert ran.code == 2, ran.err
        assert words in ran.error
        assert "save_embedding_layers" in ran.error


def test_halves_stay_halves(llmkit, llama, tmp_path):
    AutoModelForCausalLM.from_pretrained(llama, dtype=torch.bfloat16).save_pretrained(tmp_path / "base")
    AutoTokenizer.from_pretrained(llama).save_pretrained(tmp_path / "base")
    make(tmp_path / "base", tmp_path / "adapter", "Lora", {**QUERY, "modules_to_save": ["lm_head"]})
    assert llmkit("merge", tmp_path / "adapter", "-o", tmp_path / "merged", "--min-agreement", "0").code == 0
    weights = load_file(tmp_path / "merged" / "model.safetensors").values()
    assert {tensor.dtype for tensor in weights} == {torch.bfloat16}


@pytest.fixture
def adapter(llama, tmp_path) -> Path:
    make(llama, tmp_path / "adapter", "Lora", QUERY)
    return tmp_path / "adapter"


def describe(folder: Path, **values: object) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / "adapter_model.safetensors"), folder / "adapter_model.bin")
    (folder / "adapter_model.safetensors").unlink()


def widened(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    save_file({name: torch.cat([tensor, tensor], 1) for name, tensor in load_file(file).items()}, file)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (pickled, ("adapter_model.bin", "adapter_model.safetensors", "save_file")),
        (widened, ("does not fit its base", "8 x 64 in the adapter and 8 x 32 on the base")),
        (lambda folder: describe(folder, peft_type="POLY"), ("POLY", "not opened")),
        (lambda folder: describe(folder, peft_type="NEWER"), ("NEWER", "does not know")),
        (lambda folder: describe(folder, layer_replication=[[0, 1], [0, 2]]), ("layer_replication",)),
        (lambda folder: describe(folder, alora_invocation_tokens=[1]), ("alora_invocation_tokens",)),
        (lambda folder: describe(folder, target_modules=None), ("does not fit",)),
        (lambda folder: describe(folder, target_modules=["absent"]), ("does not fit", "absent")),
    ],
)
def test_what_cannot_be_opened_is_one_sentence(llmkit, adapter, tmp_path, spoil, words):
    spoil(adapter)
    for line in (("generate", "the fox", "-m"), ("merge", "-o", tmp_path / "merged")):
        ran = llmkit(*line, adapter)
        assert ran.code == 2, ran.err
        assert all(word in ran.error for word in words), ran.error


def test_adapters_in_folders_of_a_folder_are_named(llmkit, adapter, tmp_path):
    shutil.copytree(adapter, tmp_path / "run" / "default")
    ran = llmkit("generate", "the fox", "-m", tmp_path / "run")
    assert ran.code == 2
    assert f"-m {tmp_path / 'run' / 'default'}" in ran.error


def test_a_base_beside_the_adapter_is_found_by_its_relative_name(llmkit, llama, adapter, tmp_path, monkeypatch):
    shutil.copytree(llama, tmp_path / "base")
    describe(adapter, base_model_name_or_path="./base")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    ran = llmkit("generate", "the fox", "-m", "../adapter", "--max-new-tokens", "4")
    assert ran.code == 0, ran.err
    assert "which the adapter ../adapter calls ./base" in ran.err
    monkeypatch.chdir(tmp_path)
    here = llmkit("generate", "the fox", "-m", "adapter", "--max-new-tokens", "4")
    assert (here.out, "calls" in here.err) == (ran.out, False)


def test_a_quantized_base_is_not_merged_into(llmkit, llama, adapter, tmp_path):
    base = Path(shutil.copytree(llama, tmp_path / "base"))
    config = json.loads((base / "config.json").read_text())
    quantized = {"quant_method": "gptq", "bits": 4}
    (base / "config.json").write_text(json.dumps(config | {"quantization_config": quantized}))
    ran = llmkit("merge", adapter, "-m", base, "-o", tmp_path / "merged")
    assert ran.code == 2
    assert "quantized (gptq)" in ran.error
