"""One token more for each row, in as few calls as it takes: a decoder's modules cost more than their arithmetic."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer
from transformers.modeling_outputs import BaseModelOutputWithPast

from llmkit.models.text.packed_linear import join_linear_layers, pack_linear_layers
from llmkit.models.text.searching import CACHE_NAMES

MODEL_TYPES = ("llama", "mistral", "qwen2", "qwen3")  # whose layers are those that are computed here
# the arguments of a decoder that these steps read; with any other that is not None or False, the model itself answers
READ = {*CACHE_NAMES, "input_ids", "attention_mask", "position_ids", "use_cache", "return_dict"}
ROOM = 64  # tokens that a cache takes more before it is copied
CLOSE = {torch.float32: 1e-4, torch.bfloat16: 0.05, torch.float16: 0.01}  # of the largest value, from rounding alone


class FusedDecoder:
    """Computes the steps of one token of a decoder on a CPU, and leaves all others to the model's own forward.

    The first of its steps is computed by the model too: where the two differ by more than rounding, the model computes
    all that follow. One row without padding has the same bits as in the model.
    """

    def __init__(self, decoder: Any) -> None:
        self.decoder = decoder
        self.own_forward = decoder.forward
        self.layers = [FusedLayer(layer) for layer in self.decoder.layers]
        self.is_proven: bool | None = None  # None: no step was compared yet

    def forward(self, *positional: Any, **named: Any) -> Any:
        """Return what the decoder's own forward returns."""
        cache = None if positional else self._cache_of(named)
        if cache is None or self.is_proven is False:
            return self.own_forward(*positional, **named)
        if self.is_proven is None:
            hidden = self._step(named, cache)
            cache.crop(-1)
            outputs = self.own_forward(**named)
            self.is_proven = _is_close(hidden, outputs.last_hidden_state)
            return outputs
        hidden = self._step(named, cache)
        return BaseModelOutputWithPast(last_hidden_state=hidden, past_key_values=cache)

    def _cache_of(self, named: Mapping[str, Any]) -> DynamicCache | None:
        """Return the cache of a step that can be computed here, or None."""
        others = any(value is not None and value is not False for name, value in named.items() if name not in READ)
        ids, mask = named.get("input_ids"), named.get("attention_mask")
        cache: Any = next((named[name] for name in CACHE_NAMES if named.get(name) is not None), None)
        if others or torch.is_grad_enabled() or ids is None or ids.shape[1] != 1 or type(cache) is not DynamicCache:
            return None
        if named.get("position_ids") is None or (mask is not None and mask.dim() != 2):
            return None
        plain = all(type(layer) is DynamicLayer and layer.is_initialized for layer in cache.layers)
        return cache if plain and len(cache.layers) == len(self.layers) else None

    def _step(self, named: Mapping[str, Any], cache: DynamicCache) -> torch.Tensor:
        """Return the last hidden states of one token for each row, (rows, 1, size), whose keys the cache then holds."""
        decoder = self.decoder
        hidden = decoder.embed_tokens(named["input_ids"])
        cosines, sines = decoder.rotary_emb(hidden, position_ids=named["position_ids"])
        half = sines.shape[-1] // 2
        turned = torch.cat((-sines[..., :half], sines[..., half:]), dim=-1)
        turn = cosines.unsqueeze(2), turned.unsqueeze(2)
        mask = _additive(named.get("attention_mask"), hidden.dtype)
        for layer, kept in zip(self.layers, cache.layers, strict=True):
            hidden = layer.step(hidden, turn, kept, mask)
        return _normed(decoder.norm, hidden)


