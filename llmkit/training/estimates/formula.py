"""The memory and FLOPs of a training by closed formulas: what is said where the model cannot be run without data.

Sources: Rajbhandari et al., ZeRO, 2020, for parameters, gradients and Adam's two numbers of each; Korthikanti et al.,
Reducing Activation Recomputation in Large Transformer Models, 2022, for activations: 34 bytes for each token, layer and
unit of width in half precision where attention is fused, twice that in float32; Kaplan et al., Scaling Laws, 2020, for
6 FLOPs for each weight and token.
"""

from __future__ import annotations

from collections.abc import Iterable

from transformers import PretrainedConfig

from llmkit.training.estimates.memory import Memory
from llmkit.training.loop.chunked_loss import chunk_tokens

FLOAT32 = 4
ADAM_NUMBERS = 2  # for each trained weight
ACTIVATION_BYTES = {True: 34, False: 68}  # by half precision, for each token, layer and unit of width
LOGITS_COPIES = 3  # the logits, their softmax and its gradient


def model_states(parameters: int, trained: int) -> Memory:
    """Return the bytes of float32 weights, of the gradients of those that are trained, and of AdamW."""
    return Memory(
        parameters=FLOAT32 * parameters, gradients=FLOAT32 * trained, optimizer=ADAM_NUMBERS * FLOAT32 * trained
    )


def activation_bytes(config: PretrainedConfig, tokens: int, half: bool, checkpointed: bool) -> int:
    """Return the bytes that the layers keep of so many tokens for the backward pass."""
    width, layers = _first(config, ("hidden_size", "d_model", "n_embd")), layer_count(config)
    of_layer = tokens * width * ACTIVATION_BYTES[half]
    if checkpointed:  # the input of each layer, and one layer whole
        return layers * tokens * width * FLOAT32 + of_layer
    return layers * of_layer


def logits_bytes(config: PretrainedConfig, tokens: int, in_chunks: bool) -> int:
    """Return the bytes of the scores of all tokens of the vocabulary, and of the loss on them."""
    vocabulary = int(getattr(config, "vocab_size", 0) or 0)
    if in_chunks and vocabulary:
        tokens = min(tokens, chunk_tokens(vocabulary, _first(config, ("hidden_size", "d_model", "n_embd"))))
    return LOGITS_COPIES * FLOAT32 * tokens * vocabulary


def flops(parameters: int, trained: int, tokens: int, checkpointed: bool) -> int:
    """Return the FLOPs of a step: 2 for each weight and token forwards, 2 back, 2 for each weight that is trained."""
    again = 2 * parameters if checkpointed else 0
    return tokens * (4 * parameters + 2 * trained + again)


def layer_count(config: PretrainedConfig) -> int:
    """Return how many layers a model has, those of an encoder and of a decoder together."""
    layers = _first(config, ("num_hidden_layers", "num_layers", "n_layer"))
    decoder = getattr(config, "num_decoder_layers", None) or getattr(config, "decoder_layers", None)
    return layers + (int(decoder or layers) if config.is_encoder_decoder else 0)


def _first(config: PretrainedConfig, names: Iterable[str]) -> int:
    return next((int(value) for name in names if (value := getattr(config, name, None))), 1)
