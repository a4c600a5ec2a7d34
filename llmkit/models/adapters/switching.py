"""Adapters that lie on a model: whether one does, and the model without it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeGuard

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    from llmkit.models.adapters.virtual_tokens import VirtualTokens


def has_adapter(model: torch.nn.Module) -> TypeGuard[PeftModel]:
    """Tell whether a model is one that is trained with an adapter."""
    return "peft" in sys.modules and isinstance(model, sys.modules["peft"].PeftModel)


def is_active(model: torch.nn.Module) -> bool:
    """Tell whether a model answers with an adapter, one that is trained or one that was opened."""
    return any(not layer.disable_adapters for layer in _layers(model))


@contextlib.contextmanager
def turned_off(model: torch.nn.Module) -> Iterator[None]:
    """Let a model answer without its adapter, as its base does; without one it answers as always."""
    layers = [layer for layer in _layers(model) if not layer.disable_adapters]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


def _layers(model: torch.nn.Module) -> list[BaseTunerLayer | AuxiliaryTrainingWrapper | VirtualTokens]:
    """Return the modules of an adapter, and those that it trains a copy of, or its virtual tokens."""
    if "peft" not in sys.modules:
        return []
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    from llmkit.models.adapters.virtual_tokens import VirtualTokens

    kinds = BaseTunerLayer | AuxiliaryTrainingWrapper | VirtualTokens
    return [module for module in model.modules() if isinstance(module, kinds)]
