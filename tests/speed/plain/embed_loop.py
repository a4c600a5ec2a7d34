"""Embed the texts of a CSV one by one: the mean of the last layer, of length one. MODEL TEXTS.csv VECTORS.npy"""

import csv
import sys
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer

name, texts, vectors = sys.argv[1:]
tokenizer, model = AutoTokenizer.from_pretrained(name), AutoModel.from_pretrained(name)
found = []
with Path(texts).open(newline="") as read, torch.inference_mode():
    for row in csv.DictReader(read):
        encoded = tokenizer(row["text"], truncation=True, return_tensors="pt")
        found.append(torch.nn.functional.normalize(model(**encoded).last_hidden_state.mean(1)).numpy()[0])
np.save(vectors, np.stack(found))
