"""Weights in 8 or 4 bits, for inference alone: which layers take them, and the products that compute with them.

On a CPU the products are those of torch on packed weights: 8 bits with a scale for each output, 4 bits with a scale and
an offset for each group of inputs. Activations stay as they are: put into 8 bits too, they cost more than they gain.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import transformers
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from llmkit.errors import ModelError, OptionError, listing
from llmkit.errors.extras import require_extra
from llmkit.models.config import is_decoder
from llmkit.models.modules import head_modules, is_within
from llmkit.options import ModelOptions

GROUP = 32  # inputs that share a scale in 4 bits: with 64 the perplexity of small models grew by half
LEVELS = 15  # of 4 bits, above the lowest
REFITS = 2  # of the grids of 4 bits: more hardly change them
MIDDLE = 8  # the level that stands for the offset of its group: torch's product counts from there
ROWS_OF_PRODUCT = 16  # more rows than that are multiplied faster by weights that are unpacked for them
ROWS_AT_ONCE = 512  # of a matrix, while it is packed: what is needed for it fits the processor's cache
INPUTS = {"int8": 16, "int4": GROUP}  # what the number of inputs must be a multiple of: torch does not look
OUTPUTS = {"int8": 1, "int4": 16}
BYTES = {"int8": 1, "int4": (4 + 32 / GROUP) / 8}  # of a weight, with its share of scale and offset


@dataclass(frozen=True)
class Layers:
    """The linear layers of a model that are put into fewer bits, those that do not fit, and what all of it weighs."""

    methods: Mapping[str, str]  # by the names of layers
    others: tuple[str, ...]  # with their shapes
    packed: int  # weights
    size: float  # bytes of all weights, those that stay in 16 bits


def remarks(config: PretrainedConfig, options: ModelOptions, device: torch.device) -> Iterator[str]:
    """Yield what is said of a model that will be quantized: which layers are, which stay and what it will weigh.

    Raises:
        OptionError: it cannot be quantized on this device.
        ModelError: no layer of the model fits.
    """
    method = str(options.quantize)
    require_device(method, device)
    network = (config.architectures or [""])[0]
    kind = getattr(transformers, network, None)
    if kind is None:
        return  # its code comes with the model: what it is made of is known when it is open
    with torch.device("meta"):
        layers = layers_of(kind(config), method)
    if not layers.methods:
        raise ModelError(f"--quantize {method}: no layer of {network} fits: {_wanted(method)}")
    dtype = "bfloat16" if options.dtype == "auto" else options.dtype
    yield (
        f"quantize: {method} for {len(layers.methods)} layers, {layers.packed:,} weights, about "
        f"{layers.size / 1e6:,.0f} MB with all that stays in {dtype}; --quantize is left out for whole weights"
    )
    if layers.others:
        yield f"stays in {dtype}: {listing(layers.others, 4)}; {_wanted(method)}"
    if device.type == "cpu" and not is_decoder(config):
        times = "1.1" if method == "int8" else "2"
        yield (
            f"quantize: texts are read whole here, which takes about {times} times as long as in bfloat16 on a CPU: "
            "the model is smaller, and --dtype bfloat16 without --quantize is faster"
        )


def _wanted(method: str) -> str:
    outputs = f" and outputs of {OUTPUTS[method]}" if OUTPUTS[method] > 1 else ""
    return f"{method} wants a multiple of {INPUTS[method]} inputs{outputs}"


def require_device(method: str, device: torch.device) -> None:
    """Refuse a device that has no product for quantized weights, or lacks the library of it.

    Raises:
        OptionError: naming what there is.
    """
    if device.type not in ("cpu", "cuda"):
        raise OptionError(f"--quantize is for CPUs and NVIDIA GPUs, and this is {device.type}: leave it out")
    if device.type == "cuda":
        require_extra(f"--quantize {method} on a GPU", "quantize", "torchao")


def layers_of(model: PreTrainedModel, method: str) -> Layers:
    """Return the layers that `quantize` replaces, and those that do not fit."""
    methods, others, packed = {}, [], 0
    size = sum(weights.numel() * 2.0 for weights in model.parameters())
    for name, module in _linear_layers(model):
        used = "int8" if module is model.get_output_embeddings() else method
        rows, columns = _weights(module).shape
        if rows % OUTPUTS[used] or columns % INPUTS[used]:
            others.append(f"{name} ({rows} x {columns})")
            continue
        methods[name] = used
        packed += rows * columns
        # embeddings stay for their rows, beside the product that they are tied to
        tied = module.weight is getattr(model.get_input_embeddings(), "weight", None)
        size += rows * columns * (BYTES[used] - (0 if tied else 2))
    return Layers(methods, tuple(others), packed, size)


def quantize(model: PreTrainedModel, method: str) -> None:
    """Replace the linear layers of a model on a CPU by their products with `int8` or `int4` weights, in place.

    The logits of tokens are computed in 8 bits in any case: in 4 they alone cost SmolLM2-135M 4.6% of perplexity. Heads
    that classify stay, and what the architecture keeps in float32. Embeddings stay for their rows where logits are tied
    to them.

    Raises:
        ModelError: no layer fits.
    """
    layers = layers_of(model, method)
    if not layers.methods:
        raise ModelError(f"--quantize {method}: no layer of {type(model).__name__} fits: {_wanted(method)}")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a layer for each: what is done to one is too little to be divided
    try:
        with ThreadPoolExecutor(threads) as pool:
            products = pool.map(partial(_product, model), layers.methods, layers.methods.values())
            for name, product in zip(layers.methods, products, strict=True):
                parent, _, child = name.rpartition(".")
                setattr(model.get_submodule(parent) if parent else model, child, product)
    finally:
        torch.set_num_threads(threads)


def _product(model: PreTrainedModel, name: str, method: str) -> nn.Module:
    linear = model.get_submodule(name)
    bias = linear.bias
    weights = _weights(linear).detach()
    return Int8Linear(weights, bias) if method == "int8" else Int4Linear(weights, bias)


def load_arguments(method: str, device: torch.device) -> dict[str, object]:
    """Return what `from_pretrained` takes for weights that are quantized where they are loaded, as on an NVIDIA GPU.

    Raises:
        OptionError: the device has no product for them, or lacks the library of it.
    """
    require_device(method, device)
    if device.type == "cpu":  # there `quantize` does it, when all weights are in place
        return {}
    from torchao.quantization import Int4WeightOnlyConfig, Int8WeightOnlyConfig
    from transformers import TorchAoConfig

    # this way to pack 4 bits is that of torch's own product, the others want a library of their own
    in_four_bits = Int4WeightOnlyConfig(group_size=GROUP, int4_packing_format="tile_packed_to_4d")
    kind = Int8WeightOnlyConfig() if method == "int8" else in_four_bits
    return {"quantization_config": TorchAoConfig(kind), "device_map": {"": device}}


def _linear_layers(model: PreTrainedModel) -> Iterator[tuple[str, Any]]:
    """Yield the layers that compute a matrix product, but for heads that classify and layers kept in float32."""
    from transformers.pytorch_utils import Conv1D

    heads, kept = head_modules(model), set(getattr(model, "_keep_in_fp32_modules", None) or ())
    for name, module in model.named_modules():
        if type(module) in (nn.Linear, Conv1D) and not is_within(name, heads) and not kept & set(name.split(".")):
            yield name, module


def _weights(module: nn.Module) -> torch.Tensor:
    """Return the weights of a layer, outputs x inputs."""
    weights: torch.Tensor = module.weight  # type: ignore[assignment]
    return weights if isinstance(module, nn.Linear) else weights.t()


class QuantizedLinear(nn.Module):
    """A linear layer of weights in fewer bits, by the product of a subclass; its bias stays as it is."""

    bias: torch.Tensor | None

    def __init__(self, weights: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__()
        self.out_features, self.in_features = weights.shape
        self.register_buffer("bias", bias)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the outputs: ... x out_features, of inputs that are ... x in_features."""
        outputs = self.product(inputs.reshape(-1, self.in_features))
        outputs = outputs if self.bias is None else outputs + self.bias
        return outputs.view(*inputs.shape[:-1], self.out_features)

    def product(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the outputs without the bias, rows x out_features, of rows x in_features."""
        raise NotImplementedError


class Int8Linear(QuantizedLinear):
    """A linear layer of 8-bit weights, with a scale for each output: symmetric, the largest weight is 127."""

    weight: torch.Tensor
    scales: torch.Tensor

    def __init__(self, weights: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__(weights, bias)
        pieces = [_in_eight_bits(piece) for piece in torch.split(weights, ROWS_AT_ONCE)]
        self.register_buffer("weight", torch.cat([levels for levels, _ in pieces]))
        self.register_buffer("scales", torch.cat([scales for _, scales in pieces]))

    def product(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the outputs without the bias, rows x out_features, of rows x in_features."""
        if rows.shape[0] > ROWS_OF_PRODUCT:
            return nn.functional.linear(rows, self.weight.to(rows.dtype)) * self.scales
        outputs: torch.Tensor = torch.ops.aten._weight_int8pack_mm(rows, self.weight, self.scales)
        return outputs


class Int4Linear(QuantizedLinear):
    """A linear layer of 4-bit weights, with a scale and an offset for each group of inputs."""

    packed: torch.Tensor
    scales_and_offsets: torch.Tensor

    def __init__(self, weights: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__(weights, bias)
        pieces = [_in_four_bits(piece) for piece in torch.split(weights, ROWS_AT_ONCE)]
        levels = torch.cat([levels for levels, _ in pieces])
        packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(levels.to(torch.int32), 1)
        self.register_buffer("packed", packed)
        self.register_buffer("scales_and_offsets", torch.cat([grid for _, grid in pieces], dim=1).contiguous())

    def product(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the outputs without the bias, rows x out_features, of rows x in_features."""
        outputs: torch.Tensor = torch.ops.aten._weight_int4pack_mm_for_cpu(
            rows, self.packed, GROUP, self.scales_and_offsets
        )
        return outputs


def _in_eight_bits(weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weights (outputs x inputs) as levels of -127 to 127, and the scale of each output."""
    scales = (weights.float().abs().amax(dim=1) / 127).clamp_min(torch.finfo(weights.dtype).tiny).to(weights.dtype)
    levels = (weights.float() / scales.float().unsqueeze(1)).round_().clamp_(-127, 127)
    return levels.to(torch.int8), scales


def _in_four_bits(weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weights (outputs x inputs) as levels of 0 to 15, and their grid: groups x outputs x (scale, offset).

    The grid of a group spans it, or is fitted by least squares to the levels of that, whichever has the smaller error:
    of the weights of MiniLM that is 12% smaller so, and cutting off the ends of groups added 1%.
    """
    groups = weights.float().reshape(len(weights), -1, GROUP)
    low, high = groups.aminmax(dim=-1, keepdim=True)
    best = _Grid.rounded(groups, (high - low) / LEVELS, low, weights.dtype)
    for _ in range(REFITS):
        mean, middle = best.levels.mean(-1, keepdim=True), groups.mean(-1, keepdim=True)
        spread = (best.levels - mean).square().sum(-1, keepdim=True).clamp_min(1e-8)
        scale = ((best.levels - mean) * (groups - middle)).sum(-1, keepdim=True) / spread
        best = best.better(_Grid.rounded(groups, scale, middle - scale * mean, weights.dtype))
    grid = torch.cat([best.scale, best.offset], dim=-1).transpose(0, 1).to(weights.dtype)
    return best.levels.flatten(1).to(torch.uint8), grid


@dataclass(frozen=True)
class _Grid:
    """Sixteen values for each group of weights, and which of them each weight takes; outputs x groups x inputs."""

    scale: torch.Tensor
    offset: torch.Tensor
    levels: torch.Tensor
    error: torch.Tensor

    @classmethod
    def rounded(cls, groups: torch.Tensor, scale: torch.Tensor, low: torch.Tensor, dtype: torch.dtype) -> _Grid:
        """Return the nearest levels on the grid as it is kept, in `dtype`."""
        scale = scale.clamp_min(torch.finfo(dtype).tiny).to(dtype).float()
        offset = (low + MIDDLE * scale).to(dtype).float()
        levels = ((groups - offset) / scale + MIDDLE).round_().clamp_(0, LEVELS)
        error = ((levels - MIDDLE) * scale + offset - groups).square_().sum(-1, keepdim=True)
        return cls(scale, offset, levels, error)

    def better(self, other: _Grid) -> _Grid:
        """Return for each group the grid of the smaller error."""
        pairs = ((getattr(self, name), getattr(other, name)) for name in ("scale", "offset", "levels", "error"))
        return _Grid(*(torch.where(other.error < self.error, theirs, ours) for ours, theirs in pairs))
