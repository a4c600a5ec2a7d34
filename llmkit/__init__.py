"""llmkit: one command line, and one Python API, for the whole life of a Hugging Face text model.

Importing llmkit is free: the names below load what they need when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmkit.decoding import generate as generate
    from llmkit.embedding import embed as embed
    from llmkit.evaluation import evaluate as evaluate
    from llmkit.finetuning import finetune as finetune
    from llmkit.inference import classify as classify
    from llmkit.merging import merge as merge
    from llmkit.pretraining import pretrain as pretrain
    from llmkit.pushing import push as push

__version__ = "0.1.0"

_HOMES = {
    "classify": "inference",
    "embed": "embedding",
    "evaluate": "evaluation",
    "finetune": "finetuning",
    "generate": "decoding",
    "merge": "merging",
    "pretrain": "pretraining",
    "push": "pushing",
}
__all__ = ["__version__", "classify", "embed", "evaluate", "finetune", "generate", "merge", "pretrain", "push"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'llmkit' has no attribute {name!r}")
    return getattr(importlib.import_module(f"llmkit.{_HOMES[name]}"), name)
