"""The models that others were trained from, opened to measure what has changed."""

from __future__ import annotations

from functools import lru_cache

import torch
from transformers import PreTrainedModel

from llmkit import models
from llmkit.options import ModelOptions
from llmkit.report import Report
from llmkit.tasks.setup import Reference


def options_of(reference: Reference, device: str = "auto", offline: bool = False) -> ModelOptions:
    """Return how a reference is opened."""
    return ModelOptions(model=reference.name, revision=reference.revision, device=device, offline=offline)


def reference_for(model: PreTrainedModel, reference: Reference, auto_class: str) -> PreTrainedModel:
    """Return the reference of a model, on its device and in its precision; it is kept for the next batch.

    Raises:
        ModelError, HubError: it is not where it was.
    """
    return _open(reference, auto_class, str(model.device), model.dtype)


@lru_cache(maxsize=1)
def _open(reference: Reference, auto_class: str, device: str, dtype: torch.dtype) -> PreTrainedModel:
    options = options_of(reference, device)
    located = models.locate(options, Report())
    tokenizer = models.load_tokenizer(located, options)
    return models.load_model(located, auto_class, tokenizer, options).eval().to(dtype)
