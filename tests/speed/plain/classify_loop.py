"""Label the texts of a CSV one by one with a pipeline. MODEL TEXTS.csv LABELS.csv"""

import csv
import sys
from pathlib import Path

from transformers import pipeline

model, texts, labels = sys.argv[1:]
classify = pipeline("text-classification", model=model, truncation=True)
with Path(texts).open(newline="") as read, Path(labels).open("w", newline="") as written:
    out = csv.writer(written)
    out.writerow(["text", "label", "score"])
    for row in csv.DictReader(read):
        (found,) = classify(row["text"])
        out.writerow([row["text"], found["label"], found["score"]])
