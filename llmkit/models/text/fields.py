"""Fields of GenerationConfig that --set names: which can be set, and what each takes."""

from __future__ import annotations

import math

from llmkit.errors import OptionError, one_line
from llmkit.options import DecodingOptions
from llmkit.options.overrides import parse_settings

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
FLAG_OF_FIELD["prompt_lookup_num_tokens"] = "--prompt-lookup"

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

# those that the library wants as floats, though files and people write 2
FLOAT_FIELDS = (
    "temperature",
    "top_p",
    "min_p",
    "top_h",
    "typical_p",
    "epsilon_cutoff",
    "eta_cutoff",
    "repetition_penalty",
    "encoder_repetition_penalty",
    "guidance_scale",
)

LIST_FIELDS = {
    "bad_words_ids": "[[5, 6], [7]]",
    "suppress_tokens": "[5, 6]",
    "begin_suppress_tokens": "[5, 6]",
    "sequence_bias": "[[[5, 6], -2.0]]",
    "exponential_decay_length_penalty": "[20, 1.1]",
}
TOKEN_FIELDS = ("bos_token_id", "pad_token_id", "decoder_start_token_id", "forced_bos_token_id")

# what the library asks the Hub for code of, and refuses without it
SEARCHES_GONE = {
    "penalty_alpha": "contrastive search",
    "dola_layers": "decoding by layers",
    "num_beam_groups": "search in groups of beams",
    "force_words_ids": "search with constraints",
    "constraints": "search with constraints",
}
OUTPUTS = ("return_dict_in_generate", "output_scores", "output_logits", "output_attentions", "output_hidden_states")
# they change how fast a text comes, and some take one prompt at a time
SPEED_FIELDS = ("prompt_lookup_num_tokens", "assistant_early_exit", "use_mtp", "is_assistant")


def parse_fields(decoding: DecodingOptions) -> dict[str, object]:
    """Return the fields of GenerationConfig that --set names.

    Raises:
        OptionError: there is no such field, it has a flag of its own or cannot be had, or its value is none that it
            takes.
    """
    if not decoding.set:
        return {}
    from transformers import GenerationConfig

    known = [name for name in GenerationConfig().to_dict() if not name.startswith("_")]
    fields = parse_settings(decoding.set, known, FLAG_OF_FIELD, "GenerationConfig")
    problems = [problem for name, value in fields.items() if value is not None and (problem := _problem(name, value))]
    if problems:
        raise OptionError(*problems)
    as_floats(fields)
    try:
        return {name: getattr(GenerationConfig(**{name: value}), name) for name, value in fields.items()}
    except Exception as error:  # a field with a class of its own raises what it likes
        raise OptionError(f"--set: {one_line(error, 200)}") from error


def as_floats(fields: dict[str, object]) -> None:
    """Make whole numbers floats, where the library takes nothing else."""
    for name in FLOAT_FIELDS:
        value = fields.get(name)
        if isinstance(value, int):
            fields[name] = float(value)


def _problem(name: str, value: object) -> str | None:
    """Return what is wrong with a field of --set, or None."""
    if name in SEARCHES_GONE:
        return f"--set {name}: transformers has no {SEARCHES_GONE[name]} any more; leave it out"
    if name in OUTPUTS or name == "token_healing":
        return f"--set {name}: only texts are answered, to prompts as they are; leave it out"
    if name in FIELD_LIMITS:
        lowest, highest = FIELD_LIMITS[name]
        if not (isinstance(value, int | float) and lowest <= value <= highest):
            return f"--set {name} takes a number from {lowest} to {highest}, not {value!r}"
    if name in LIST_FIELDS and not isinstance(value, list):
        return f"--set {name} takes a list, as {LIST_FIELDS[name]}, not {value!r}"
    if name in TOKEN_FIELDS and not _is_token(value):
        return f"--set {name} takes the number of a token, not {value!r}"
    if name in ("eos_token_id", "forced_eos_token_id"):
        several = value if isinstance(value, list) else [value]
        if not all(map(_is_token, several)):
            return f"--set {name} takes numbers of tokens, as 2 or [2, 5], not {value!r}"
    return None


def _is_token(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
