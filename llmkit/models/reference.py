"""The models that others were trained from, opened to measure what has changed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from llmkit.models import loading, lookup
from llmkit.options import ModelOptions
from llmkit.output.documents import ReferenceRecord
from llmkit.output.report import Report

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


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
    resolved = lookup.resolve_model(options, Report())
    tokenizer = loading.load_tokenizer(resolved, options)
    return loading.load_model(resolved, auto_class, tokenizer, options).eval().to(dtype)


@dataclass(frozen=True)
class Reference:
    """The model that a training began from, where answers are measured by what has changed since."""

    name: str  # a folder, or a name on the Hub
    revision: str | None = None
    weight_fingerprint: str | None = None  # of a folder's weights: see `weight_files`
    beta: float = 0.1  # how closely the training held to it

    def as_dict(self) -> ReferenceRecord:
        """Return what run.json holds of it."""
        return {"name": self.name, "revision": self.revision, "sketch": self.weight_fingerprint, "beta": self.beta}
