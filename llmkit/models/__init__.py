"""Models: found by name or path, opened, adapted, built."""

from __future__ import annotations

from llmkit.models.config import T5_FAMILIES, context_length, with_config_values
from llmkit.models.loading import (
    LoadRequest,
    load_model,
    load_tokenizer,
    load_tokenizer_alone,
    open_weights,
    origin,
    require_no_adapter,
    save,
)
from llmkit.models.lookup import BUILTIN_NAME, ResolvedModel, pick_device, require_folder, resolve_model, weights_folder

__all__ = [
    "BUILTIN_NAME",
    "T5_FAMILIES",
    "LoadRequest",
    "ResolvedModel",
    "context_length",
    "load_model",
    "load_tokenizer",
    "load_tokenizer_alone",
    "open_weights",
    "origin",
    "pick_device",
    "require_folder",
    "require_no_adapter",
    "resolve_model",
    "save",
    "weights_folder",
    "with_config_values",
]
