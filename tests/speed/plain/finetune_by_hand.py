"""Finetune a classifier of pairs in a loop by hand: bfloat16 autocast, batches of 16 rows of like length, fused AdamW.

MODEL TRAIN.jsonl VALIDATION.jsonl FOLDER ROWS SEED
"""

import json
import random
import sys
import time
from pathlib import Path

import torch
from sklearn.metrics import f1_score
from transformers import AutoModelForSequenceClassification, AutoTokenizer, get_linear_schedule_with_warmup, set_seed

name, train, validation, folder, count, seed = sys.argv[1:]
set_seed(int(seed))
tokenizer = AutoTokenizer.from_pretrained(name)
model = AutoModelForSequenceClassification.from_pretrained(name, num_labels=2)


def rows(file):
    """Return the rows of a file: their tokens and labels."""
    found = [json.loads(line) for line in Path(file).read_text().splitlines()]
    encoded = tokenizer([row["sentence1"] for row in found], [row["sentence2"] for row in found], truncation=True)
    encoded["labels"] = [row["label"] for row in found]
    return [dict(zip(encoded, values)) for values in zip(*encoded.values())]


def batches(data):
    """Return batches of 16 rows, of like length within each 800 rows of a new order."""
    order = random.sample(data, len(data))
    pools = [order[start : start + 800] for start in range(0, len(order), 800)]
    order = [row for pool in pools for row in sorted(pool, key=lambda row: len(row["input_ids"]))]
    found = [order[start : start + 16] for start in range(0, len(order), 16)]
    return random.sample(found, len(found))


def outputs(batch):
    with torch.autocast("cpu", torch.bfloat16):
        return model(**tokenizer.pad(batch, return_tensors="pt"))


data, steps = rows(train), int(count) // 16
optimizer = torch.optim.AdamW(model.parameters(), lr=9.8e-5, weight_decay=0.01, fused=True)
schedule = get_linear_schedule_with_warmup(optimizer, int(0.06 * steps), steps)
model.train()
started, left = time.perf_counter(), []
for _ in range(steps):
    left = left or batches(data)
    outputs(left.pop()).loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    schedule.step()
    optimizer.zero_grad()
seconds = time.perf_counter() - started
model.eval()
labels, answers = [], []
with torch.inference_mode():
    for batch in batches(rows(validation)):
        labels += [row["labels"] for row in batch]
        answers += outputs(batch).logits.argmax(-1).tolist()
model.save_pretrained(folder)
tokenizer.save_pretrained(folder)
print(json.dumps({"rows_per_second": steps * 16 / seconds, "f1": f1_score(labels, answers)}))
