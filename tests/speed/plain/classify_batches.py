"""Label the texts of a CSV with a pipeline in batches. MODEL TEXTS.csv LABELS.csv BATCH_SIZE"""

import csv
import sys
from pathlib import Path

from transformers import pipeline

model, texts, labels, batch_size = sys.argv[1:]
classify = pipeline("text-classification", model=model, truncation=True)
with Path(texts).open(newline="") as read:
    rows = [row["text"] for row in csv.DictReader(read)]
with Path(labels).open("w", newline="") as written:
    out = csv.writer(written)
    out.writerow(["text", "label", "score"])
    for text, found in zip(rows, classify(rows, batch_size=int(batch_size)), strict=True):
        out.writerow([text, found["label"], found["score"]])
