"""How the tokens of an answer are chosen: one rule for all that writes text.

A model's own generation config counts, and is said; a flag wins over it. Only whether to sample is asked of the flags
alone: the same command is to give the same text.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from transformers import GenerationConfig, PreTrainedModel

from llmkit.errors import OptionError
from llmkit.models.text.ends import AnswerEnds
from llmkit.models.text.sampling import WARPERS
from llmkit.options import DecodingOptions, GenerationOptions
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

# the fields of a model's own config that change its text, each with the value that changes nothing beside None
TEXT_FIELDS: dict[str, object] = {
    "num_beams": 1,
    "repetition_penalty": 1,
    "encoder_repetition_penalty": 1,
    "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
    "min_length": 0,
    "min_new_tokens": 0,
    "guidance_scale": 1,
    "bad_words_ids": None,
    "forced_eos_token_id": None,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
    "sequence_bias": None,
    "exponential_decay_length_penalty": None,
    "stop_strings": None,
}
BEAM_FIELDS: dict[str, object] = {"length_penalty": 1, "early_stopping": False}
SAMPLING_FIELDS: dict[str, object] = {**dict.fromkeys(WARPERS), "temperature": 1, "top_k": 0, "top_p": 1}
LONG = 40  # characters of a value that is shown


@dataclass(frozen=True)
class Decoding:
    """How answers are decoded; `config` is that of a search; `sampling`: what a `RowSampler` draws by, or None."""

    config: GenerationConfig
    ends: AnswerEnds
    sampling: GenerationConfig | None
    sentence: str | None  # what to say of it; None: nothing but the flags decides

    @property
    def samples(self) -> bool:
        """Whether tokens are drawn."""
        return self.sampling is not None

    @property
    def num_beams(self) -> int:
        """How many beams the search has."""
        return int(self.config.num_beams or 1)


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


def resolve_decoding(
    own: GenerationConfig, asked: GenerationOptions, fields: Mapping[str, object], tokens: tuple[int, ...]
) -> Decoding:
    """Return how to decode by a model's own config and what was asked for; `fields` are those of --set.

    `tokens` are those of `end_tokens`. The tokens that come first, padding and the number of new ones are left to the
    caller.
    """
    config = copy.deepcopy(own)
    config.max_length = None
    config.do_sample = False
    config.num_beams = asked.num_beams or (1 if asked.sampling else own.num_beams)
    config.num_return_sequences = 1 if asked.sampling else asked.num_return_sequences
    if asked.repetition_penalty is not None:
        config.repetition_penalty = asked.repetition_penalty
    stops, config.stop_strings = tuple(asked.stop or _texts(own.stop_strings)), None
    if asked.sampling:
        config.temperature = _first(asked.temperature, own.temperature, 1.0)
        config.top_p = _first(asked.top_p, own.top_p, 1.0)
        config.top_k = _first(asked.top_k, own.top_k, 0)  # the library's own default is a silent 50
    for name, value in fields.items():
        setattr(config, name, value)
    if "eos_token_id" in fields:
        named = config.eos_token_id
        tokens = tuple(named if isinstance(named, list) else () if named is None else (named,))
    config.eos_token_id = list(tokens) or None
    sampling = copy.deepcopy(config) if asked.sampling else None
    for name in WARPERS:  # in a search the library warns of each
        setattr(config, name, None)
    return Decoding(config, AnswerEnds(tokens, stops), sampling, _sentence(own, asked, fields))


@contextlib.contextmanager
def as_own(model: PreTrainedModel, config: GenerationConfig) -> Iterator[None]:
    """Make a config the model's own for a while: what is None in a config that generate is given, its own fills in."""
    own = model.generation_config
    model.generation_config = config
    try:
        yield
    finally:
        model.generation_config = own


def _sentence(own: GenerationConfig, asked: GenerationOptions, fields: Mapping[str, object]) -> str | None:
    """Return what is to be said of a model's own config: what of it counts, and what does not."""
    given = {*fields} | {name for name in ("num_beams", "repetition_penalty") if getattr(asked, name) is not None}
    given |= {"stop_strings"} if asked.stop else set()
    sampled = _values(own, SAMPLING_FIELDS)
    counts = {name: value for name, value in _values(own, TEXT_FIELDS).items() if name not in given}
    beams = int(asked.num_beams or (1 if asked.sampling else own.num_beams) or 1)
    unused = []
    if asked.sampling:
        given |= {name for name in ("temperature", "top_p", "top_k") if getattr(asked, name) is not None}
        counts |= {name: value for name, value in sampled.items() if name not in given}
        if counts.pop("num_beams", None) is not None:
            unused.append(f"its num_beams {own.num_beams}, for a flag samples")
    elif own.do_sample:
        how = f" ({_listed(sampled)})" if sampled else ""
        unused.append(f"its own sampling{how}: --temperature {_first(own.temperature, 1.0)} samples")
    if beams > 1:
        counts |= {name: value for name, value in _values(own, BEAM_FIELDS).items() if name not in given}
    parts = [f"from the model: {_listed(counts)}"] if counts else []
    parts += [f"without {part}" for part in unused]
    if not parts:
        return None
    way = "sampling" if asked.sampling else f"{beams} beams" if beams > 1 else "greedy"
    return f"decoding: {way}; {'; '.join(parts)}"


def _values(own: GenerationConfig, neutral: Mapping[str, object]) -> dict[str, object]:
    values = {name: getattr(own, name, None) for name in neutral}
    return {name: value for name, value in values.items() if value not in (None, [], neutral[name])}


def _listed(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {_shown(value)}" for name, value in values.items())


def _shown(value: object) -> str:
    text = " ".join(map(repr, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= LONG else text[:LONG] + "..."


def _texts(value: str | list[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)
