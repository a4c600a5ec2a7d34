"""Decoding flags as the generation config that transformers reads."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

from transformers import GenerationConfig, PreTrainedTokenizerBase

from llmkit.errors import OptionError
from llmkit.options import DecodingOptions, GenerationOptions
from llmkit.options.overrides import parse_settings
from llmkit.tasks.encoding.language_codes import force_tokens

# fields of GenerationConfig that have a flag of their own, which --set does not take
FLAG_OF_FIELD = {
    name: "--" + name.replace("_", "-")
    for name in (
        "max_new_tokens",
        "temperature",
        "top_p",
        "top_k",
        "num_beams",
        "num_return_sequences",
        "repetition_penalty",
    )
} | {"do_sample": "--temperature", "stop_strings": "--stop", "max_length": "--max-new-tokens"}

# what the library finds out only after the weights are loaded, or never: the least and the most of each
FIELD_LIMITS = {
    "min_p": (0, 1),
    "typical_p": (0, 1),
    "epsilon_cutoff": (0, 1),
    "eta_cutoff": (0, 1),
    "top_h": (0, 1),
    "length_penalty": (-math.inf, math.inf),
    "no_repeat_ngram_size": (0, math.inf),
    "min_new_tokens": (0, math.inf),
    "min_length": (0, math.inf),
    "encoder_repetition_penalty": (0, math.inf),
    "guidance_scale": (0, math.inf),
}


def parse_fields(decoding: DecodingOptions) -> dict[str, object]:
    """Return the fields of GenerationConfig that --set names.

    Raises:
        OptionError: there is no such field, it has a flag of its own, or its value is out of its limits.
    """
    known = [name for name in GenerationConfig().to_dict() if not name.startswith("_")]
    fields = parse_settings(decoding.set, known, FLAG_OF_FIELD, "GenerationConfig")
    for name, (lowest, highest) in FIELD_LIMITS.items():
        value = fields.get(name)
        if value is not None and not (isinstance(value, int | float) and lowest <= value <= highest):
            raise OptionError(f"--set {name} takes a number from {lowest} to {highest}, not {value!r}")
    return fields


def generation_config(
    base: GenerationConfig,
    decoding: GenerationOptions,
    tokenizer: PreTrainedTokenizerBase,
    forced: dict[str, int],
    fields: Mapping[str, object],
) -> GenerationConfig:
    """Return a model's own generation config with what was asked for; greedy unless a flag asks for sampling.

    `forced` are its fields of the tokens that come first, `fields` those of --set. The number of new tokens is left to
    the caller.
    """
    config = copy.deepcopy(base)
    config.max_length = None
    config.do_sample, config.num_beams = decoding.sampling, decoding.num_beams
    config.num_return_sequences = decoding.num_return_sequences
    config.pad_token_id = tokenizer.pad_token_id
    force_tokens(config, forced)
    if config.eos_token_id is None:
        config.eos_token_id = tokenizer.eos_token_id
    if decoding.sampling:
        config.temperature = decoding.temperature if decoding.temperature is not None else (config.temperature or 1.0)
        config.top_p = decoding.top_p if decoding.top_p is not None else (config.top_p or 1.0)
        config.top_k = decoding.top_k if decoding.top_k is not None else 0  # the library's own default is a silent 50
    else:
        config.temperature = config.top_p = config.top_k = None
    if decoding.repetition_penalty is not None:
        config.repetition_penalty = decoding.repetition_penalty
    config.stop_strings = list(decoding.stop) if decoding.stop else None
    for name, value in fields.items():
        setattr(config, name, value)
    return config
