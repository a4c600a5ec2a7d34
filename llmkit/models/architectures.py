"""Models from scratch: families, sizes, and what each size usually trains with."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from llmkit.errors import OptionError, did_you_mean, one_line
from llmkit.options.config_file import read_yaml

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Size:
    """A preset: the shape of the model, and the recipe that goes with it."""

    hidden: int
    layers: int
    heads: int
    vocabulary: int
    context: int  # tokens per block
    batch_size: int  # blocks per step: small models on little text learn most from many small steps
    learning_rate: float
    warmup: float = 0.05  # share of the steps


SIZES = {
    "tiny": Size(hidden=128, layers=4, heads=4, vocabulary=4096, context=256, batch_size=8, learning_rate=3e-3),
    "mini": Size(hidden=256, layers=4, heads=4, vocabulary=4096, context=256, batch_size=8, learning_rate=2e-3),
    "small": Size(hidden=512, layers=8, heads=8, vocabulary=16384, context=512, batch_size=32, learning_rate=8e-4),
    "base": Size(hidden=768, layers=12, heads=12, vocabulary=32768, context=1024, batch_size=32, learning_rate=4e-4),
}


def preset(arch: str, name: str) -> Size:
    """Return the named size; BERT learns from its masked tokens alone, and wants more and shorter blocks."""
    size = SIZES[name]
    if arch != "bert":
        return size
    return replace(
        size,
        context=size.context // 2,
        batch_size=2 * size.batch_size,
        warmup=0.1,
        learning_rate=round(size.learning_rate * 2 / 3, 6),
    )


def build_config(arch: str, size: Size, tokenizer: PreTrainedTokenizerBase, context: int) -> PretrainedConfig:
    """Return the config of a new model of that family and size, for the tokenizer and blocks of `context` tokens."""
    from transformers import AutoConfig

    shared: dict[str, object] = {
        "vocab_size": len(tokenizer),
        "hidden_size": size.hidden,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "max_position_embeddings": context,
        "pad_token_id": tokenizer.pad_token_id,
    }
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    if arch == "bert":
        no_dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}  # a few epochs do not overfit
        return AutoConfig.for_model("bert", intermediate_size=4 * size.hidden, **no_dropout, **shared)
    if arch == "gpt2":
        no_dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
        return AutoConfig.for_model("gpt2", **no_dropout, **shared, **ends)
    mlp_size = -(-size.hidden * 8 // 3 // 32) * 32  # a gated MLP at the cost of a 4x one, in multiples of 32
    if arch == "t5":  # encoder and decoder have all the layers each, as T5's own sizes
        positions = {"n_positions": shared.pop("max_position_embeddings")}  # relative: a record, no limit
        return AutoConfig.for_model(
            "t5",
            num_decoder_layers=size.layers,
            d_kv=size.hidden // size.heads,
            d_ff=mlp_size,
            dropout_rate=0.0,
            feed_forward_proj="gated-gelu",
            decoder_start_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            **positions,
            **shared,
        )
    return AutoConfig.for_model(
        "llama", intermediate_size=mlp_size, num_key_value_heads=size.heads, tie_word_embeddings=True, **shared, **ends
    )


def read_model_config(file: Path) -> dict[str, object]:
    """Return what `--model-config FILE` holds: JSON or YAML with a `model_type`.

    Raises:
        OptionError: no such file, or no known model_type.
    """
    from transformers import CONFIG_MAPPING

    values = read_yaml(file, "--model-config", "neither JSON nor YAML")  # JSON is YAML
    if not isinstance(values, dict) or "model_type" not in values:
        raise OptionError(f"--model-config {file} must hold a mapping with a model_type such as llama")
    if values["model_type"] not in CONFIG_MAPPING:
        near = did_you_mean(str(values["model_type"]), CONFIG_MAPPING)
        raise OptionError(f"--model-config {file}: there is no model_type {values['model_type']!r}{near}")
    return values


def config_from(values: dict[str, object], file: Path, tokenizer: PreTrainedTokenizerBase) -> PretrainedConfig:
    """Return the config of those values, with the tokenizer's vocabulary and special tokens.

    Raises:
        OptionError: a value that the family refuses, or a vocabulary smaller than the tokenizer's.
    """
    from transformers import AutoConfig

    given = {"vocab_size": len(tokenizer), **values}
    try:
        config = AutoConfig.for_model(given.pop("model_type"), **given)
    except Exception as error:  # each config class refuses in its own way
        raise OptionError(f"--model-config {file}: {one_line(error, 200)}") from None
    if config.vocab_size < len(tokenizer):
        raise OptionError(
            f"--model-config {file}: vocab_size {config.vocab_size} is under the tokenizer's {len(tokenizer)}"
        )
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        setattr(config, name, getattr(tokenizer, name))
    if config.is_encoder_decoder and getattr(config, "decoder_start_token_id", None) is None:
        config.decoder_start_token_id = tokenizer.pad_token_id  # as T5 begins
    return config


def build_model(config: PretrainedConfig, auto_class: str) -> PreTrainedModel:
    """Return a model with random float32 weights.

    Raises:
        OptionError: the family has no model for the task.
    """
    import transformers

    try:
        return getattr(transformers, auto_class).from_config(config)
    except ValueError as error:
        kind = config.model_type
        raise OptionError(
            f"there is no {auto_class.removeprefix('AutoModelFor')} model of the family {kind!r}"
        ) from error


def describe(config: PretrainedConfig) -> str:
    """Return a phrase on the shape of the model."""
    return (
        json.dumps(
            {
                "type": config.model_type,
                "hidden": config.hidden_size,
                "layers": config.num_hidden_layers,
                "heads": config.num_attention_heads,
                "vocabulary": config.vocab_size,
            }
        )
        .strip("{}")
        .replace('"', "")
    )
