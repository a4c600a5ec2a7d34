"""Label the texts of a CSV with ONNX Runtime, 32 of like length at a time. MODEL.onnx MODEL TEXTS.csv LABELS.csv"""

import csv
import sys
from pathlib import Path

import onnxruntime
from transformers import AutoConfig, AutoTokenizer

file, model, texts, labels = sys.argv[1:]
session = onnxruntime.InferenceSession(file)
tokenizer, names = AutoTokenizer.from_pretrained(model), AutoConfig.from_pretrained(model).id2label
taken = {given.name for given in session.get_inputs()}
with Path(texts).open(newline="") as read:
    rows = [row["text"] for row in csv.DictReader(read)]
order, found = sorted(range(len(rows)), key=lambda row: len(rows[row])), {}
for start in range(0, len(order), 32):
    batch = order[start : start + 32]
    encoded = tokenizer([rows[row] for row in batch], padding=True, truncation=True, return_tensors="np")
    logits = session.run(None, {name: values for name, values in encoded.items() if name in taken})[0]
    found |= dict(zip(batch, logits.argmax(-1).tolist(), strict=True))
with Path(labels).open("w", newline="") as written:
    out = csv.writer(written)
    out.writerow(["text", "label"])
    out.writerows([text, names[found[row]]] for row, text in enumerate(rows))
