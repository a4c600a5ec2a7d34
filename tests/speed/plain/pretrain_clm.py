"""Pretrain a Llama on text as run_clm.py does: the Trainer over blocks of tokens. `bf16`: in bfloat16 autocast.

CONFIG.json TOKENIZER TRAIN.txt VALIDATION.txt FOLDER STEPS float32|bf16
"""

import json
import math
import sys

import torch
from datasets import load_dataset
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    Trainer,
    TrainingArguments,
    default_data_collator,
    set_seed,
)

config, tokenizer_name, train, validation, folder, steps, precision = sys.argv[1:]
BLOCK = 256
set_seed(42)
tokenizer = AutoTokenizer.from_pretrained(tokenizer_name)
model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(config))
data = load_dataset("text", data_files={"train": train, "validation": validation})
data = data.map(lambda batch: tokenizer(batch["text"]), batched=True, remove_columns=["text"])


def blocks(batch):
    tokens = [token for row in batch["input_ids"] for token in row]
    cut = [tokens[start : start + BLOCK] for start in range(0, len(tokens) - BLOCK + 1, BLOCK)]
    return {"input_ids": cut, "labels": [list(block) for block in cut]}


data = data.map(blocks, batched=True, remove_columns=data["train"].column_names)
arguments = TrainingArguments(
    folder,
    per_device_train_batch_size=8,
    learning_rate=2e-3,
    max_steps=int(steps),
    bf16=precision == "bf16",
    use_cpu=not torch.cuda.is_available(),
    report_to="none",
)
trainer = Trainer(
    model,
    arguments,
    train_dataset=data["train"],
    eval_dataset=data["validation"],
    processing_class=tokenizer,
    data_collator=default_data_collator,
)
trained = trainer.train()
loss = trainer.evaluate()["eval_loss"]
trainer.save_model()
tokens = int(steps) * 8 * BLOCK / trained.metrics["train_runtime"]
print(json.dumps({"tokens_per_second": tokens, "perplexity": math.exp(loss)}))
