"""Models: found by name or path, opened, adapted, built."""

from __future__ import annotations

from llmkit.models.config import T5_FAMILIES, context_length, with_settings
from llmkit.models.loading import (
    Wanted,
    load_model,
    load_tokenizer,
    load_tokenizer_alone,
    open_weights,
    origin,
    require_whole,
    save,
)
from llmkit.models.lookup import BUILTIN_NAME, Located, locate, pick_device, weights_folder

__all__ = [
    "BUILTIN_NAME",
    "T5_FAMILIES",
    "Located",
    "Wanted",
    "context_length",
    "load_model",
    "load_tokenizer",
    "load_tokenizer_alone",
    "locate",
    "open_weights",
    "origin",
    "pick_device",
    "require_whole",
    "save",
    "weights_folder",
    "with_settings",
]
