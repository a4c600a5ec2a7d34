"""A search of transformers for the rows of a batch, which leave it when their answers have ended."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch
    from transformers import DynamicCache, GenerationConfig, PreTrainedModel

STAY = 0.75  # of the rows: where no more than that go on, the others leave


class RowRule(Protocol):
    """What is called for the rows of a batch at each step."""

    def keep(self, places: Sequence[int]) -> None:
        """Go on with some of the rows."""

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Return what it says of each row."""


class RowStops(RowRule, Protocol):
    """A rule that ends rows."""

    @property
    def ended(self) -> Sequence[bool]:
        """Which of the rows have ended."""


class RowsLeave:
    """Ends a search once enough of its rows have ended, by an end token or by other stops that were asked before."""

    def __init__(self, ends: Sequence[int], stops: RowStops | None) -> None:
        self.ends, self.stops = frozenset(ends), stops
        self.ended: list[bool] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **more: Any) -> torch.Tensor:
        """Return for each row, (rows,), whether the search ends: the same for all."""
        import torch

        others = [False] * len(input_ids) if self.stops is None else self.stops.ended
        before = self.ended or others
        last = input_ids[:, -1].tolist()
        self.ended = [any(each) for each in zip(before, others, (token in self.ends for token in last), strict=True)]
        leave = self.ended.count(False) <= STAY * len(self.ended)
        return torch.full((len(last),), leave, device=input_ids.device)


def search(
    model: PreTrainedModel,
    inputs: dict[str, torch.Tensor],
    config: GenerationConfig,
    sampler: RowRule | None,
    stops: RowStops | None,
    may_leave: bool = False,
) -> list[list[int]]:
    """Return the new tokens of each sequence, padding behind its end; rows that have ended leave where they may.

    Raises:
        ValueError, TypeError: transformers cannot follow the config.
    """
    from transformers import StoppingCriteriaList
    from transformers.generation.logits_process import LogitsProcessorList

    rules = {"logits_processor": LogitsProcessorList([] if sampler is None else [sampler])}
    own_stops = [] if stops is None else [stops]
    cache = _cache(model) if may_leave and config.use_cache is not False and len(inputs["input_ids"]) > 1 else None
    if cache is None:
        start = 1 if model.config.is_encoder_decoder else inputs["input_ids"].shape[1]
        criteria = StoppingCriteriaList(own_stops)
        found = model.generate(**inputs, generation_config=config, stopping_criteria=criteria, **rules)
        return [row[start:] for row in found.tolist()]
    named = {_cache_name(model): cache}
    rows = list(range(len(inputs["input_ids"])))
    new: list[list[int]] = [[] for _ in rows]
    while rows:
        leave = RowsLeave(config.eos_token_id or (), stops)
        criteria = StoppingCriteriaList([*own_stops, leave])
        found = model.generate(**inputs, **named, generation_config=config, stopping_criteria=criteria, **rules)
        count = found.shape[1] - inputs["input_ids"].shape[1]
        for row, ids in zip(rows, found[:, -count:].tolist(), strict=True):
            new[row] += ids
        going_on = count < config.max_new_tokens
        staying = [place for place, ended in enumerate(leave.ended) if going_on and not ended]
        rows = [rows[place] for place in staying]
        if rows:
            inputs, config = _kept(inputs, found, cache, staying), copy.copy(config)
            config.max_new_tokens -= count
            for rule in (sampler, stops):
                if rule is not None:
                    rule.keep(staying)
    return new


def _kept(
    inputs: dict[str, torch.Tensor], found: torch.Tensor, cache: DynamicCache, places: Sequence[int]
) -> dict[str, torch.Tensor]:
    """Return some of the rows with what was found for them as inputs; the cache holds those alone then."""
    import torch

    chosen = torch.tensor(places, device=found.device)
    cache.batch_select_indices(chosen)
    ids, mask = found[chosen], inputs["attention_mask"][chosen]
    more = mask.new_ones(len(places), ids.shape[1] - mask.shape[1])
    return {"input_ids": ids, "attention_mask": torch.cat((mask, more), dim=1)}


def _cache(model: PreTrainedModel) -> DynamicCache | None:
    """Return an empty cache from which rows can be taken, or None where a model has another."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    if model.config.is_encoder_decoder or model._is_stateful or not model._supports_default_dynamic_cache():
        return None
    cache = DynamicCache(config=model.config.get_text_config(decoder=True))
    return cache if all(type(layer) is DynamicLayer for layer in cache.layers) else None


def _cache_name(model: PreTrainedModel) -> str:
    """Return what a model calls its cache: transformers 5.24 has another name than those before."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
