"""How a model writes a text where nothing asks for sampling."""

from __future__ import annotations

import copy

from transformers import GenerationConfig, PreTrainedModel


def greedy_config(model: PreTrainedModel, max_new_tokens: int) -> GenerationConfig:
    """Return a copy of the model's own generation config that writes one text without sampling; its beams stay."""
    config = copy.deepcopy(model.generation_config)
    config.do_sample, config.num_return_sequences = False, 1
    config.max_length, config.max_new_tokens = None, max_new_tokens
    config.temperature = config.top_p = config.top_k = None  # without sampling the library warns of each
    return config


def until_end(tokens: list[int], config: GenerationConfig) -> list[int]:
    """Return the tokens up to and with the first that ends a text; what follows is padding."""
    ends = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    end = next((place for place, token in enumerate(tokens) if token in ends), len(tokens))
    return tokens[: end + 1]