class FusedLayer:
    """A layer of a decoder for one token of each row."""

    def __init__(self, layer: Any) -> None:
        self.layer, self.attention, self.mlp = layer, layer.self_attn, layer.mlp
        self.heads = join_linear_layers(self.attention.q_proj, self.attention.k_proj, self.attention.v_proj)
        self.gates = join_linear_layers(self.mlp.gate_proj, self.mlp.up_proj)

    def step(
        self, hidden: torch.Tensor, turn: tuple[torch.Tensor, torch.Tensor], kept: Any, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """Return the states after the layer, (rows, 1, size); `turn` are cosines and sines, `kept` is its cache."""
        hidden = hidden + self._attended(_normed(self.layer.input_layernorm, hidden), turn, kept, mask)
        gate, up = self.gates(_normed(self.layer.post_attention_layernorm, hidden))
        return hidden + self.mlp.down_proj(self.mlp.act_fn(gate) * up)  # type: ignore[no-any-return]

    def _attended(
        self, hidden: torch.Tensor, turn: tuple[torch.Tensor, torch.Tensor], kept: Any, mask: torch.Tensor | None
    ) -> torch.Tensor:
        attention, rows, size = self.attention, hidden.shape[0], self.attention.head_dim
        queries, keys, values = (each.view(rows, 1, -1, size) for each in self.heads(hidden))
        if hasattr(attention, "q_norm"):
            queries, keys = _normed(attention.q_norm, queries), _normed(attention.k_norm, keys)
        heads, groups = keys.shape[2], queries.shape[2]
        both = torch.cat((queries, keys), dim=2)
        both = both * turn[0] + both.roll(size // 2, -1) * turn[1]
        queries, keys = both[:, :, :groups], both[:, :, groups:]
        all_keys, all_values = _kept(kept, keys.transpose(1, 2), values.transpose(1, 2))
        # queries that share keys are read as several tokens of one head, as transformers does for padded rows alone:
        # the keys are read once for all of them, but sums are rounded in another order
        alone = rows == 1 and mask is None
        queries = queries.transpose(1, 2) if alone else queries.view(rows, heads, groups // heads, size)
        found = scaled_dot_product_attention(
            queries, all_keys, all_values, attn_mask=mask, scale=attention.scaling, enable_gqa=alone
        )
        return attention.o_proj(found.reshape(rows, 1, -1))  # type: ignore[no-any-return]


def prepare_for_tokens(model: PreTrainedModel, fused: bool = True) -> None:
    """Lay a model on a CPU out for one token after the other, in place; `fused`: not for several at once."""
    pack_linear_layers(model)
    if fused:
        fuse_decoder(model)


def fuse_decoder(model: PreTrainedModel) -> bool:
    """Let a model on a CPU compute single tokens by `FusedDecoder`, in place; return whether it is of such a kind."""
    decoder = model.base_model
    if model.config.model_type not in MODEL_TYPES or model.device.type != "cpu" or model.dtype not in CLOSE:
        return False
    if model.config._attn_implementation != "sdpa" or decoder is model or not _is_plain(decoder):
        return False
    fused = FusedDecoder(decoder)

    @functools.wraps(decoder.forward)  # generate reads from the signature what it may hand over
    def forward(*positional: Any, **named: Any) -> Any:
        return fused.forward(*positional, **named)

    decoder.forward = forward
    return True


def _is_plain(decoder: Any) -> bool:
    """Tell whether what is computed here in place of modules is transformers' own: adapters put others there."""
    parts = [decoder.norm]
    for layer in decoder.layers:
        parts += [layer, layer.self_attn, layer.mlp, layer.input_layernorm, layer.post_attention_layernorm]
        parts += [norm for name in ("q_norm", "k_norm") if (norm := getattr(layer.self_attn, name, None)) is not None]
    return all(type(part).__module__.startswith("transformers.") for part in parts)


def _kept(layer: Any, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Add one token to a layer's cache, with room for more; return all keys and values, (rows, heads, tokens, size).

    The cache of transformers copies all that it holds for each token.
    """
    tokens = layer.keys.shape[2]
    room: Any = getattr(layer, "room", None)
    is_current = room is not None and layer.keys.data_ptr() == room[0].data_ptr() and len(layer.keys) == len(room[0])
    if not is_current or tokens == room[0].shape[2]:
        rows, heads, _, size = layer.keys.shape
        room = tuple(old.new_empty(rows, heads, tokens + max(tokens // 2, ROOM), size) for old in (keys, values))
        room[0][:, :, :tokens], room[1][:, :, :tokens] = layer.keys, layer.values
        layer.room = room
    room[0][:, :, tokens : tokens + 1], room[1][:, :, tokens : tokens + 1] = keys, values
    layer.keys, layer.values = room[0][:, :, : tokens + 1], room[1][:, :, : tokens + 1]
    return layer.keys, layer.values


def _normed(norm: Any, hidden: torch.Tensor) -> torch.Tensor:
    """Return what an RMSNorm of transformers returns, whose forward does the same in more calls."""
    wide = hidden.float()
    scale = wide.square().mean(-1, keepdim=True).add_(norm.variance_epsilon).rsqrt_()
    return norm.weight * (wide * scale).to(hidden.dtype)  # type: ignore[no-any-return]


def _additive(mask: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor | None:
    """Return what is added to the scores of padding, (rows, 1, 1, tokens); None where there is none of it."""
    if mask is None or bool(mask.all()):
        return None
    return torch.zeros(mask.shape, dtype=dtype).masked_fill_(mask == 0, -torch.inf)[:, None, None]


def _is_close(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    """Tell whether two results differ by rounding alone."""
    return bool((ours - theirs).abs().max() <= CLOSE[theirs.dtype] * theirs.abs().max())
