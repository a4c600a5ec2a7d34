"""Adapters through peft: made on a model, saved, opened on their base, folded into it."""

from __future__ import annotations

from llmkit.models.adapters.bases import BASE_KEY, AdapterBase, four_bits, require_same_base, unquantized_base_modules
from llmkit.models.adapters.making import (
    ALL_LINEAR,
    add_adapter,
    find_targets,
    last_parts,
    require_available,
    save_adapter,
    saved_state,
)
from llmkit.models.adapters.opening import open_adapter
from llmkit.models.adapters.saved import (
    CONFIG,
    PICKLE,
    WEIGHTS,
    SavedAdapter,
    is_adapter,
    read_adapter,
    require_known_kind,
    require_mergeable,
    require_no_inner_adapters,
    require_peft,
    saved_rows,
    saved_shapes,
    unmergeable_kind,
)
from llmkit.models.adapters.switching import has_adapter, is_active, turned_off

__all__ = [
    "ALL_LINEAR",
    "BASE_KEY",
    "CONFIG",
    "PICKLE",
    "WEIGHTS",
    "AdapterBase",
    "SavedAdapter",
    "add_adapter",
    "find_targets",
    "four_bits",
    "has_adapter",
    "is_active",
    "is_adapter",
    "last_parts",
    "open_adapter",
    "read_adapter",
    "require_available",
    "require_known_kind",
    "require_mergeable",
    "require_no_inner_adapters",
    "require_peft",
    "require_same_base",
    "save_adapter",
    "saved_rows",
    "saved_shapes",
    "saved_state",
    "turned_off",
    "unmergeable_kind",
    "unquantized_base_modules",
]
