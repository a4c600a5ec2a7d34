"""Adapters that bring tokens, that lie elsewhere, or that cannot be opened: what is done and said of each."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft_adapters import QUERY, TEXTS, completions, continuation, make
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def texts(tmp_path) -> Path:
    (tmp_path / "texts.txt").write_text("".join(f"{text}\n" for text in TEXTS))
    return tmp_path / "texts.txt"


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
