"""Data: datasets opened by what the user typed, their files, splits, labels and rows; nothing here knows a task."""

from __future__ import annotations

from llmkit.data.folders import files_by_split, split_of
from llmkit.data.loading import Source, fingerprint, local_path, open_dataset, weights_of
from llmkit.data.remote.hub_datasets import hub_name, load_splits

__all__ = [
    "Source",
    "files_by_split",
    "fingerprint",
    "hub_name",
    "load_splits",
    "local_path",
    "open_dataset",
    "split_of",
    "weights_of",
]
