"""Embed the texts of a CSV with sentence-transformers. MODEL TEXTS.csv VECTORS.npy"""

import csv
import sys
from pathlib import Path

import numpy as np
from sentence_transformers import SentenceTransformer

name, texts, vectors = sys.argv[1:]
with Path(texts).open(newline="") as read:
    rows = [row["text"] for row in csv.DictReader(read)]
np.save(vectors, SentenceTransformer(name).encode(rows, batch_size=32, normalize_embeddings=True))
