"""How the tokens of an answer are chosen: one rule for all that writes text.

A model's own generation config counts, and is said; a flag wins over it. Only whether to sample is asked of the flags
alone: the same command is to give the same text.
"""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmkit.errors import ModelError, OptionError
from llmkit.models.text.ends import AnswerEnds
from llmkit.models.text.fields import OUTPUTS, SEARCHES_GONE, SPEED_FIELDS, as_floats
from llmkit.models.text.sampling import NEUTRAL, WARPERS
from llmkit.options import GenerationOptions

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedModel

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
    "watermarking_config": None,
    "max_time": None,
}
BEAM_FIELDS: dict[str, object] = {"length_penalty": 1, "early_stopping": False}
SAMPLING_FIELDS: dict[str, object] = {**dict.fromkeys(WARPERS), **NEUTRAL}
# those that look at all tokens before the next, padding among them: of a source, and of a prompt too; the penalty for
# repetition is none of them, since the library leaves padding out of it
PADDED_FIELDS = ("encoder_repetition_penalty", "encoder_no_repeat_ngram_size")
PADDED_DECODER_FIELDS = ("no_repeat_ngram_size", "min_length", "bad_words_ids", "sequence_bias")
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

    def require_possible(self, is_encoder_decoder: bool) -> None:
        """Refuse a field that transformers cannot follow with such a model.

        Raises:
            ModelError: naming it.
        """
        scale = self.config.guidance_scale
        if is_encoder_decoder and scale not in (None, 1):
            raise ModelError(
                f"an encoder-decoder cannot be guided: take guidance_scale {scale} out of its generation_config.json, "
                "or out of --set"
            )

    def require_lookup(self, model: PreTrainedModel, name: str) -> None:
        """Refuse to look tokens up where a model of that name, or its own search, cannot.

        Raises:
            OptionError: it is no decoder with attention alone, or its own config has beams.
        """
        if model.config.is_encoder_decoder or model._is_stateful:
            raise OptionError(f"--prompt-lookup is for decoders with attention alone, and {name!r} is none")
        if self.num_beams > 1:
            raise OptionError("--prompt-lookup is for greedy search, and the model's own has beams: add --num-beams 1")

    @property
    def looks_at_rows_alone(self) -> bool:
        """Whether no rule looks further than at the tokens of a row, so that rows can go on without the others."""
        return self.num_beams == 1 and not _values(self.config, TEXT_FIELDS)

    def reads_padding(self, is_encoder_decoder: bool) -> bool:
        """Whether the text of a prompt depends on its padding, so that prompts of one length alone make a batch."""
        names = PADDED_FIELDS if is_encoder_decoder else (*PADDED_FIELDS, *PADDED_DECODER_FIELDS)
        return bool(_values(self.config, {name: TEXT_FIELDS[name] for name in names}))


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
    for name in (*SEARCHES_GONE, *SPEED_FIELDS, "token_healing"):
        setattr(config, name, None)
    for name in OUTPUTS:
        setattr(config, name, False)
    config.num_beams = asked.num_beams or (1 if asked.sampling else own.num_beams or 1)
    config.num_return_sequences = 1 if asked.sampling else asked.num_return_sequences
    if asked.repetition_penalty is not None:
        config.repetition_penalty = asked.repetition_penalty
    stops, config.stop_strings = tuple(_texts(asked.stop) or _texts(own.stop_strings)), None
    if asked.sampling:
        config.temperature = _first(asked.temperature, own.temperature, 1.0)
        config.top_p = _first(asked.top_p, own.top_p, 1.0)
        config.top_k = _first(asked.top_k, own.top_k, 0)  # the library's own default is a silent 50
    for name, value in fields.items():
        setattr(config, name, value)
    as_floats(vars(config))
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
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Unfeasible length")  # a text that is cut before its least length
            yield
    finally:
        model.generation_config = own


def _sentence(own: GenerationConfig, asked: GenerationOptions, fields: Mapping[str, object]) -> str | None:
    """Return what is to be said of a model's own config: what of it counts, and what does not; of --set the latter."""
    given = {*fields} | {name for name in ("num_beams", "repetition_penalty") if getattr(asked, name) is not None}
    given |= {"stop_strings"} if asked.stop else set()
    beams = int(asked.num_beams or (1 if asked.sampling else own.num_beams) or 1)
    counts = _values(own, TEXT_FIELDS)
    if asked.sampling:
        given |= {name for name in ("temperature", "top_p", "top_k") if getattr(asked, name) is not None}
        given |= {"num_beams"}
        counts |= _values(own, SAMPLING_FIELDS)
    if beams > 1:
        counts |= _values(own, BEAM_FIELDS)
    counts = {name: value for name, value in counts.items() if name not in given}
    parts = [f"from the model: {_listed(counts)}"] if counts else []
    parts += [f"without {part}" for part in (*_unused(own, asked), *_unused_fields(fields, asked.sampling, beams))]
    if not parts:
        return None
    way = "sampling" if asked.sampling else f"{beams} beams" if beams > 1 else "greedy"
    return f"decoding: {way}; {'; '.join(parts)}"


def _unused(own: GenerationConfig, asked: GenerationOptions) -> Iterator[str]:
    """Yield what of a model's own config does not count, with the reason or the flag for it."""
    if asked.sampling and (own.num_beams or 1) > 1:
        yield f"its num_beams {own.num_beams}, for a flag samples"
    if own.do_sample and not asked.sampling:
        sampled = _values(own, SAMPLING_FIELDS)
        how = f" ({_listed(sampled)})" if sampled else ""
        yield f"its own sampling{how}: --temperature {own.temperature or 1.0} samples"
    if own.max_new_tokens is not None and asked.max_new_tokens is None:
        yield f"its max_new_tokens {own.max_new_tokens}, for a flag sets the length"
    if (own.num_return_sequences or 1) > 1 and asked.num_return_sequences == 1:
        yield f"its num_return_sequences {own.num_return_sequences}, for a flag says how many"
    for name, search in SEARCHES_GONE.items():
        if _values(own, {name: 1}):
            yield f"its {name} {_shown(getattr(own, name))}, for transformers has no {search} any more"
    if getattr(own, "token_healing", None):
        yield "its token_healing, for a prompt is read as it is"


def _unused_fields(fields: Mapping[str, object], samples: bool, beams: int) -> Iterator[str]:
    """Yield which fields of --set count in another search alone."""
    for name in fields:
        if name in SAMPLING_FIELDS and not samples:
            yield f"--set {name}, which sampling alone reads: --temperature 1.0 samples"
        if name in BEAM_FIELDS and beams == 1:
            yield f"--set {name}, which a search with beams alone reads: --num-beams 4 is one"


def _values(own: GenerationConfig, neutral: Mapping[str, object]) -> dict[str, object]:
    values = {name: getattr(own, name, None) for name in neutral}
    return {name: value for name, value in values.items() if value not in (None, [], neutral[name])}


def _listed(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {_shown(value)}" for name, value in values.items())


def _shown(value: object) -> str:
    from transformers.generation.configuration_utils import BaseWatermarkingConfig

    if isinstance(value, BaseWatermarkingConfig):
        value = value.to_dict()
    text = " ".join(map(repr, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= LONG else text[:LONG] + "..."


def _texts(value: str | list[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)
