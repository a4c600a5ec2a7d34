"""Adapters that bring tokens, that lie elsewhere, or that cannot be opened: what is done and said of each."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
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
        (lambda folder: describe(folder, peft_type=None), ("it has no peft_type",)),
        (lambda folder: describe(folder, base_model_name_or_path=["base"]), ("base_model_name_or_path is no text",)),
        (lambda folder: (folder / "adapter_config.json").write_text("[]"), ("it holds no object",)),
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


@pytest.mark.parametrize(
    ("base", "words"),
    [
        ("/absent/base", "there is no model folder '/absent/base'"),
        ("out/of/place", "'out/of/place' is neither here on disk nor a valid Hub name"),
        (None, "does not say which base it was made on"),
        ("", "does not say which base it was made on"),
        ("{}", "'{}' is an adapter, and a model is wanted"),
        ("{}/../other", "'{}/../other' is an adapter, and a model is wanted"),
    ],
)
def test_an_adapter_without_its_base_says_what_to_edit(llmkit, adapter, tmp_path, base, words):
    shutil.copytree(adapter, tmp_path / "other")
    describe(tmp_path / "other", base_model_name_or_path=str(adapter))
    describe(adapter, base_model_name_or_path=base and base.replace("{}", str(adapter)))
    for line in (("generate", "the fox", "-m"), ("merge", "-o", tmp_path / "merged")):
        ran = llmkit(*line, adapter)
        assert ran.code == 2, ran.err
        assert words.replace("{}", str(adapter)) in ran.error
        assert f"write that as base_model_name_or_path in {adapter / 'adapter_config.json'}" in ran.error
    named = llmkit("merge", adapter, "-m", "/absent/named", "-o", tmp_path / "merged")
    assert named.code == 2
    assert f"'/absent/named'; it is the base of the adapter {str(adapter)!r}, by -m" in named.error


def test_a_base_that_is_not_named_can_be_named_to_merge(llmkit, llama, adapter, texts, tmp_path):
    expected = completions(llmkit, adapter, texts)
    describe(adapter, base_model_name_or_path=None)
    assert llmkit("merge", adapter, "-m", llama, "-o", tmp_path / "merged").code == 0
    assert completions(llmkit, tmp_path / "merged", texts) == expected


def test_the_merged_model_of_another_programs_adapter_has_a_task_and_a_card(llmkit, adapter, tmp_path):
    ran = llmkit("merge", adapter, "-o", tmp_path / "merged", "--dtype", "bfloat16", "--min-agreement", "0")
    assert ran.code == 0, ran.err
    assert ran.err.count("in bfloat16 a text can change") == 1
    assert json.loads((tmp_path / "merged" / "run.json").read_text())["task"] == "causal-lm"
    assert ModelCard.load(tmp_path / "merged" / "README.md").data.pipeline_tag == "text-generation"
    again = llmkit("merge", adapter, "-o", tmp_path / "merged", "--overwrite", "--quiet", "--min-agreement", "0")
    assert (again.code, again.err) == (0, "")
