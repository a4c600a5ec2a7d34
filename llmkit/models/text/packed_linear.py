"""Weights laid out once for products with few rows, which is what each new token costs on a CPU."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from torch import nn

ROWS = (1, 5)  # of the products by which a layout is tried: one stream, and a batch


class PackedLinear(nn.Linear):
    """A linear layer on a CPU that also keeps its weights in the order in which oneDNN reads them.

    torch orders them anew for each product, which costs more than a product with few rows. The results are the same
    bits. It is for inference: with gradients, it is the layer that it was made of.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear.in_features, linear.out_features, bias=False, device="meta")
        self.weight, self.bias = linear.weight, linear.bias
        self.packed: torch.Tensor | None = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach())

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return the layer's outputs, (..., out_features), of inputs (..., in_features)."""
        if self.packed is None or torch.is_grad_enabled():
            return super().forward(input)
        outputs: torch.Tensor = torch.ops.mkldnn._linear_pointwise(input, self.packed, self.bias, "none", [], "")
        return outputs


class JointLinear:
    """Packed linear layers that read the same inputs, as one product; on their own they are not packed any more.

    It is for inference. The results are the same bits.
    """

    def __init__(self, layers: Sequence[PackedLinear]) -> None:
        self.sizes = [layer.out_features for layer in layers]
        biases: list[torch.Tensor] = [layer.bias for layer in layers if layer.bias is not None]
        self.bias = torch.cat(biases) if biases else None
        for layer in layers:
            layer.packed = None
        weights = torch.cat([layer.weight.detach() for layer in layers])
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weights)

    def __call__(self, inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the outputs of each layer, (..., out_features), of inputs (..., in_features)."""
        outputs = torch.ops.mkldnn._linear_pointwise(inputs, self.packed, self.bias, "none", [], "")
        pieces: tuple[torch.Tensor, ...] = torch.split(outputs, self.sizes, dim=-1)
        return pieces


class SeparateLinear:
    """Linear layers of any kind that read the same inputs."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        self.layers = layers

    def __call__(self, inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the outputs of each layer, (..., out_features), of inputs (..., in_features)."""
        return tuple(layer(inputs) for layer in self.layers)


def join_linear_layers(*layers: nn.Module) -> JointLinear | SeparateLinear:
    """Return layers that read the same inputs as one product where they are packed, all with a bias or none."""
    packed = [layer for layer in layers if type(layer) is PackedLinear and layer.packed is not None]
    if len(packed) < len(layers) or len({layer.bias is None for layer in packed}) > 1:
        return SeparateLinear(layers)
    return JointLinear(packed)


def pack_linear_layers(model: nn.Module) -> int:
    """Replace a model's bfloat16 linear layers on a CPU by packed ones, in place; return how many were.

    None is where this processor has no such product, where its results would be other bits, or where the second copy
    of the weights would take more than half of the free memory.
    """
    linears = {
        name: module
        for name, module in model.named_modules()
        if type(module) is nn.Linear and module.weight.device.type == "cpu" and module.weight.dtype is torch.bfloat16
    }
    copies = sum(linear.weight.nbytes for linear in linears.values())
    if not linears or not _is_supported() or copies > _free_memory() / 2:
        return 0
    same: dict[tuple[int, int, bool], bool] = {}
    packed = 0
    with torch.no_grad():
        for name, linear in linears.items():
            replacement = PackedLinear(linear)
            shape = (linear.out_features, linear.in_features, linear.bias is not None)
            if shape not in same:
                same[shape] = _answers_alike(linear, replacement)
            if same[shape]:
                model.set_submodule(name, replacement)
                packed += 1
    return packed


def _answers_alike(linear: nn.Linear, packed: PackedLinear) -> bool:
    """Tell whether both give the same bits for some inputs."""
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(1, rows, linear.in_features, generator=generator).to(linear.weight.dtype) for rows in ROWS]
    return all(torch.equal(linear(each), packed(each)) for each in inputs)


def _is_supported() -> bool:
    """Tell whether torch here has packed products of bfloat16."""
    names = ("_is_mkldnn_bf16_supported", "_reorder_linear_weight", "_linear_pointwise")
    if not torch._C._has_mkldnn or any(not hasattr(torch.ops.mkldnn, name) for name in names):
        return False
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _free_memory() -> int:
    """Return the bytes of memory that nothing uses; 0 where the system does not tell."""
    if "SC_AVPHYS_PAGES" not in getattr(os, "sysconf_names", ()):
        return 0
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
