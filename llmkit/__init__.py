"""llmkit: one command line, and one Python API, for the whole life of a Hugging Face text model.

Importing llmkit is free: the names below load what they need when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmkit.evaluation import evaluate as evaluate
    from llmkit.inference.embedding import embed as embed
    from llmkit.inference.generation import generate as generate
    from llmkit.inference.prediction import classify as classify
    from llmkit.runs.publishing import push as push
    from llmkit.training.finetuning import finetune as finetune
    from llmkit.training.merging import merge as merge
    from llmkit.training.pretraining import pretrain as pretrain

__version__ = "0.1.0"

_HOMES = {
    "classify": "inference.prediction",
    "embed": "inference.embedding",
    "evaluate": "evaluation",
    "finetune": "training.finetuning",
    "generate": "inference.generation",
    "merge": "training.merging",
    "pretrain": "training.pretraining",
    "push": "runs.publishing",
}
__all__ = ["__version__", "classify", "embed", "evaluate", "finetune", "generate", "merge", "pretrain", "push"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'llmkit' has no attribute {name!r}")
    return getattr(importlib.import_module(f"llmkit.{_HOMES[name]}"), name)
