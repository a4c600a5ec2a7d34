"""A search of transformers for the rows of a batch, which leave it when their answers have ended."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch
    from transformers import DynamicCache, GenerationConfig, PreTrainedModel

CACHE_NAMES = ("past_key_values", "cache")  # of the same argument, in transformers before 5.24 and from then on
PROMPTS_READ = 8  # at a time, of like length
PADDED = 1.2  # times the tokens of prompts: where padding makes more of them, prompts of like length are read together
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
    cache = (
        _empty_cache(model) if may_leave and config.use_cache is not False and len(inputs["input_ids"]) > 1 else None
    )
    if cache is None:
        start = 1 if model.config.is_encoder_decoder else inputs["input_ids"].shape[1]
        criteria = StoppingCriteriaList(own_stops)
        found = model.generate(**inputs, generation_config=config, stopping_criteria=criteria, **rules)
        return [row[start:] for row in found.tolist()]
    named = {_cache_name(model): cache}
    _read_prompts(model, inputs, cache)
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


def _read_prompts(model: PreTrainedModel, inputs: dict[str, torch.Tensor], cache: DynamicCache) -> None:
    """Fill a cache with all but the last tokens of prompts, a few of like length at a time, where many are padded."""
    import torch

    mask = inputs["attention_mask"]
    lengths, width = mask.sum(dim=1).tolist(), mask.shape[1] - 1
    if mask.numel() <= PADDED * sum(lengths):
        return
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    read = []
    for start in range(0, len(order), PROMPTS_READ):
        places = order[start : start + PROMPTS_READ]
        tokens = max(lengths[place] for place in places) - 1
        if tokens:
            few = {name: values[places, width - tokens : width] for name, values in inputs.items()}
            read.append((torch.tensor(places, device=mask.device), tokens, _cache_of(model, few)))
    for number, layer in enumerate(cache.layers):
        first = read[0][2].layers[number]
        keys, values = (
            each.new_zeros(len(lengths), each.shape[1], width, each.shape[3]) for each in (first.keys, first.values)
        )
        for rows, tokens, own in read:
            keys[rows, :, width - tokens :] = own.layers[number].keys
            values[rows, :, width - tokens :] = own.layers[number].values
        layer.update(keys, values)


def _cache_of(model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> Any:
    """Return the cache of some tokens, which are padded on the left."""
    from transformers import DynamicCache

    reader = model.base_model
    own = DynamicCache(config=model.config.get_text_config(decoder=True))
    given: dict[str, Any] = {**inputs, _cache_name(reader): own, "use_cache": True}
    if "position_ids" in inspect.signature(reader.forward).parameters:
        given["position_ids"] = (inputs["attention_mask"].cumsum(dim=1) - 1).clamp_(min=0)
    reader(**given)
    return own


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


def _empty_cache(model: PreTrainedModel) -> DynamicCache | None:
    """Return an empty cache from which rows can be taken, or None where a model has another."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    from llmkit.models.adapters.virtual_tokens import VirtualTokens

    if model.config.is_encoder_decoder or model._is_stateful or not model._supports_default_dynamic_cache():
        return None
    if any(isinstance(module, VirtualTokens) for module in model.modules()):  # the cache holds them too
        return None
    cache = DynamicCache(config=model.config.get_text_config(decoder=True))
    return cache if all(type(layer) is DynamicLayer for layer in cache.layers) else None


def _cache_name(model: Any) -> str:
    """Return what a model calls its cache."""
    before, since = CACHE_NAMES
    return since if since in inspect.signature(model.forward).parameters else before
