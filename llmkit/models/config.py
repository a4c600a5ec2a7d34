"""Facts that a model's config holds."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from transformers import PretrainedConfig, PreTrainedTokenizerBase

DECODER_HEADS = ("ForCausalLM", "LMHeadModel")  # how the names of architectures with a next-token head end
T5_FAMILIES = frozenset({"t5", "mt5", "umt5", "longt5", "switch_transformers"})


def context_length(config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> int:
    """Return how many tokens the model can take at once."""
    limits = [tokenizer.model_max_length]
    for key in ("max_position_embeddings", "n_positions"):
        positions = getattr(config, key, None)
        if isinstance(positions, int) and positions > 0:
            # RoBERTa and its kin keep the positions up to the padding id for padding
            offset = (config.pad_token_id or 0) + 1 if "roberta" in config.model_type else 0
            limits.append(positions - offset)
    return int(min(min(limits), 1_000_000))


def with_config_values(config: PretrainedConfig, config_values: Mapping[str, object]) -> PretrainedConfig:
    """Return a copy of a config with these values in it."""
    changed = copy.deepcopy(config)
    for key, value in config_values.items():
        setattr(changed, key, value)
    return changed


def is_decoder(config: PretrainedConfig) -> bool:
    """Tell whether a model with this config continues text: it has a next-token head, and no encoder."""
    return any(name.endswith(DECODER_HEADS) for name in config.architectures or ()) and not config.is_encoder_decoder
