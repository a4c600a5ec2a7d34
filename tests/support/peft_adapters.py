"""Random adapters that peft saves, and what peft answers with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import torch
from peft import PeftModel, get_peft_model
from plain_text import whole_characters
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

TEXTS = ("the fox", "a cat sat on the mat", "once", "the king was kind")
HEADS = {
    "CAUSAL_LM": AutoModelForCausalLM,
    "SEQ_2_SEQ_LM": AutoModelForSeq2SeqLM,
    "SEQ_CLS": AutoModelForSequenceClassification,
    "TOKEN_CLS": AutoModelForTokenClassification,
}
QUERY = {"target_modules": ["q_proj"]}


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
        return whole_characters(tokenizer, output[0][1:].tolist())
    return whole_characters(tokenizer, output[0][ids.shape[1] :].tolist(), ids[0].tolist())


def completions(llmkit, model: Path, texts: Path, *flags: str) -> list[str]:
    ran = llmkit("generate", "-m", model, "-i", texts, "--max-new-tokens", "8", *flags)
    assert ran.code == 0, ran.err
    return [row["completion"] for row in ran.rows]


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
